"""The loss: weighted cross-entropy over one or several labels, with label smoothing and focal
weighting.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import tensorflow as tf
import tf_keras as keras

from trainer import calibration
from trainer.parameters import TrainParameters


@dataclasses.dataclass(frozen=True)
class Weights:
    """The weights of an image in the loss for labels of 0 and of 1, float32 [labels] each."""

    negative: np.ndarray
    positive: np.ndarray


def weights(values: np.ndarray, of_labels: np.ndarray, parameters: TrainParameters) -> Weights:
    """Weights of the classes times those of the labels.

    Args:
      values: 0/1 [n, labels], of the films that are trained on.
      of_labels: float [labels]; how much each counts.
      parameters: `balance` says whether classes count alike.
    """
    classes = np.ones((len(of_labels), 2))
    if parameters.balance == 'weights':
        for place, positives in enumerate(values.sum(axis=0)):
            # With one class there is nothing to learn from, and nothing to balance.
            if 0 < positives < len(values):
                by_class = calibration.class_weights(int(positives), len(values))
                classes[place] = by_class[0], by_class[1]
    scaled = (classes * np.asarray(of_labels)[:, None]).astype(np.float32)
    return Weights(scaled[:, 0], scaled[:, 1])


class LabelLoss(keras.losses.Loss):
    """Binary cross-entropy from logits, summed over labels, averaged over films.

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
        """0/1 and logits, float32 [batch, labels], to the loss float32 [batch]."""
        labels, logits = tf.cast(y_true, tf.float32), tf.cast(y_pred, tf.float32)
        smooth = labels * (1.0 - 2.0 * self._smoothing) + self._smoothing
        losses = tf.nn.sigmoid_cross_entropy_with_logits(smooth, logits)
        if self._gamma:
            missed = tf.sigmoid(tf.where(labels > 0.5, -logits, logits))
            losses *= missed**self._gamma
        return tf.reduce_sum(
            losses * tf.where(labels > 0.5, self._positive, self._negative), axis=-1
        )
