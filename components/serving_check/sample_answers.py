"""The sample images of a pushed version, with its answers: whoever serves it can compare.

They are synthetic: no patient's image may be in a file that is passed on with the model.
"""

from __future__ import annotations

import base64
import io
import json
import os

import numpy as np
from PIL import Image, ImageFilter, ImageOps

from components.serving_check import warmup
from components.serving_check.session_model import SessionModel
from schemas import signatures

FILE = os.path.join('assets.extra', 'samples.json')


def write(model: SessionModel, model_dir: str) -> None:
    """Writes the samples and the model's answers into a local SavedModel.

    The file has `samples`, a list of {image: base64, probability, flag}.
    """
    jpegs = images()
    scores = model.score(signatures.IMAGES, jpegs)
    rows = [
        {
            'image': base64.b64encode(jpeg).decode(),
            'probability': float(probability),
            'flag': bool(np.round(flag)),
        }
        for jpeg, probability, flag in zip(jpegs, scores.probability, scores.flag, strict=True)
    ]
    path = os.path.join(model_dir, FILE)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, 'w', encoding='utf-8') as stream:
        json.dump({'samples': rows}, stream)


def images() -> list[bytes]:
    """The warm-up image and three that differ from it, as JPEG of 600 x 600 grey pixels."""
    with Image.open(io.BytesIO(warmup.image())) as image:
        image.load()
    changed = [
        ImageOps.mirror(image),
        image.filter(ImageFilter.GaussianBlur(4)),
        image.point([round(255 * (level / 255) ** 2) for level in range(256)]),
    ]
    return [warmup.image(), *(_jpeg(image) for image in changed)]


def _jpeg(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, 'JPEG', quality=90)
    return stream.getvalue()
