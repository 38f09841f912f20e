"""The loss against its definition, and what balances classes and labels."""

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


def _probability_of_truth() -> np.ndarray:
    probability = 1 / (1 + np.exp(-LOGITS.astype(float)))
    return np.where(LABELS == 1, probability, 1 - probability)


def test_plain_it_is_cross_entropy_summed_over_labels() -> None:
    assert _loss() == pytest.approx(-np.log(_probability_of_truth()).sum(axis=1).mean(), rel=1e-5)
    single = losses.LabelLoss(losses.Weights(np.ones(1, np.float32), np.ones(1, np.float32)))
    expected = keras.losses.BinaryCrossentropy(from_logits=True)(LABELS[:, :1], LOGITS[:, :1])
    assert float(single(LABELS[:, :1], LOGITS[:, :1])) == pytest.approx(float(expected), rel=1e-6)


def test_smoothing_moves_the_labels() -> None:
    truth = _probability_of_truth()
    expected = -(0.9 * np.log(truth) + 0.1 * np.log(1 - truth)).sum(axis=1).mean()
    assert _loss(smoothing=0.1) == pytest.approx(expected, rel=1e-4)


def test_focal_loss_heeds_what_is_hard() -> None:
    truth = _probability_of_truth()
    assert _loss(gamma=2.0) == pytest.approx(
        (-((1 - truth) ** 2) * np.log(truth)).sum(axis=1).mean(), rel=1e-4
    )


def test_weights_are_of_class_and_label() -> None:
    weights = losses.Weights(np.array([1, 2, 0], np.float32), np.array([3, 4, 0], np.float32))
    factor = np.where(LABELS == 1, weights.positive, weights.negative)
    assert _loss(weights) == pytest.approx(
        (-factor * np.log(_probability_of_truth())).sum(axis=1).mean(), rel=1e-5
    )


@pytest.mark.parametrize('balance', ['none', 'weights', 'undersample'])
def test_classes_count_alike_where_that_is_asked_for(balance: str) -> None:
    values = np.zeros((100, 3), np.uint8)
    values[:20, 0] = values[:, 2] = 1
    weights = losses.weights(values, np.array([1.0, 0.5, 2.0]), TrainParameters(balance=balance))
    own = calibration.class_weights(20, 100) if balance == 'weights' else {0: 1.0, 1: 1.0}
    # A label with one class has nothing to balance.
    assert weights.negative == pytest.approx([own[0], 0.5, 2.0])
    assert weights.positive == pytest.approx([own[1], 0.5, 2.0])
