"""The head is the optimum of its penalised, weighted loss, whatever the scale of the features."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from trainer import head, losses
from trainer.losses import Weights
from trainer.parameters import TrainParameters

COUNT, WIDTH = 300, 12
RNG = np.random.default_rng(5)
FEATURES = RNG.normal(size=(COUNT, WIDTH)).astype(np.float32)
# Two labels that depend on different features; the second one is rare.
LABELS = np.stack(
    [
        RNG.random(COUNT) < 1 / (1 + np.exp(-2 * FEATURES[:, 0] + FEATURES[:, 1])),
        FEATURES[:, 2] + RNG.normal(size=COUNT) > 2.2,
    ],
    axis=1,
).astype(np.float32)
BALANCED = losses.weights(LABELS, np.ones(2), TrainParameters(balance='weights'))
EQUAL = Weights(np.ones(2, np.float32), np.ones(2, np.float32))


@pytest.mark.parametrize(
    ('weights', 'balance'),
    [(BALANCED, 'balanced'), (EQUAL, None)],
    ids=['weighted', 'not weighted'],
)
def test_each_label_gets_the_optimum_of_a_separate_regression(
    weights: Weights, balance: str | None
) -> None:
    standardised = (FEATURES - FEATURES.mean(axis=0)) / FEATURES.std(axis=0)
    heads = {
        fitted.penalty: fitted for fitted in head.regularisation_path(FEATURES, LABELS, weights)
    }
    assert tuple(heads) == head.PENALTIES
    for penalty in (1.0, 0.01):
        logits = heads[penalty].logits(FEATURES)
        for label in range(2):
            # scikit-learn penalises the sum of the losses, not their mean.
            model = LogisticRegression(
                C=1 / (penalty * COUNT), class_weight=balance, tol=1e-8, max_iter=1000
            )
            expected = model.fit(standardised, LABELS[:, label]).decision_function(standardised)
            assert logits[:, label] == pytest.approx(expected, abs=2e-3)


def test_a_weaker_penalty_fits_closer() -> None:
    values = [fitted.loss for fitted in head.regularisation_path(FEATURES, LABELS, BALANCED)]
    assert values == sorted(values, reverse=True)
    assert values[0] > values[-1] > 0


def test_the_scale_of_the_features_makes_no_difference() -> None:
    scaled = FEATURES * np.geomspace(0.01, 100, WIDTH).astype(np.float32) + np.linspace(
        -50, 50, WIDTH
    ).astype(np.float32)
    for plain_head, scaled_head in zip(
        head.regularisation_path(FEATURES, LABELS, EQUAL),
        head.regularisation_path(scaled, LABELS, EQUAL),
        strict=True,
    ):
        assert scaled_head.logits(scaled) == pytest.approx(plain_head.logits(FEATURES), abs=0.02)


def test_a_constant_feature_and_a_label_that_never_occurs_are_fitted() -> None:
    features = np.concatenate([FEATURES, np.full((COUNT, 1), 7.0, np.float32)], axis=1)
    labels = np.concatenate([LABELS, np.zeros((COUNT, 1), np.float32)], axis=1)
    weights = losses.weights(labels, np.ones(3), TrainParameters(balance='weights'))
    for fitted in head.regularisation_path(features, labels, weights):
        assert np.isfinite(fitted.kernel).all()
        assert np.isfinite(fitted.bias).all()
        assert (fitted.logits(features)[:, 2] < 0).all()
        assert fitted.kernel[WIDTH] == pytest.approx(np.zeros(3), abs=1e-6)
