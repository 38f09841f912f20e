"""Small images with and without a bright square, as transformed splits for tests of the trainer."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

from records.examples import put_bytes, put_int, serialize
from schemas.features import IMAGE, IMAGE_ID, transformed
from schemas.labels import FINDINGS
from trainer import input_pipeline
from trainer.input_pipeline import Split
from trainer.tasks import TASKS

SIDE = 32
LABEL = TASKS['nih_triage'].label
OTHER, NEVER = 'Mass', 'Hernia'  # every fourth image has OTHER, none has NEVER


def draw(label: int, seed: int, side: int = SIDE) -> np.ndarray:
    """uint8 [side, side, 1]: noise, with a bright square at a random place if `label` is 1."""
    rng = np.random.default_rng(seed)
    image = rng.integers(30, 120, (side, side))
    if label:
        y, x = rng.integers(0, side // 2, 2)
        image[y : y + side // 3, x : x + side // 3] += 90
    return image.astype(np.uint8)[..., None]


def png(pixels: np.ndarray) -> bytes:
    """Encodes uint8 [height, width, 1] as a PNG."""
    out = io.BytesIO()
    Image.fromarray(pixels[..., 0]).save(out, 'PNG')
    return out.getvalue()


def example(pixels: np.ndarray, label: int, image_id: str) -> bytes:
    """A transformed example."""
    example = tf.train.Example()
    put_bytes(example, transformed(IMAGE), png(pixels))
    put_bytes(example, IMAGE_ID, image_id.encode())
    put_int(example, LABEL, label)
    for name in FINDINGS:
        put_int(example, name, int(name == OTHER and int(image_id.split('-')[1]) % 4 == 0))
    return serialize(example)


def write(folder: Path, labels: Sequence[int], files: int = 2, seed: int = 0) -> str:
    """Writes transformed examples as Transform does and returns the pattern of their files.

    Image ids are `SEED-NUMBER`.
    """
    folder.mkdir(parents=True)
    for part in range(files):
        with tf.io.TFRecordWriter(
            str(folder / f'transformed_examples-{part:05d}-of-{files:05d}.gz'), 'GZIP'
        ) as writer:
            for number in range(part, len(labels), files):
                pixels = draw(labels[number], seed * 10_000 + number)
                writer.write(example(pixels, labels[number], f'{seed}-{number}'))
    return str(folder / '*')


def split(folder: Path, records: int, seed: int = 0, files: int = 2) -> Split:
    """A split of `records` images; every third one is positive."""
    pattern = write(folder, [int(number % 3 == 0) for number in range(records)], files, seed)
    return input_pipeline.open_split([pattern], [LABEL], SIDE)
