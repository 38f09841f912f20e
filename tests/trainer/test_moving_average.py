"""The moving average of weights: its formula, swapping, and checkpoints."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from trainer.moving_average import MovingAverage


def test_the_average_follows_its_formula() -> None:
    variable = tf.Variable([1.0, 2.0])
    average = MovingAverage([variable], 0.5)
    expected = variable.numpy()
    for step in range(1, 30):
        variable.assign([float(step), -float(step)])
        average.update()
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * variable.numpy()
    average.swap()
    assert variable.numpy() == pytest.approx(expected, rel=1e-5)


def test_swapping_twice_restores_the_values() -> None:
    variable = tf.Variable(1.0)
    average = MovingAverage([variable], 0.9)
    variable.assign(5.0)
    average.swap()
    assert float(variable) == 1.0
    average.swap()
    assert float(variable) == 5.0


def test_a_checkpoint_restores_the_average(tmp_path: Path) -> None:
    variable = tf.Variable(0.0)
    average = MovingAverage([variable], 0.9)
    for value in (1.0, 7.0, 3.0):
        variable.assign(value)
        average.update()
    path = tf.train.Checkpoint(variable=variable, average=average).save(
        str(tmp_path / 'checkpoint')
    )
    restored_variable = tf.Variable(0.0)
    restored = MovingAverage([restored_variable], 0.9)
    checkpoint = tf.train.Checkpoint(variable=restored_variable, average=restored)
    checkpoint.restore(path).assert_consumed()
    variable.assign(2.0)
    restored_variable.assign(2.0)
    for moving_average in (average, restored):
        moving_average.update()
        moving_average.swap()
    assert np.array_equal(variable.numpy(), restored_variable.numpy())
