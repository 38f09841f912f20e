"""Random changes of training images that do not change the diagnosis.

They are a small shift, rotation, zoom, change of contrast and of brightness, and a cut-out square.
Images are never flipped: that would put the heart on the other side, which is a finding.
"""

from __future__ import annotations

import math

import tensorflow as tf

from trainer.parameters import AugmentationParameters

NOTHING = AugmentationParameters(shift=0, rotation=0, zoom=0, contrast=0, brightness=0)


def augment(pixels: tf.Tensor, seed: tf.Tensor, parameters: AugmentationParameters) -> tf.Tensor:
    """Changes each image of a batch by random amounts; the same seed gives the same images.

    Args:
      pixels: uint8 [batch, side, side, 1].
      seed: int64 [2], different for each batch.
      parameters: the largest changes.

    Returns:
      float32 [batch, side, side, 1], 0..255.
    """
    if parameters == NOTHING:
        return tf.cast(pixels, tf.float32)
    draws = tf.random.stateless_uniform([8, tf.shape(pixels)[0]], seed, -1.0, 1.0)
    side = tf.cast(tf.shape(pixels)[1], tf.float32)
    angle = draws[0] * (parameters.rotation * math.pi / 180.0)
    scale = 1.0 + draws[1] * parameters.zoom
    shift_x, shift_y = draws[2] * parameters.shift * side, draws[3] * parameters.shift * side
    contrast = 1.0 + draws[4] * parameters.contrast
    brightness = draws[5] * (parameters.brightness * 255.0)
    x, y = _source_positions(pixels.shape[1], angle, scale, shift_x, shift_y)
    images = _transform(pixels, x, y, contrast, brightness)
    return _cutout(images, draws[6], draws[7], parameters.cutout) if parameters.cutout else images


_BITS = (0, 8, 16, 24)  # position of each of the four bytes in a 32-bit number


# Compiled, this is two passes over the pixels; op by op it takes 2.5 times as long
# (`benchmarks.training` measures reading with it). `_source_positions` is a separate function: in
# one function, the compiler computes the positions twice, for the look-up and for the weights of
# the neighbours. It may round the two differently, so that a position on the border between two
# pixels gets the grey level of the wrong one.
@tf.function(jit_compile=True, autograph=False)
def _transform(
    pixels: tf.Tensor, x: tf.Tensor, y: tf.Tensor, contrast: tf.Tensor, brightness: tf.Tensor
) -> tf.Tensor:
    """Moves each pixel from x, y [batch, side, side], and changes contrast and brightness.

    Args:
      pixels: uint8 [batch, side, side, 1].
      x: source column of each pixel.
      y: source row of each pixel.
      contrast: factor [batch].
      brightness: summand [batch].

    Returns:
      float32 [batch, side, side, 1].
    """
    images = _bilinear(pixels[..., 0], x, y)
    mean = tf.reduce_mean(images, axis=[1, 2], keepdims=True)
    contrast, brightness = contrast[:, None, None], brightness[:, None, None]
    return tf.clip_by_value((images - mean) * contrast + mean + brightness, 0.0, 255.0)[..., None]


@tf.function(jit_compile=True, autograph=False)
def _cutout(images: tf.Tensor, x: tf.Tensor, y: tf.Tensor, share: float) -> tf.Tensor:
    """Covers a square of each image with its mean grey level: cutout (DeVries and Taylor, 2017).

    The centre is at x, y [batch], from -1 to 1. At the edge, part of the square is outside.
    """
    grid = tf.linspace(-1.0, 1.0, images.shape[1])
    covered = (tf.abs(grid[None, None, :] - x[:, None, None]) < share) & (
        tf.abs(grid[None, :, None] - y[:, None, None]) < share
    )
    return tf.where(
        covered[..., None], tf.reduce_mean(images, axis=[1, 2, 3], keepdims=True), images
    )


@tf.function(jit_compile=True, autograph=False)
def _source_positions(
    side: int, angle: tf.Tensor, scale: tf.Tensor, shift_x: tf.Tensor, shift_y: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """The source column and row of each pixel, float32 [batch, side, side] each.

    The image is rotated and zoomed about its centre, then shifted.
    """
    grid = tf.range(side, dtype=tf.float32) - (side - 1) / 2.0
    columns, rows = grid[None, None, :], grid[None, :, None]
    cos, sin = (tf.cos(angle) * scale)[:, None, None], (tf.sin(angle) * scale)[:, None, None]
    centre = (side - 1) / 2.0
    x = cos * columns - sin * rows + (shift_x[:, None, None] + centre)
    y = sin * columns + cos * rows + (shift_y[:, None, None] + centre)
    return x, y


def _bilinear(images: tf.Tensor, x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    """Interpolates uint8 [batch, side, side] at x, y of the same shape; outside, all is black.

    The four neighbours of a position are packed into one 32-bit number, so that one look-up is
    enough.
    """
    batch, side = tf.shape(images)[0], images.shape[1]
    padded = tf.cast(tf.pad(images, [[0, 0], [1, 2], [1, 2]]), tf.int32)
    neighbours = padded[:, :-1, :-1], padded[:, :-1, 1:], padded[:, 1:, :-1], padded[:, 1:, 1:]
    packed = tf.add_n(
        [
            tf.bitwise.left_shift(neighbour, bits)
            for neighbour, bits in zip(neighbours, _BITS, strict=True)
        ]
    )
    width = side + 2
    x, y = (tf.clip_by_value(position + 1.0, 0.0, width - 1.0) for position in (x, y))
    column, row = tf.cast(x, tf.int32), tf.cast(y, tf.int32)
    right, down = x - tf.cast(column, tf.float32), y - tf.cast(row, tf.float32)
    index = tf.reshape(row * width + column, [batch, -1])
    levels = tf.reshape(
        tf.gather(tf.reshape(packed, [batch, -1]), index, batch_dims=1), [batch, side, side]
    )
    a, b, c, d = (tf.cast(tf.bitwise.right_shift(levels, bits) & 255, tf.float32) for bits in _BITS)
    top, bottom = a + right * (b - a), c + right * (d - c)
    return top + down * (bottom - top)
