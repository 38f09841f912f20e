"""Backbones by name: from grey pixels to a feature map, each with its own pixel scaling."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Callable

import tensorflow as tf
import tf_keras as keras

import storage
from trainer.parameters import PRETRAINED, ModelParameters


class WeightsError(ValueError):
    """Weights are missing or do not fit; the message names path, backbone and remedy."""


@dataclasses.dataclass(frozen=True)
class Backbone:
    """A convolutional network and its pixel scaling.

    Attributes:
      build: makes the Keras model from the image side in pixels and the weights: None, or
        'imagenet' for those in Keras's cache or a download. The model maps scaled pixels, float32
        [batch, side, side, channels], to features [batch, height, width, features].
      scale: maps float32 [batch, side, side, 1] in 0..255 to scaled pixels.
    """

    build: Callable[[int, str | None], keras.Model]
    scale: Callable[[tf.Tensor], tf.Tensor]


def _keras_application(
    application: Callable[..., keras.Model],
) -> Callable[[int, str | None], keras.Model]:
    """A network of keras.applications without its top."""
    return lambda side, weights: application(
        input_shape=(side, side, 3), include_top=False, weights=weights
    )


# The scaling that the ImageNet weights were trained with: what `preprocess_input` of each
# application does, for three equal channels. The means and deviations are those of ImageNet's
# channels.


def _minus_one_to_one(pixels: tf.Tensor) -> tf.Tensor:
    return tf.repeat(pixels / 127.5 - 1.0, 3, axis=-1)


def _minus_mean_bgr(pixels: tf.Tensor) -> tf.Tensor:
    return tf.repeat(pixels, 3, axis=-1) - [103.939, 116.779, 123.68]


def _standardised_rgb(pixels: tf.Tensor) -> tf.Tensor:
    return (tf.repeat(pixels / 255.0, 3, axis=-1) - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]


def _unscaled(pixels: tf.Tensor) -> tf.Tensor:
    # The first layers of Keras's EfficientNetV2 scale the pixels.
    return tf.repeat(pixels, 3, axis=-1)


def _standardised(pixels: tf.Tensor) -> tf.Tensor:
    """Gives each image mean 0 and variance 1.

    Without it, a small network that is trained on few images learns only the exposure.
    """
    mean, variance = tf.nn.moments(pixels, axes=[1, 2, 3], keepdims=True)
    return (pixels - mean) / tf.sqrt(variance + 1.0)


def _scratch_cnn(side: int, weights: str | None) -> keras.Model:
    """A small convolutional network for the demo and as the baseline without pretraining."""
    assert weights is None
    inputs = keras.Input((side, side, 1))
    x = inputs
    for index, filters in enumerate((16, 32, 64, 128)):
        first = index == 0
        x = keras.layers.Conv2D(
            filters, 5 if first else 3, strides=2 if first else 1, padding='same', use_bias=False
        )(x)
        # With Keras's momentum of 0.99, the moving averages do not settle in a short training, and
        # the network's output is constant.
        x = keras.layers.BatchNormalization(momentum=0.8)(x)
        x = keras.layers.ReLU()(x)
        x = keras.layers.MaxPool2D()(x)
    return keras.Model(inputs, x, name='scratch_cnn')


BACKBONES: dict[str, Backbone] = {
    'scratch_cnn': Backbone(_scratch_cnn, _standardised),
    'mobilenet_v2': Backbone(_keras_application(keras.applications.MobileNetV2), _minus_one_to_one),
    'xception': Backbone(_keras_application(keras.applications.Xception), _minus_one_to_one),
    'vgg16': Backbone(_keras_application(keras.applications.VGG16), _minus_mean_bgr),
    'densenet121': Backbone(_keras_application(keras.applications.DenseNet121), _standardised_rgb),
    'efficientnet_v2_b0': Backbone(
        _keras_application(keras.applications.EfficientNetV2B0), _unscaled
    ),
}


def build(parameters: ModelParameters, pretrained: bool = True) -> keras.Model:
    """Builds the backbone of `parameters`; pretrained ones get ImageNet weights.

    The weights come from the configured path, otherwise from Keras's cache or a download. With
    `pretrained` False, all weights are random.

    Raises:
      WeightsError: the weights are not available, or belong to another architecture.
    """
    name, side = parameters.backbone, parameters.image_size
    backbone = BACKBONES[name]
    if name not in PRETRAINED or not pretrained:
        return backbone.build(side, None)
    if parameters.weights:
        return _load(backbone.build(side, None), parameters.weights, name)
    try:
        return backbone.build(side, 'imagenet')
    except Exception as error:  # Keras raises a bare Exception on a failed download
        raise WeightsError(
            f'no ImageNet weights for {name}: none are configured, and Keras neither has them in '
            'its cache (~/.keras/models) nor could '
            f'download them ({str(error).splitlines()[0][:300]}). Use --weights to give a file of '
            f'{name} weights without the top.'
        ) from error


def _load(model: keras.Model, path: str, name: str) -> keras.Model:
    if not storage.exists(path):
        raise WeightsError(
            f'{path}: no such file. Use --weights to give ImageNet weights of {name} without the '
            'top.'
        )
    with tempfile.TemporaryDirectory() as folder:
        local = path
        if storage.is_remote(path):  # h5py reads local files only
            local = os.path.join(folder, os.path.basename(path))
            storage.copy(path, local)
        try:
            model.load_weights(local)
        except (ValueError, OSError, KeyError, tf.errors.OpError) as error:
            raise WeightsError(
                f'{path}: not the weights of {name} without its top '
                f'({(str(error).splitlines() or [""])[0][:300]})'
            ) from error
    return model
