"""An exponential moving average of the weights, less noisy than the weights of the last step."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf


class MovingAverage(tf.Module):
    """Averages of variables; a checkpoint can save them.

    Polyak and Juditsky, "Acceleration of stochastic approximation by averaging", 1992, in the
    exponential form. The decay rises from 0.1 to `decay` over the first steps, so that the initial
    weights count little in a short training.

    Args:
      variables: their values are the first averages.
      decay: share of the old average that a step keeps, 0..1.
    """

    def __init__(self, variables: Sequence[tf.Variable], decay: float):
        super().__init__()
        self._variables, self._decay = list(variables), decay
        self._averages = [tf.Variable(variable, trainable=False) for variable in variables]
        self._steps = tf.Variable(0, dtype=tf.int64, trainable=False)

    @tf.function(autograph=False)
    def update(self) -> None:
        """Updates the averages with the values after a step."""
        self._steps.assign_add(1)
        steps = tf.cast(self._steps, tf.float32)
        share = 1.0 - tf.minimum(self._decay, (1.0 + steps) / (10.0 + steps))
        for variable, average in zip(self._variables, self._averages, strict=True):
            average.assign_add(share * (variable - average))

    @tf.function(autograph=False)
    def swap(self) -> None:
        """Exchanges the values and the averages. A second call restores them."""
        for variable, average in zip(self._variables, self._averages, strict=True):
            value = tf.identity(variable)
            with tf.control_dependencies([value]):
                variable.assign(average)
            average.assign(value)
