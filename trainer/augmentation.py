"""Random changes of training images that leave the diagnosis as it is: a little shift, rotation, zoom, contrast and brightness.

No horizontal flip: it would put the heart on the other side, which is a finding.
"""

from __future__ import annotations

import math

import tensorflow as tf

from trainer.parameters import AugmentationParameters


def augment(pixels: tf.Tensor, seed: tf.Tensor, parameters: AugmentationParameters) -> tf.Tensor:
    """Changes each image of a batch by its own random amounts; the same seed gives the same images.

    Args:
      pixels: uint8 or float32 [batch, side, side, 1], 0..255.
      seed: int64 [2], of this batch.
      parameters: the largest changes.

    Returns:
      float32 [batch, side, side, 1], 0..255.
    """
    pixels = tf.cast(pixels, tf.float32)
    batch = tf.shape(pixels)[0]
    draws = tf.random.stateless_uniform([6, batch], seed, -1.0, 1.0)
    side = tf.cast(tf.shape(pixels)[1], tf.float32)
    angle = draws[0] * (parameters.rotation * math.pi / 180.0)
    scale = 1.0 + draws[1] * parameters.zoom
    shift_x, shift_y = draws[2] * parameters.shift * side, draws[3] * parameters.shift * side
    if parameters.rotation or parameters.zoom or parameters.shift:
        pixels = _project(pixels, angle, scale, shift_x, shift_y)
    contrast = (1.0 + draws[4] * parameters.contrast)[:, None, None, None]
    brightness = (draws[5] * parameters.brightness * 255.0)[:, None, None, None]
    mean = tf.reduce_mean(pixels, axis=[1, 2, 3], keepdims=True)
    return tf.clip_by_value((pixels - mean) * contrast + mean + brightness, 0.0, 255.0)


def _project(pixels: tf.Tensor, angle: tf.Tensor, scale: tf.Tensor, shift_x: tf.Tensor, shift_y: tf.Tensor) -> tf.Tensor:
    """One resampling for rotation, zoom and shift about the centre; outside of the film is black."""
    centre = (tf.cast(tf.shape(pixels)[1], tf.float32) - 1.0) / 2.0
    cos, sin = tf.cos(angle) * scale, tf.sin(angle) * scale
    offset_x = centre - (cos * centre - sin * centre) + shift_x
    offset_y = centre - (sin * centre + cos * centre) + shift_y
    zero = tf.zeros_like(angle)
    transforms = tf.stack([cos, -sin, offset_x, sin, cos, offset_y, zero, zero], axis=1)
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=pixels,
        transforms=transforms,
        output_shape=tf.shape(pixels)[1:3],
        fill_value=0.0,
        interpolation='BILINEAR',
        fill_mode='CONSTANT',
    )
