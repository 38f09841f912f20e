"""The loss: weighted cross-entropy with label smoothing and focal weighting."""

from __future__ import annotations

import dataclasses

import numpy as np
import tensorflow as tf
import tf_keras as keras

from trainer import calibration
from trainer.parameters import TrainParameters


@dataclasses.dataclass(frozen=True)
class Weights:
    """The weights of negative and of positive images in the loss, float32 [labels] each."""

    negative: np.ndarray
    positive: np.ndarray


def weights(values: np.ndarray, label_weights: np.ndarray, parameters: TrainParameters) -> Weights:
    """The weights of the classes times those of the labels.

    Args:
      values: 0/1 [n, labels], the labels of the training images.
      label_weights: float [labels].
      parameters: `balance` says whether both classes get the same total weight.
    """
    classes = np.ones((len(label_weights), 2))
    if parameters.balance == 'weights':
        for index, positives in enumerate(values.sum(axis=0)):
            # A label with only one class has nothing to balance.
            if 0 < positives < len(values):
                by_class = calibration.class_weights(int(positives), len(values))
                classes[index] = by_class[0], by_class[1]
    scaled = (classes * np.asarray(label_weights)[:, None]).astype(np.float32)
    return Weights(scaled[:, 0], scaled[:, 1])


class LabelLoss(keras.losses.Loss):
    """Binary cross-entropy from logits, summed over labels, averaged over images.

    Label smoothing after Szegedy et al., "Rethinking the Inception architecture", CVPR 2016; focal
    weighting (1 - p)^gamma of the true class after Lin et al., "Focal loss for dense object
    detection", ICCV 2017.
    """

    def __init__(self, weights: Weights, smoothing: float = 0.0, gamma: float = 0.0):
        super().__init__(name='label_loss')
        self._negative, self._positive = (
            tf.constant(weights.negative),
            tf.constant(weights.positive),
        )
        self._smoothing, self._gamma = smoothing, gamma

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        """The loss, float32 [batch], of labels 0/1 and logits, float32 [batch, labels]."""
        labels, logits = tf.cast(y_true, tf.float32), tf.cast(y_pred, tf.float32)
        smooth = labels * (1.0 - 2.0 * self._smoothing) + self._smoothing
        losses = tf.nn.sigmoid_cross_entropy_with_logits(smooth, logits)
        if self._gamma:
            error = tf.sigmoid(tf.where(labels > 0.5, -logits, logits))
            losses *= error**self._gamma
        return tf.reduce_sum(
            losses * tf.where(labels > 0.5, self._positive, self._negative), axis=-1
        )
