"""The triage network: grey pixels in, a logit for each label out."""

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
    """A triage network and its parts; they share their weights.

    Attributes:
      model: pixels, uint8 or float32 [batch, side, side, 1] in 0..255 -> logits float32 [batch,
        labels].
      extractor: the same pixels -> features float32 [batch, width].
      feature_maps: the same pixels -> the last feature map float [batch, height, width, channels],
        and how much each place of it counts, float32 [batch, height, width, 1].
      backbone: the keras model inside `extractor`, without the scaling.
      head: features -> logits.
      batch_norm: as in ModelParameters.
    """

    model: keras.Model
    extractor: keras.Model
    feature_maps: keras.Model
    backbone: keras.Model
    head: keras.Model
    batch_norm: str


@without_autograph
def build(parameters: ModelParameters, labels: int = 1) -> Network:
    """Builds the network, with ImageNet weights where the backbone has some.

    Args:
      parameters: backbone, image size, pooling, dropout.
      labels: how many logits.

    Raises:
      backbones.WeightsError: see `backbones.build`.
    """
    backbone = backbones.build(parameters)
    scale = backbones.BACKBONES[parameters.backbone].scale
    side = parameters.image_size
    inputs = keras.Input((side, side, 1), name='pixels')
    # False: batch normalisation keeps its ImageNet statistics also while its neighbours are
    # fine-tuned.
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
    """Dropout and a dense unit for each label: float32 [batch, width] -> logits float32 [batch,
    labels].
    """
    inputs = keras.Input((width,), name='features')
    x = Dropout(parameters.dropout)(inputs)
    # float32 also under mixed precision: float16 logits saturate.
    outputs = keras.layers.Dense(labels, dtype='float32', name=HEAD)(x)
    return TrainableModel(inputs, outputs, name='head')


# With that of the backbones, 0.99 or 0.999, the statistics would still be those of photographs
# after the some hundred steps of a fine-tuning, while its batches were normalised by their own.
_MOMENTUM = 0.9


def unfreeze(network: Network, share: float) -> int:
    """Makes the top `share` of a pretrained backbone's layers trainable, batch normalisation only
    if it is to be, and all below fixed.

    Args:
      network: as `build` makes it.
      share: 0..1.

    Returns:
      The number of layers with weights that are trainable now.
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

    A logit is linear in the pooled features, and these in the places of the feature map: each place
    has its part in the logit, and the parts and the bias sum to it. Zhou et al., "Learning deep
    features for discriminative localization", CVPR 2016; with attention, the parts are weighted as
    the network weighs the places.

    Args:
      network: as `build` makes it.
      pixels: uint8 or float32 [batch, side, side, 1].
      label: place of the label among the logits.

    Returns:
      The logits, float32 [batch, labels], and the parts of that label's, float32 [batch, height,
      width].
    """
    maps, attention = network.feature_maps(pixels, training=False)
    maps = tf.cast(maps, tf.float32)
    kernel, bias = network.head.get_layer(HEAD).kernel, network.head.get_layer(HEAD).bias
    logits = pooling.pool(maps, attention) @ kernel + bias
    return logits, tf.einsum('bhwc,c,bhwo->bhw', maps, kernel[:, label], attention)


class TrainableModel(keras.Model):
    """A keras.Model whose steps are traced as they stand, within the functions of `fit`, which turn
    AutoGraph on.
    """

    @without_autograph
    def train_step(self, data):
        """See keras.Model."""
        return super().train_step(data)

    @without_autograph
    def test_step(self, data):
        """See keras.Model."""
        return super().test_step(data)


class Dropout(keras.layers.Layer):
    """Sets a share of the features to 0 in training; its random state is saved with the weights.

    That of keras.layers.Dropout is not: after a restart it would drop other features than an
    unbroken training.
    """

    def __init__(self, rate: float, **kwargs):
        super().__init__(trainable=False, **kwargs)
        self._rate = rate
        self._generator = tf.random.Generator.from_seed(0)

    def call(self, inputs, training=None):
        """float [batch, width] to the same shape, scaled so that the expectation stays."""
        if not training or not self._rate:
            return inputs
        mask = self._generator.uniform(tf.shape(inputs)) >= self._rate
        return tf.where(mask, inputs / (1.0 - self._rate), tf.zeros_like(inputs))


class Scale(keras.layers.Layer):
    """Grey levels 0..255 [batch, side, side, 1] to what the backbone takes."""

    def __init__(self, function, **kwargs):
        super().__init__(trainable=False, **kwargs)
        self._function = function

    def call(self, inputs):
        """Scales in float32 and hands on in the layer's compute dtype."""
        return tf.cast(self._function(tf.cast(inputs, tf.float32)), self.compute_dtype)
