"""From the last feature map to one vector, in a form that says how much each place counted."""

from __future__ import annotations

import tensorflow as tf
import tf_keras as keras

from trainer.parameters import ModelParameters

_HIDDEN = 64


class UniformAttention(keras.layers.Layer):
    """Every place counts alike: pooling with it is the average."""

    def call(self, maps: tf.Tensor) -> tf.Tensor:
        """float [batch, height, width, channels] to float32 [batch, height, width, 1] that sums to
        1 over the places.
        """
        ones = tf.ones_like(maps[..., :1], tf.float32)
        return ones / tf.reduce_sum(ones, axis=[1, 2], keepdims=True)


class Attention(keras.layers.Layer):
    """Learns how much each place counts: softmax over places of a small network of the features
    there.

    After Ilse et al., "Attention-based deep multiple instance learning", ICML 2018. It begins
    uniform, so that a head fitted on averages fits it too.
    """

    def build(self, shape) -> None:
        """Makes the weights."""
        self._hidden = self.add_weight(
            'hidden', (int(shape[-1]), _HIDDEN), initializer='glorot_uniform'
        )
        self._score = self.add_weight('score', (_HIDDEN, 1), initializer='zeros')

    def call(self, maps: tf.Tensor) -> tf.Tensor:
        """As `UniformAttention.call`."""
        scores = tf.cast(tf.tanh(maps @ tf.cast(self._hidden, maps.dtype)), tf.float32) @ tf.cast(
            self._score, tf.float32
        )
        flat = tf.reshape(scores, [tf.shape(scores)[0], -1])
        return tf.reshape(tf.nn.softmax(flat, axis=1), tf.shape(scores))


def pool(maps: tf.Tensor, attention: tf.Tensor) -> tf.Tensor:
    """Maps [batch, height, width, channels] and attention [batch, height, width, 1] to float32
    [batch, channels].
    """
    return tf.einsum('bhwc,bhwo->bc', tf.cast(maps, tf.float32), attention)


class Pool(keras.layers.Layer):
    """Sums the features over places, each as much as its attention says."""

    def call(self, inputs: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        """See `pool`."""
        return pool(*inputs)


def attention(parameters: ModelParameters) -> keras.layers.Layer:
    """The layer that `parameters.pooling` asks for."""
    return (
        Attention(name='attention')
        if parameters.pooling == 'attention'
        else UniformAttention(name='attention')
    )
