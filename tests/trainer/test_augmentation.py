"""Augmentation: bounded, reproducible, and it never turns left into right."""

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


RUNS = [pytest.param(lambda f, x: f(x), id='eager'), pytest.param(_in_tf_data, id='tf.data')]


def _seed(number: int) -> tf.Tensor:
    return tf.constant([number, 7], tf.int64)


def _noise(batch: int = 8) -> tf.Tensor:
    return tf.constant(np.random.default_rng(0).integers(0, 256, (batch, SIDE, SIDE, 1)), tf.uint8)


def _spot(x: int, y: int, batch: int = 64) -> tf.Tensor:
    """A soft bright spot on black."""
    grid_y, grid_x = np.mgrid[0:SIDE, 0:SIDE]
    spot = 200 * np.exp(-((grid_x - x) ** 2 + (grid_y - y) ** 2) / 18.0)
    return tf.constant(np.repeat(spot[None, ..., None], batch, axis=0).round(), tf.uint8)


def _places(images: tf.Tensor) -> np.ndarray:
    """Centre of mass of each image as (x, y) from the middle."""
    weights = images.numpy()[..., 0].astype(np.float64)
    grid_y, grid_x = np.mgrid[0:SIDE, 0:SIDE] - SIDE // 2
    mass = weights.sum(axis=(1, 2))
    return np.stack(
        [(weights * grid_x).sum(axis=(1, 2)) / mass, (weights * grid_y).sum(axis=(1, 2)) / mass],
        axis=1,
    )


@pytest.mark.parametrize('run', RUNS)
def test_the_same_seed_gives_the_same_images_and_another_seed_others(run: Callable) -> None:
    first, again, other = (
        run(lambda x, number=number: augment(x, _seed(number), AugmentationParameters()), _noise())
        for number in (1, 1, 2)
    )
    assert np.array_equal(first, again)
    assert np.abs(first - other).mean() > 5


def test_eager_and_tf_data_agree() -> None:
    pixels = _noise()
    eager = augment(pixels, _seed(3), AugmentationParameters())
    assert np.allclose(
        eager,
        _in_tf_data(lambda x: augment(x, _seed(3), AugmentationParameters()), pixels),
        atol=0.01,
    )


def test_each_image_of_a_batch_is_changed_in_its_own_way() -> None:
    images = augment(_spot(20, 20, batch=4), _seed(0), AugmentationParameters())
    assert len({image.tobytes() for image in images.numpy()}) == 4


@pytest.mark.parametrize(
    'parameters',
    [NOTHING, NOTHING.model_copy(update={'shift': 1e-9})],
    ids=['nothing', 'next to nothing'],
)
def test_with_nothing_to_change_the_image_stays(parameters: AugmentationParameters) -> None:
    images = augment(_noise(), _seed(5), parameters)
    assert images.dtype == tf.float32
    assert np.allclose(images, tf.cast(_noise(), tf.float32), atol=1e-3)


def test_places_between_pixels_are_interpolated_as_tensorflow_does() -> None:
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
    wild = AugmentationParameters(shift=0.5, rotation=45, zoom=0.5, contrast=0.9, brightness=0.5)
    images = augment(_noise(64), _seed(1), wild).numpy()
    assert (images.min(), images.max()) == (0, 255)


def test_nothing_is_mirrored() -> None:
    """The heart's side stays: a spot on the left stays on the left, whatever the draw."""
    placed = _places(
        augment(
            _spot(12, 32, batch=512), _seed(2), AugmentationParameters(contrast=0, brightness=0)
        )
    )
    assert placed[:, 0].max() < -10


@pytest.mark.parametrize('degrees', [7.0, 30.0])
def test_rotation_is_about_the_centre_goes_both_ways_and_not_farther_than_asked(
    degrees: float,
) -> None:
    images = augment(
        _spot(52, 32, batch=256), _seed(3), NOTHING.model_copy(update={'rotation': degrees})
    )
    placed = _places(images)
    angles = np.degrees(np.arctan2(placed[:, 1], placed[:, 0]))
    assert np.abs(angles).max() <= degrees + 0.5
    assert angles.max() > 0.9 * degrees
    assert angles.min() < -0.9 * degrees
    assert np.allclose(np.hypot(*placed.T), 20, atol=0.5)


def test_zoom_is_about_the_centre_and_not_more_than_asked() -> None:
    images = augment(_spot(52, 32, batch=256), _seed(4), NOTHING.model_copy(update={'zoom': 0.2}))
    factors = 20 / _places(images)[:, 0]
    assert 0.78 < factors.min() < 0.84
    assert 1.16 < factors.max() < 1.22
    assert np.abs(_places(images)[:, 1]).max() < 0.5


def test_shift_goes_every_way_and_not_farther_than_asked() -> None:
    placed = _places(
        augment(_spot(32, 32, batch=256), _seed(5), NOTHING.model_copy(update={'shift': 0.1}))
    )
    assert np.abs(placed).max() <= 0.1 * SIDE + 0.2
    assert (placed.max(axis=0) > 0.08 * SIDE).all()
    assert (placed.min(axis=0) < -0.08 * SIDE).all()


def test_cutout_blots_out_a_square_at_a_random_place() -> None:
    images = augment(_noise(256), _seed(9), NOTHING.model_copy(update={'cutout': 0.3})).numpy()[
        ..., 0
    ]
    pixels = _noise(256).numpy()[..., 0].astype(np.float32)
    changed = np.abs(images - pixels) > 1e-3
    sizes = changed.sum(axis=(1, 2))
    side = 0.3 * SIDE
    assert sizes.max() <= (side + 2) ** 2
    # A square in the middle of the film is whole.
    assert np.median(sizes) > 0.6 * side**2
    columns = np.array([np.flatnonzero(each.any(axis=0)).mean() for each in changed if each.any()])
    assert columns.min() < 0.15 * SIDE
    assert columns.max() > 0.85 * SIDE
    assert np.allclose(images[changed].std(), 0, atol=3)


def test_outside_of_the_film_is_black() -> None:
    white = tf.fill([64, SIDE, SIDE, 1], tf.constant(200, tf.uint8))
    images = augment(white, _seed(6), NOTHING.model_copy(update={'shift': 0.3})).numpy()
    # Each image has one side with film at its edge and the opposite one without.
    corners = np.sort(images[:, [0, 0, -1, -1], [0, -1, 0, -1], 0], axis=1)
    assert (corners[:, 0] == 0).mean() > 0.95
    assert (images[:, SIDE // 2, SIDE // 2, 0] == 200).all()


@pytest.mark.parametrize(
    ('changed', 'low', 'high'),
    [({'brightness': 0.1}, 100 - 25.6, 100 + 25.6), ({'contrast': 0.5}, 100 - 1e-3, 100 + 1e-3)],
    ids=['brightness', 'contrast keeps the mean'],
)
def test_mean_grey_level(changed: dict, low: float, high: float) -> None:
    film = np.full((256, SIDE, SIDE, 1), 100, np.uint8)
    film[:, : SIDE // 2] = 120
    film[:, SIDE // 2 + 1 :] = 80
    means = (
        augment(tf.constant(film), _seed(7), NOTHING.model_copy(update=changed))
        .numpy()
        .mean(axis=(1, 2, 3))
    )
    assert low <= means.min()
    assert means.max() <= high
