"""Preprocessing gives the same pixels everywhere, close to those of an independent resize."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from schemas.features import FOLLOW_UP, IMAGE, PATIENT_ID, transformed
from schemas.labels import LABELS
from trainer import preprocessing
from trainer.tasks import TASKS


def _in_tf_data(function: Callable, batch: tf.Tensor) -> tf.Tensor:
    return next(iter(tf.data.Dataset.from_tensors(batch).map(function)))


MODES = [pytest.param(lambda f, x: f(x), id='eager'), pytest.param(_in_tf_data, id='tf.data')]


def _grey(height: int, width: int, seed: int = 0) -> np.ndarray:
    """An image with details of all sizes, uint8 [height, width]."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    image = (
        110
        + 60 * np.sin(x / 9.0) * np.cos(y / 13.0)
        + 30 * (x // 16 % 2)
        + rng.normal(0, 8, (height, width))
    )
    return image.clip(0, 255).astype(np.uint8)


def _encode(pixels: np.ndarray, kind: str = 'PNG', **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


GREY = _grey(60, 60)
CHANNEL_OFFSETS = (np.arange(3) * 20)[None, None]
RGB = (np.repeat(GREY[..., None] // 2, 3, axis=-1) + CHANNEL_OFFSETS).astype(np.uint8)
LUMA = RGB @ np.array([0.299, 0.587, 0.114])
RGBA = np.concatenate([RGB, np.full((60, 60, 1), 255, np.uint8)], axis=-1)

KINDS = [
    pytest.param(_encode(GREY), GREY, 0, id='PNG'),
    pytest.param(_encode(GREY, 'JPEG', quality=100, subsampling=0), GREY, 10, id='JPEG'),
    pytest.param(_encode(RGB), LUMA, 1, id='RGB PNG'),
    pytest.param(_encode(RGBA), LUMA, 1, id='RGBA PNG'),
    pytest.param(_encode(RGB, 'JPEG', quality=100, subsampling=0), LUMA, 7, id='RGB JPEG'),
    pytest.param(_encode(GREY.astype(np.uint16) * 257), GREY, 0, id='16-bit PNG'),
    pytest.param(_encode((GREY > 110), bits=1), (GREY > 110) * 255.0, 0, id='1-bit PNG'),
]


@pytest.mark.parametrize('run', MODES)
@pytest.mark.parametrize(('data', 'expected', 'tolerance'), KINDS)
def test_an_image_of_the_model_size_keeps_its_pixels(
    data: bytes, expected: np.ndarray, tolerance: float, run: Callable
) -> None:
    pixels = run(lambda batch: preprocessing.decode_and_resize(batch, 60), tf.constant([[data]]))
    assert pixels.dtype == tf.uint8
    assert pixels.shape == (1, 60, 60, 1)
    difference = np.abs(pixels.numpy()[0, :, :, 0].astype(float) - expected)
    assert difference.max() <= tolerance
    assert difference.mean() <= tolerance / 3


@pytest.mark.parametrize('run', MODES)
@pytest.mark.parametrize(('height', 'width'), [(600, 600), (601, 599), (97, 301), (48, 30), (1, 1)])
def test_images_of_any_size_are_resized(height: int, width: int, run: Callable) -> None:
    data = _encode(_grey(height, width), 'JPEG')
    assert run(
        lambda batch: preprocessing.decode_and_resize(batch, 48), tf.constant([data])
    ).shape == (1, 48, 48, 1)


@pytest.mark.parametrize(
    ('height', 'width', 'size'), [(600, 600, 224), (600, 600, 128), (301, 203, 64), (100, 100, 224)]
)
def test_resize_is_close_to_that_of_pillow(height: int, width: int, size: int) -> None:
    """Pillow's BILINEAR antialiases, too. It rounds between passes, so 1 grey level can differ."""
    image = _grey(height, width)
    actual = (
        preprocessing.decode_and_resize(tf.constant([_encode(image)]), size)
        .numpy()[0, :, :, 0]
        .astype(int)
    )
    expected = np.asarray(
        Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR)
    ).astype(int)
    assert np.abs(actual - expected).max() <= 1
    assert np.abs(actual - expected).mean() < 0.3


@pytest.mark.parametrize(
    ('height', 'width', 'size'),
    [
        (600, 600, 224),
        (600, 600, 128),
        (301, 203, 64),
        (100, 100, 224),
        (97, 301, 96),
        (64, 64, 64),
        (1, 7, 32),
    ],
)
def test_resize_equals_that_of_tensorflow(height: int, width: int, size: int) -> None:
    image = _grey(height, width)
    expected = tf.image.resize(image[..., None], [size, size], antialias=True)
    assert np.array_equal(preprocessing._resize(tf.constant(image), size), expected[..., 0])


def test_thin_lines_do_not_alias() -> None:
    lines = np.zeros((600, 600), np.uint8)
    lines[:, ::5] = 250
    actual = preprocessing.decode_and_resize(tf.constant([_encode(lines)]), 100).numpy().astype(int)
    aliased = tf.image.resize(lines[..., None], [100, 100], antialias=False).numpy()
    assert np.ptp(actual[0, 5:-5, 5:-5]) < 40
    assert np.ptp(aliased[5:-5, 5:-5]) > 100


@pytest.mark.parametrize('run', MODES)
def test_stored_pixels_are_lossless(run: Callable) -> None:
    pixels = tf.constant(np.stack([_grey(40, 40, seed) for seed in range(3)])[..., None])
    decoded = run(
        lambda batch: preprocessing.decode_stored(preprocessing.encode(batch), 40), pixels
    )
    assert np.array_equal(decoded, pixels)


def test_a_stored_image_of_another_size_is_refused() -> None:
    stored = preprocessing.encode(tf.constant(_grey(40, 40)[None, ..., None]))
    with pytest.raises((ValueError, tf.errors.InvalidArgumentError)):
        preprocessing.decode_stored(stored, 32)


@pytest.mark.parametrize(
    'data', [b'', b'not an image', _encode(GREY, 'JPEG')[:40]], ids=['empty', 'text', 'cut JPEG']
)
def test_bytes_that_are_not_an_image_are_refused(data: bytes) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError):
        preprocessing.decode_and_resize(tf.constant([data]), 32)


def test_transform_keeps_labels_and_metadata(transform_output) -> None:
    spec = transform_output.transformed_feature_spec()
    assert spec[transformed(IMAGE)].dtype == tf.string
    assert {TASKS['nih_triage'].label, PATIENT_ID, FOLLOW_UP, *LABELS} <= set(spec)
    assert IMAGE not in spec


def test_the_transform_graph_gives_the_pixels_of_the_functions(transform_output) -> None:
    layer = transform_output.transform_features_layer()
    data = tf.constant([[_encode(_grey(50, 70), 'JPEG')], [_encode(RGB)]])
    stored = layer({IMAGE: data})[transformed(IMAGE)]
    assert np.array_equal(
        preprocessing.decode_stored(stored, 32), preprocessing.decode_and_resize(data, 32)
    )
