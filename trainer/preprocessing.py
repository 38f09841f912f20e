"""From image bytes to model input: the same operations for training, evaluation and serving.

Transform writes each image as a lossless PNG at the model's size, so that an image has the same
score in training and in serving, and a stored example stays below 25 kB at 224 x 224.
"""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf

from schemas.features import (
    AGE,
    AGE_BAND,
    FOLLOW_UP,
    IMAGE,
    IMAGE_ID,
    PATIENT_ID,
    SEX,
    VIEW,
    WEIGHT,
    transformed,
)
from schemas.labels import ABNORMAL, LABELS

# Features that the transformed examples contain unchanged: evaluation by slice and class balance
# need them.
_UNCHANGED_FEATURES = (
    *(ABNORMAL, *LABELS),
    *(IMAGE_ID, PATIENT_ID, AGE, AGE_BAND, SEX, VIEW, FOLLOW_UP, WEIGHT),
)

# For NIH images at 224 pixels, zlib's level 4 writes no more bytes than the default, 6, in 40 % of
# the time; 3 writes 13 % more.
_PNG_LEVEL = 4


def preprocessing_fn(
    inputs: Mapping[str, tf.Tensor], custom_config: Mapping
) -> dict[str, tf.Tensor]:
    """The function of TFX's Transform: it resizes the images, and keeps labels and metadata.

    Args:
      inputs: raw features, each [batch, 1].
      custom_config: `image_size` (int, width and height in pixels).

    Returns:
      The transformed features. Images are PNG bytes.
    """
    size = custom_config['image_size']
    pixels = decode_and_resize(inputs[IMAGE], size)
    outputs = {transformed(IMAGE): encode(pixels)}
    return outputs | {name: inputs[name] for name in _UNCHANGED_FEATURES}


def decode_and_resize(images: tf.Tensor, size: int) -> tf.Tensor:
    """Decodes images (JPEG or PNG, any size, grey or colour) to uint8 [batch, size, size, 1].

    The interpolation is bilinear. Without antialiasing, thin lines of a 600-pixel image would alias
    at 224. The aspect ratio changes; NIH's images are square.
    """

    def decode_one(data: tf.Tensor) -> tf.Tensor:
        return resize(decode(data), size)

    flat = tf.reshape(images, [-1])
    return tf.map_fn(decode_one, flat, fn_output_signature=tf.TensorSpec([size, size, 1], tf.uint8))


def decode(data: tf.Tensor) -> tf.Tensor:
    """Decodes an image, string [], to grey levels, uint8 [height, width]; colours become luma.

    Raises:
      tf.errors.InvalidArgumentError: the decoder refuses the bytes.
    """
    return tf.io.decode_image(data, channels=1, expand_animations=False)[:, :, 0]


def resize(pixels: tf.Tensor, size: int) -> tf.Tensor:
    """Resizes grey levels, uint8 [height, width], for the network: uint8 [size, size, 1]."""
    return tf.ensure_shape(_to_uint8(_resize(pixels, size))[:, :, None], [size, size, 1])


def encode(pixels: tf.Tensor) -> tf.Tensor:
    """Encodes uint8 [batch, size, size, 1] as PNG bytes, string [batch]."""
    return tf.map_fn(
        lambda image: tf.io.encode_png(image, compression=_PNG_LEVEL),
        pixels,
        fn_output_signature=tf.string,
    )


def decode_stored(images: tf.Tensor, size: int) -> tf.Tensor:
    """Decodes what `encode` wrote, string [batch], to uint8 [batch, size, size, 1]."""

    def decode_one(data: tf.Tensor) -> tf.Tensor:
        return tf.ensure_shape(tf.io.decode_png(data, channels=1), [size, size, 1])

    return tf.map_fn(
        decode_one,
        tf.reshape(images, [-1]),
        fn_output_signature=tf.TensorSpec([size, size, 1], tf.uint8),
    )


def _resize(pixels: tf.Tensor, size: int) -> tf.Tensor:
    """Equals tf.image.resize(antialias=True) of a grey image bit for bit, in 30 % of the time.

    TensorFlow's kernel works along the channels, and a grey image has only one. This function
    resizes one axis at a time, and uses the other one as the channels.

    Args:
      pixels: uint8 [height, width].
      size: width and height of the result.

    Returns:
      float32 [size, size].
    """
    return tf.transpose(_resize_height(tf.transpose(_resize_height(pixels, size)), size))


def _resize_height(pixels: tf.Tensor, size: int) -> tf.Tensor:
    """Resizes [height, width] to float32 [size, width]."""
    height, width = tf.unstack(tf.shape(pixels))
    columns = tf.raw_ops.ScaleAndTranslate(
        images=pixels[None, :, None, :],
        size=[size, 1],
        scale=tf.stack([tf.cast(size, tf.float32) / tf.cast(height, tf.float32), 1.0]),
        translation=tf.zeros(2),
        kernel_type='triangle',
        antialias=True,
    )
    return tf.reshape(columns, [size, width])


def _to_uint8(pixels: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.clip_by_value(tf.round(pixels), 0.0, 255.0), tf.uint8)
