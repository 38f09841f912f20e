"""The loss equals its definition, and weights balance classes and labels."""

from __future__ import annotations

import numpy as np
import pytest
import tf_keras as keras

from trainer import calibration, losses
from trainer.parameters import TrainParameters

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 2, (64, 3)).astype(np.float32)
LOGITS = RNG.normal(0, 2, (64, 3)).astype(np.float32)
ONES = losses.Weights(np.ones(3, np.float32), np.ones(3, np.float32))


def _loss(weights: losses.Weights = ONES, **settings: float) -> float:
    return float(losses.LabelLoss(weights, **settings)(LABELS, LOGITS))


def _true_class_probability() -> np.ndarray:
    probability = 1 / (1 + np.exp(-LOGITS.astype(float)))
    return np.where(LABELS == 1, probability, 1 - probability)


def test_the_default_loss_is_cross_entropy_summed_over_labels() -> None:
    assert _loss() == pytest.approx(-np.log(_true_class_probability()).sum(axis=1).mean(), rel=1e-5)
    single = losses.LabelLoss(losses.Weights(np.ones(1, np.float32), np.ones(1, np.float32)))
    expected = keras.losses.BinaryCrossentropy(from_logits=True)(LABELS[:, :1], LOGITS[:, :1])
    assert float(single(LABELS[:, :1], LOGITS[:, :1])) == pytest.approx(float(expected), rel=1e-6)


def test_smoothing_moves_the_labels() -> None:
    probability = _true_class_probability()
    expected = -(0.9 * np.log(probability) + 0.1 * np.log(1 - probability)).sum(axis=1).mean()
    assert _loss(smoothing=0.1) == pytest.approx(expected, rel=1e-4)


def test_focal_loss_emphasises_hard_images() -> None:
    probability = _true_class_probability()
    assert _loss(gamma=2.0) == pytest.approx(
        (-((1 - probability) ** 2) * np.log(probability)).sum(axis=1).mean(), rel=1e-4
    )


def test_weights_apply_to_classes_and_labels() -> None:
    weights = losses.Weights(np.array([1, 2, 0], np.float32), np.array([3, 4, 0], np.float32))
    factor = np.where(LABELS == 1, weights.positive, weights.negative)
    assert _loss(weights) == pytest.approx(
        (-factor * np.log(_true_class_probability())).sum(axis=1).mean(), rel=1e-5
    )


@pytest.mark.parametrize('balance', ['none', 'weights', 'undersample'])
def test_only_balance_weights_balances_the_classes(balance: str) -> None:
    values = np.zeros((100, 3), np.uint8)
    values[:20, 0] = values[:, 2] = 1
    weights = losses.weights(values, np.array([1.0, 0.5, 2.0]), TrainParameters(balance=balance))
    class_weights = calibration.class_weights(20, 100) if balance == 'weights' else {0: 1.0, 1: 1.0}
    # A label with only one class has nothing to balance.
    assert weights.negative == pytest.approx([class_weights[0], 0.5, 2.0])
    assert weights.positive == pytest.approx([class_weights[1], 0.5, 2.0])
