"""Augmentation is bounded and reproducible, and never mirrors an image."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from trainer.augmentation import NOTHING, augment
from trainer.parameters import AugmentationParameters

SIDE = 65


def _in_tf_data(function: Callable, batch: tf.Tensor) -> tf.Tensor:
    return next(iter(tf.data.Dataset.from_tensors(batch).map(function)))


MODES = [pytest.param(lambda f, x: f(x), id='eager'), pytest.param(_in_tf_data, id='tf.data')]


def _seed(number: int) -> tf.Tensor:
    return tf.constant([number, 7], tf.int64)


def _noise(batch: int = 8) -> tf.Tensor:
    return tf.constant(np.random.default_rng(0).integers(0, 256, (batch, SIDE, SIDE, 1)), tf.uint8)


def _spot(x: int, y: int, batch: int = 64) -> tf.Tensor:
    """Images of a soft bright spot on black."""
    grid_y, grid_x = np.mgrid[0:SIDE, 0:SIDE]
    spot = 200 * np.exp(-((grid_x - x) ** 2 + (grid_y - y) ** 2) / 18.0)
    return tf.constant(np.repeat(spot[None, ..., None], batch, axis=0).round(), tf.uint8)


def _centres(images: tf.Tensor) -> np.ndarray:
    """Centre of mass of each image, as (x, y) from the middle."""
    weights = images.numpy()[..., 0].astype(np.float64)
    grid_y, grid_x = np.mgrid[0:SIDE, 0:SIDE] - SIDE // 2
    mass = weights.sum(axis=(1, 2))
    return np.stack(
        [(weights * grid_x).sum(axis=(1, 2)) / mass, (weights * grid_y).sum(axis=(1, 2)) / mass],
        axis=1,
    )


@pytest.mark.parametrize('run', MODES)
def test_the_seed_decides_the_images(run: Callable) -> None:
    first, repeated, other = (
        run(lambda x, number=number: augment(x, _seed(number), AugmentationParameters()), _noise())
        for number in (1, 1, 2)
    )
    assert np.array_equal(first, repeated)
    assert np.abs(first - other).mean() > 5


def test_eager_and_tf_data_give_the_same_images() -> None:
    pixels = _noise()
    eager = augment(pixels, _seed(3), AugmentationParameters())
    assert np.allclose(
        eager,
        _in_tf_data(lambda x: augment(x, _seed(3), AugmentationParameters()), pixels),
        atol=0.01,
    )


def test_each_image_of_a_batch_is_changed_differently() -> None:
    images = augment(_spot(20, 20, batch=4), _seed(0), AugmentationParameters())
    assert len({image.tobytes() for image in images.numpy()}) == 4


@pytest.mark.parametrize(
    'parameters',
    [NOTHING, NOTHING.model_copy(update={'shift': 1e-9})],
    ids=['no change', 'tiny change'],
)
def test_without_changes_images_stay_the_same(parameters: AugmentationParameters) -> None:
    images = augment(_noise(), _seed(5), parameters)
    assert images.dtype == tf.float32
    assert np.allclose(images, tf.cast(_noise(), tf.float32), atol=1e-3)


def test_interpolation_equals_that_of_tensorflow() -> None:
    parameters = NOTHING.model_copy(update={'rotation': 20.0, 'zoom': 0.2})
    draws = tf.random.stateless_uniform([6, 8], _seed(8), -1.0, 1.0).numpy()
    angle, scale, centre = np.radians(20.0 * draws[0]), 1 + 0.2 * draws[1], SIDE // 2
    cos, sin, zero = np.cos(angle) * scale, np.sin(angle) * scale, np.zeros(8)
    transforms = [
        cos,
        -sin,
        centre - cos * centre + sin * centre,
        sin,
        cos,
        centre - sin * centre - cos * centre,
        zero,
        zero,
    ]
    expected = tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.cast(_noise(), tf.float32),
        transforms=np.stack(transforms, axis=1).astype(np.float32),
        output_shape=[SIDE, SIDE],
        fill_value=0.0,
        interpolation='BILINEAR',
    )
    assert np.allclose(augment(_noise(), _seed(8), parameters), expected, atol=0.05)


def test_grey_levels_stay_between_0_and_255() -> None:
    extreme = AugmentationParameters(shift=0.5, rotation=45, zoom=0.5, contrast=0.9, brightness=0.5)
    images = augment(_noise(64), _seed(1), extreme).numpy()
    assert (images.min(), images.max()) == (0, 255)


def test_images_are_never_mirrored() -> None:
    """The heart stays on its side: a spot on the left is on the left for every seed."""
    centres = _centres(
        augment(
            _spot(12, 32, batch=512), _seed(2), AugmentationParameters(contrast=0, brightness=0)
        )
    )
    assert centres[:, 0].max() < -10


@pytest.mark.parametrize('degrees', [7.0, 30.0])
def test_rotation_is_about_the_centre_in_both_directions_within_its_limit(
    degrees: float,
) -> None:
    images = augment(
        _spot(52, 32, batch=256), _seed(3), NOTHING.model_copy(update={'rotation': degrees})
    )
    centres = _centres(images)
    angles = np.degrees(np.arctan2(centres[:, 1], centres[:, 0]))
    assert np.abs(angles).max() <= degrees + 0.5
    assert angles.max() > 0.9 * degrees
    assert angles.min() < -0.9 * degrees
    assert np.allclose(np.hypot(*centres.T), 20, atol=0.5)


def test_zoom_is_about_the_centre_within_its_limit() -> None:
    images = augment(_spot(52, 32, batch=256), _seed(4), NOTHING.model_copy(update={'zoom': 0.2}))
    factors = 20 / _centres(images)[:, 0]
    assert 0.78 < factors.min() < 0.84
    assert 1.16 < factors.max() < 1.22
    assert np.abs(_centres(images)[:, 1]).max() < 0.5


def test_shift_is_in_all_directions_within_its_limit() -> None:
    centres = _centres(
        augment(_spot(32, 32, batch=256), _seed(5), NOTHING.model_copy(update={'shift': 0.1}))
    )
    assert np.abs(centres).max() <= 0.1 * SIDE + 0.2
    assert (centres.max(axis=0) > 0.08 * SIDE).all()
    assert (centres.min(axis=0) < -0.08 * SIDE).all()


def test_cutout_covers_a_square_at_a_random_position() -> None:
    images = augment(_noise(256), _seed(9), NOTHING.model_copy(update={'cutout': 0.3})).numpy()[
        ..., 0
    ]
    pixels = _noise(256).numpy()[..., 0].astype(np.float32)
    covered = np.abs(images - pixels) > 1e-3
    sizes = covered.sum(axis=(1, 2))
    side = 0.3 * SIDE
    assert sizes.max() <= (side + 2) ** 2
    # A square that is not at the edge is complete.
    assert np.median(sizes) > 0.6 * side**2
    columns = np.array([np.flatnonzero(mask.any(axis=0)).mean() for mask in covered if mask.any()])
    assert columns.min() < 0.15 * SIDE
    assert columns.max() > 0.85 * SIDE
    assert np.allclose(images[covered].std(), 0, atol=3)


def test_pixels_from_outside_of_the_image_are_black() -> None:
    white = tf.fill([64, SIDE, SIDE, 1], tf.constant(200, tf.uint8))
    images = augment(white, _seed(6), NOTHING.model_copy(update={'shift': 0.3})).numpy()
    # Each shift leaves at least one corner outside.
    corners = np.sort(images[:, [0, 0, -1, -1], [0, -1, 0, -1], 0], axis=1)
    assert (corners[:, 0] == 0).mean() > 0.95
    assert (images[:, SIDE // 2, SIDE // 2, 0] == 200).all()


@pytest.mark.parametrize(
    ('changes', 'low', 'high'),
    [({'brightness': 0.1}, 100 - 25.6, 100 + 25.6), ({'contrast': 0.5}, 100 - 1e-3, 100 + 1e-3)],
    ids=['brightness', 'contrast keeps the mean'],
)
def test_mean_grey_level(changes: dict, low: float, high: float) -> None:
    image = np.full((256, SIDE, SIDE, 1), 100, np.uint8)
    image[:, : SIDE // 2] = 120
    image[:, SIDE // 2 + 1 :] = 80
    means = (
        augment(tf.constant(image), _seed(7), NOTHING.model_copy(update=changes))
        .numpy()
        .mean(axis=(1, 2, 3))
    )
    assert low <= means.min()
    assert means.max() <= high
