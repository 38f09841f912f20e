"""A run root with a pushed version, and labelled images on which its calibration is off.

The network is small and untrained. The labels are drawn from its logits, so that the best offset
and temperature are known.
"""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import tensorflow as tf
import tf_keras as keras
from PIL import Image
from scipy import special

from components.serving_check import sample_answers, warmup
from components.serving_check.session_model import SessionModel
from pipeline.config import Config
from pipeline.run_root import RunRoot
from records import layout
from records.examples import build
from schemas.labels import NO_FINDING
from tests.support import push_targets
from tests.support.synthetic_root import RootBuilder
from trainer import model as model_lib
from trainer import preprocessing
from trainer.artifacts import MODEL_INFO_FILE
from trainer.calibration import Calibration
from trainer.parameters import ModelParameters
from trainer.signatures import TriageModule

RUN = '2026-11-21T08:00:00.000001'
THRESHOLD = 0.3
_SIDE = 64
_IMAGES, _PER_PATIENT = 360, 2


def images(count: int = _IMAGES) -> list[bytes]:
    """Grey JPEGs of 64 x 64 pixels that differ in brightness, contrast and noise."""
    rng = np.random.default_rng(0)
    encoded = []
    for _ in range(count):
        level, contrast, noise = rng.uniform(60, 160), rng.uniform(10, 80), rng.uniform(1, 30)
        ramp = np.linspace(-1, 1, _SIDE)[:, None] * np.ones(_SIDE)
        pixels = level + contrast * ramp + rng.normal(0, noise, (_SIDE, _SIDE))
        stream = io.BytesIO()
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(stream, 'JPEG')
        encoded.append(stream.getvalue())
    return encoded


def export(folder: Path) -> np.ndarray:
    """Exports a model, and returns the calibrated log odds of `images`, float64 [n].

    They have mean 0 and standard deviation 2.
    """
    keras.utils.set_random_seed(1)
    network = model_lib.build(ModelParameters(backbone='scratch_cnn', image_size=_SIDE))
    pixels = preprocessing.decode_and_resize(tf.constant(images()), _SIDE)
    head = network.head.get_layer(model_lib.HEAD)
    kernel, bias = head.get_weights()
    raw = network.model(pixels, training=False).numpy()[:, 0]
    # An untrained network has almost the same logit for all images.
    head.set_weights([kernel * 2 / raw.std(), bias])
    logits = network.model(pixels, training=False).numpy()[:, 0].astype(np.float64)
    served = Calibration(float(logits.mean()), 1.0)
    model = folder / 'model'
    TriageModule(network, _SIDE, [served], THRESHOLD, 'tiny-1').export(str(model))
    info = {
        'model_version': 'tiny-1',
        'task': 'nih_triage',
        'operating_point': {'threshold': THRESHOLD},
        'calibration': {'abnormal': vars(served)},
    }
    (model / MODEL_INFO_FILE).parent.mkdir(parents=True, exist_ok=True)
    (model / MODEL_INFO_FILE).write_text(json.dumps(info))
    warmup.write(str(model), 'cxr_triage', (1, 2))
    sample_answers.write(SessionModel(str(model)), str(model))
    return (logits - served.offset) / served.temperature


def config(**sections: dict) -> Config:
    """A configuration for the model; `sections` override its parts."""
    parts: dict = {
        'data': {'root': '/data', 'metadata': None},
        'serving_check': {'latency_requests': 0, 'samples': 8},
        'evaluation': {'replicates': 200},
    }
    return Config.model_validate({'pipeline': 'tiny', 'task': 'nih_triage', **parts, **sections})


def push(model: Path, root: Path) -> str:
    """Pushes the model into a new run root, and returns the version."""
    builder = RootBuilder(root)
    builder.record(RUN, state='pushed')
    make = push_targets.maker(run_id=RUN, config=config().settings())
    return push_targets.push.publish(str(model), str(RunRoot(root).serving), make).version


def write_data(
    folder: Path, log_odds: np.ndarray, slope: float, shift: float, first_patient: int = 1
) -> Path:
    """Writes the images in the record layout, and returns the data root.

    Args:
      folder: the data root.
      log_odds: of `export`.
      slope, shift: the log odds of the labels are slope * log_odds + shift. With 1 and 0 the model
        is calibrated.
      first_patient: the number of the first of the patients, who have two images each.
    """
    rng = np.random.default_rng(1)
    abnormal = rng.random(len(log_odds)) < special.expit(slope * log_odds + shift)
    writer = layout.ShardWriter(folder, 200)
    for number, (image, is_abnormal) in enumerate(zip(images(), abnormal, strict=True)):
        patient = first_patient + number // _PER_PATIENT
        image_id = f'{patient:08d}_{number % _PER_PATIENT:03d}.png'
        labels = {'Mass': 1} if is_abnormal else {NO_FINDING: 1}
        writer.write(build(image, image_id, labels))
    writer.close()
    return folder
