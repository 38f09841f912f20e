"""The triage network: from grey pixels to a logit for each label."""

from __future__ import annotations

import dataclasses
import math

import tensorflow as tf
import tf_keras as keras

from trainer import backbones, pooling
from trainer.parameters import PRETRAINED, ModelParameters
from trainer.tracing import without_autograph

HEAD = 'logit'


@dataclasses.dataclass(frozen=True)
class Network:
    """A triage network and its parts, which share their weights.

    Attributes:
      model: maps pixels, uint8 or float32 [batch, side, side, 1] in 0..255, to logits, float32
        [batch, labels].
      extractor: maps the same pixels to features, float32 [batch, width].
      feature_maps: maps the same pixels to the last feature map, float [batch, height, width,
        channels], and the attention, float32 [batch, height, width, 1].
      backbone: the Keras model inside `extractor`, without the scaling.
      head: maps features to logits.
      batch_norm: see ModelParameters.
    """

    model: keras.Model
    extractor: keras.Model
    feature_maps: keras.Model
    backbone: keras.Model
    head: keras.Model
    batch_norm: str


@without_autograph
def build(parameters: ModelParameters, labels: int = 1, pretrained: bool = True) -> Network:
    """Builds the network, with ImageNet weights if the backbone is a pretrained one.

    Args:
      parameters: backbone, image size, pooling, dropout.
      labels: number of logits.
      pretrained: False leaves the weights random, for a network that gets all its weights later.

    Raises:
      backbones.WeightsError: see `backbones.build`.
    """
    backbone = backbones.build(parameters, pretrained)
    scale = backbones.BACKBONES[parameters.backbone].scale
    side = parameters.image_size
    inputs = keras.Input((side, side, 1), name='pixels')
    # False: batch normalisation keeps its ImageNet statistics during fine-tuning.
    training = (
        False if parameters.backbone in PRETRAINED and parameters.batch_norm == 'frozen' else None
    )
    maps = backbone(Scale(scale)(inputs), training=training)
    attention = pooling.attention(parameters)(maps)
    features = pooling.Pool(name='pool', dtype='float32')((maps, attention))
    head = build_head(backbone.output_shape[-1], parameters, labels)
    model = TrainableModel(inputs, head(features), name=parameters.backbone)
    extractor, feature_maps = (
        keras.Model(inputs, features, name='extractor'),
        keras.Model(inputs, [maps, attention], name='feature_maps'),
    )
    return Network(model, extractor, feature_maps, backbone, head, parameters.batch_norm)


def build_head(width: int, parameters: ModelParameters, labels: int = 1) -> keras.Model:
    """Builds dropout and a dense unit for each label.

    Returns:
      A model that maps features, float32 [batch, width], to logits, float32 [batch, labels].
    """
    inputs = keras.Input((width,), name='features')
    x = Dropout(parameters.dropout)(inputs)
    # float32 also under mixed precision: float16 logits saturate.
    outputs = keras.layers.Dense(labels, dtype='float32', name=HEAD)(x)
    return TrainableModel(inputs, outputs, name='head')


# With the backbones' momentum, 0.99 or 0.999, the statistics would still be those of photographs
# after some hundred steps of fine-tuning.
_MOMENTUM = 0.9


def unfreeze(network: Network, share: float) -> int:
    """Makes the top `share` (0..1) of a pretrained backbone's layers trainable, and fixes the rest.

    With `batch_norm: frozen`, batch normalisation stays fixed everywhere.

    Returns:
      The number of trainable layers that have weights.
    """
    backbone = network.backbone
    first = len(backbone.layers) - math.ceil(share * len(backbone.layers))
    backbone.trainable = True
    for index, layer in enumerate(backbone.layers):
        norm = isinstance(layer, keras.layers.BatchNormalization)
        layer.trainable = index >= first and not (norm and network.batch_norm == 'frozen')
        if norm and layer.trainable:
            layer.momentum = _MOMENTUM
    return sum(bool(layer.trainable_weights) for layer in backbone.layers)


def evidence(network: Network, pixels: tf.Tensor, label: int = 0) -> tuple[tf.Tensor, tf.Tensor]:
    """Where in the image a logit comes from: the class activation map.

    A logit is linear in the pooled features, and these are linear in the feature map. So each
    position of the feature map contributes to the logit, which is the sum of the contributions and
    the bias. Zhou et al., "Learning deep features for discriminative localization", CVPR 2016.
    Attention weights the contributions.

    Args:
      network: from `build`.
      pixels: uint8 or float32 [batch, side, side, 1].
      label: index of the label among the logits.

    Returns:
      The logits, float32 [batch, labels], and the contributions to the logit of `label`, float32
      [batch, height, width].
    """
    maps, attention = network.feature_maps(pixels, training=False)
    maps = tf.cast(maps, tf.float32)
    kernel, bias = network.head.get_layer(HEAD).kernel, network.head.get_layer(HEAD).bias
    logits = pooling.pool(maps, attention) @ kernel + bias
    return logits, tf.einsum('bhwc,c,bhwo->bhw', maps, kernel[:, label], attention)


class TrainableModel(keras.Model):
    """A keras.Model whose steps are traced without AutoGraph, which `fit` turns on."""

    @without_autograph
    def train_step(self, data):
        """See keras.Model."""
        return super().train_step(data)

    @without_autograph
    def test_step(self, data):
        """See keras.Model."""
        return super().test_step(data)


class Dropout(keras.layers.Layer):
    """Sets a share of the features to 0 in training, and saves its random state with the weights.

    keras.layers.Dropout does not: a resumed training would drop other features than an
    uninterrupted one.
    """

    def __init__(self, rate: float, **kwargs):
        super().__init__(trainable=False, **kwargs)
        self._rate = rate
        self._generator = tf.random.Generator.from_seed(0)

    def call(self, inputs, training=None):
        """Features, float [batch, width], scaled so that their expected value does not change."""
        if not training or not self._rate:
            return inputs
        mask = self._generator.uniform(tf.shape(inputs)) >= self._rate
        return tf.where(mask, inputs / (1.0 - self._rate), tf.zeros_like(inputs))


class Scale(keras.layers.Layer):
    """Scales grey levels 0..255 [batch, side, side, 1] for the backbone."""

    def __init__(self, function, **kwargs):
        super().__init__(trainable=False, **kwargs)
        self._function = function

    def call(self, inputs):
        """Scales in float32, and returns the layer's compute dtype."""
        return tf.cast(self._function(tf.cast(inputs, tf.float32)), self.compute_dtype)
