"""Networks by name: grey pixels in, a feature map out, each with the pixel scaling it was trained
with.
"""

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
    """Weights that cannot be had or do not fit; the text names the path, the backbone and what to
    do.
    """


@dataclasses.dataclass(frozen=True)
class Backbone:
    """A network by name.

    Attributes:
      build: image side in pixels, weights (None, or 'imagenet' for Keras's cache or download) ->
        keras model, float32 [batch, side, side, channels] scaled pixels to [batch, height, width,
        features].
      scale: float32 [batch, side, side, 1] in 0..255 -> what `build`'s model takes.
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


# What the ImageNet weights were trained on, as the `preprocess_input` of each application does it
# to RGB; a grey pixel stands for three equal ones. The means and deviations are those of ImageNet's
# channels.


def _minus_one_to_one(pixels: tf.Tensor) -> tf.Tensor:
    return tf.repeat(pixels / 127.5 - 1.0, 3, axis=-1)


def _minus_mean_bgr(pixels: tf.Tensor) -> tf.Tensor:
    return tf.repeat(pixels, 3, axis=-1) - [103.939, 116.779, 123.68]


def _standardised_rgb(pixels: tf.Tensor) -> tf.Tensor:
    return (tf.repeat(pixels / 255.0, 3, axis=-1) - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]


def _unscaled(pixels: tf.Tensor) -> tf.Tensor:
    # EfficientNetV2 of Keras scales by itself, in its first layers.
    return tf.repeat(pixels, 3, axis=-1)


def _standardised(pixels: tf.Tensor) -> tf.Tensor:
    """Each image to mean 0 and variance 1: without it, a small network on few images learns the
    exposure and nothing else.
    """
    mean, variance = tf.nn.moments(pixels, axes=[1, 2, 3], keepdims=True)
    return (pixels - mean) / tf.sqrt(variance + 1.0)


def _scratch_cnn(side: int, weights: str | None) -> keras.Model:
    """A small convolutional network for the demo and as the baseline without pretraining."""
    assert weights is None
    inputs = keras.Input((side, side, 1))
    x = inputs
    for number, filters in enumerate((16, 32, 64, 128)):
        first = number == 0
        x = keras.layers.Conv2D(
            filters, 5 if first else 3, strides=2 if first else 1, padding='same', use_bias=False
        )(x)
        # With Keras's momentum of 0.99 the moving averages of a short training have not settled,
        # and the network answers with a constant.
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


def build(parameters: ModelParameters) -> keras.Model:
    """The backbone of `parameters`, with ImageNet weights where it has some: from the path
    configured, else Keras's cache or download.

    Raises:
      WeightsError: the weights are not to be had, or are of another architecture.
    """
    name, side = parameters.backbone, parameters.image_size
    backbone = BACKBONES[name]
    if name not in PRETRAINED:
        return backbone.build(side, None)
    if parameters.weights:
        return _load(backbone.build(side, None), parameters.weights, name)
    try:
        return backbone.build(side, 'imagenet')
    except Exception as error:  # Keras raises a bare Exception on a failed download
        raise WeightsError(
            f'no ImageNet weights for {name}: none are configured, and Keras neither has them in '
            'its cache (~/.keras/models) nor could '
            f'download them ({str(error).splitlines()[0][:300]}). Give a file of {name} weights '
            'without the top with --weights.'
        ) from error


def _load(model: keras.Model, path: str, name: str) -> keras.Model:
    if not storage.exists(path):
        raise WeightsError(
            f'{path}: no such file. Give ImageNet weights of {name} without the top with --weights.'
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
