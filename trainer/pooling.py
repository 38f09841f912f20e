"""Pools the last feature map to one vector, with a weight for each position."""

from __future__ import annotations

import tensorflow as tf
import tf_keras as keras

from trainer.parameters import ModelParameters

_HIDDEN = 64


class UniformAttention(keras.layers.Layer):
    """Weights all positions equally, so that pooling is averaging."""

    def call(self, maps: tf.Tensor) -> tf.Tensor:
        """The weight of each position; the weights of an image sum to 1.

        Args:
          maps: float [batch, height, width, channels].

        Returns:
          float32 [batch, height, width, 1].
        """
        ones = tf.ones_like(maps[..., :1], tf.float32)
        return ones / tf.reduce_sum(ones, axis=[1, 2], keepdims=True)


class Attention(keras.layers.Layer):
    """Learns the weight of each position: a small network, and a softmax over positions.

    After Ilse et al., "Attention-based deep multiple instance learning", ICML 2018. The initial
    weights are equal, so that a head that was fitted on averages still fits.
    """

    def build(self, shape) -> None:
        """Creates the layer's variables."""
        self._hidden = self.add_weight(
            'hidden', (int(shape[-1]), _HIDDEN), initializer='glorot_uniform'
        )
        self._score = self.add_weight('score', (_HIDDEN, 1), initializer='zeros')

    def call(self, maps: tf.Tensor) -> tf.Tensor:
        """See `UniformAttention.call`."""
        scores = tf.cast(tf.tanh(maps @ tf.cast(self._hidden, maps.dtype)), tf.float32) @ tf.cast(
            self._score, tf.float32
        )
        flat = tf.reshape(scores, [tf.shape(scores)[0], -1])
        return tf.reshape(tf.nn.softmax(flat, axis=1), tf.shape(scores))


def pool(maps: tf.Tensor, attention: tf.Tensor) -> tf.Tensor:
    """The sum of the features over positions, weighted by attention.

    Args:
      maps: float [batch, height, width, channels].
      attention: float32 [batch, height, width, 1].

    Returns:
      float32 [batch, channels].
    """
    return tf.einsum('bhwc,bhwo->bc', tf.cast(maps, tf.float32), attention)


class Pool(keras.layers.Layer):
    """Sums the features over positions, weighted by attention."""

    def call(self, inputs: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        """See `pool`."""
        return pool(*inputs)


def attention(parameters: ModelParameters) -> keras.layers.Layer:
    """Creates the layer of `parameters.pooling`."""
    return (
        Attention(name='attention')
        if parameters.pooling == 'attention'
        else UniformAttention(name='attention')
    )
