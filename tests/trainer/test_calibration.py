"""Calibration recovers known distortions, and the operating point keeps the target sensitivity."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer import calibration
from trainer.calibration import Calibration


def _simulate(
    prevalence: float, count: int = 40_000, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Calibrated logits, and labels that are drawn with their probabilities."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(np.log(prevalence / (1 - prevalence)), 1.5, count)
    return logits, (rng.random(count) < 1 / (1 + np.exp(-logits))).astype(int)


@pytest.mark.parametrize('temperature', [0.3, 1.0, 2.5, 6.0])
def test_a_known_temperature_is_recovered(temperature: float) -> None:
    logits, labels = _simulate(0.5)
    fitted = calibration.fit(logits * temperature, labels)
    assert fitted.temperature == pytest.approx(temperature, rel=0.03)
    assert fitted.offset == pytest.approx(0, abs=0.05 * temperature)


def test_the_shift_of_the_prior_by_class_weights_is_recovered() -> None:
    """Class weights w1 and w0 add log(w1 / w0) to a logit (Elkan 2001)."""
    logits, labels = _simulate(0.1)
    weights = calibration.class_weights(int(labels.sum()), len(labels))
    shift = np.log(weights[1] / weights[0])
    fitted = calibration.fit(logits + shift, labels)
    assert fitted.offset == pytest.approx(shift, abs=0.08)
    assert fitted.temperature == pytest.approx(1, rel=0.03)
    assert fitted.apply(logits + shift).mean() == pytest.approx(labels.mean(), rel=0.01)


def test_class_weights_balance_the_classes_and_have_mean_1() -> None:
    weights = calibration.class_weights(20, 100)
    assert 20 * weights[1] == pytest.approx(80 * weights[0])
    assert 20 * weights[1] + 80 * weights[0] == pytest.approx(100)


@pytest.mark.parametrize(
    ('prevalence', 'shift'),
    [(0.01, 0.0), (0.002, 3.0), (0.3, -4.0)],
    ids=['rare', 'rarer', 'common'],
)
def test_the_fit_of_a_label_ranked_upside_down_is_no_worse_than_a_constant(
    prevalence: float, shift: float
) -> None:
    rng = np.random.default_rng(3)
    labels = (rng.random(4_000) < prevalence).astype(int)
    logits = rng.normal(shift, 1, len(labels)) - 2 * labels
    fitted = calibration.fit(logits, labels)
    probabilities, constant = fitted.apply(logits), labels.mean()
    assert fitted.temperature > 0
    assert (
        _log_loss(probabilities, labels)
        <= _log_loss(np.full(len(labels), constant), labels) * 1.002
    )
    assert probabilities.mean() == pytest.approx(constant, rel=0.01)


def _log_loss(probabilities: np.ndarray, labels: np.ndarray) -> float:
    return float(-np.mean(np.log(np.where(labels == 1, probabilities, 1 - probabilities))))


@pytest.mark.parametrize(
    'logits', [[-3, -2, 2, 3], [2, 3, -3, -2], [0, 0, 0, 0], [-1e4, -1e4, 1e4, 1e4]], ids=str
)
def test_fit_stays_finite(logits: list[float]) -> None:
    """Also with separated, upside-down, constant or very large logits."""
    fitted = calibration.fit(np.array(logits, float), np.array([0, 0, 1, 1]))
    assert np.isfinite([fitted.offset, fitted.temperature]).all()
    assert fitted.temperature > 0
    assert np.isfinite(fitted.apply(np.array(logits, float))).all()


@given(
    st.lists(st.tuples(st.floats(-20, 20), st.integers(0, 1)), min_size=2, max_size=60),
    st.floats(0.1, 5),
    st.floats(-3, 3),
)
@settings(max_examples=60, deadline=None)
def test_calibration_keeps_the_order_of_images(
    images: list, temperature: float, offset: float
) -> None:
    logits = np.sort([logit for logit, _ in images])
    assert (np.diff(Calibration(offset, temperature).apply(logits)) >= 0).all()


@given(
    scores=st.lists(
        st.integers(0, 10**6).map(lambda step: step / 10**6)
        | st.sampled_from([0.0, 0.25, 0.5, 1.0]),
        min_size=2,
        max_size=200,
    ),
    sensitivity=st.floats(0.01, 1),
    data=st.data(),
)
@settings(max_examples=100, deadline=None)
def test_the_target_is_reached_and_no_higher_threshold_reaches_it(
    scores: list[float], sensitivity: float, data
) -> None:
    labels = np.array(
        data.draw(st.lists(st.integers(0, 1), min_size=len(scores), max_size=len(scores)))
    )
    labels[:2] = [0, 1]
    probabilities = np.array(scores)
    point = calibration.choose_operating_point(probabilities, labels, sensitivity)
    positives = probabilities[labels == 1]
    assert point.sensitivity == (positives >= point.threshold).mean()
    assert point.sensitivity >= sensitivity - 1e-9
    assert point.specificity == pytest.approx((probabilities[labels == 0] < point.threshold).mean())
    assert (point.positives, point.negatives) == (labels.sum(), (1 - labels).sum())
    # The next higher score as the threshold misses the target.
    higher = np.unique(
        probabilities[probabilities > probabilities[probabilities >= point.threshold].min()]
    )
    assert all((positives >= score).mean() < sensitivity for score in higher[:1])


@pytest.mark.parametrize(
    ('probabilities', 'labels', 'target', 'threshold', 'sensitivity', 'specificity'),
    [
        pytest.param(
            [0.2, 0.4, 0.6, 0.8], [0, 1, 0, 1], 0.5, 0.7, 0.5, 1.0, id='halfway between two scores'
        ),
        pytest.param([0.2, 0.4, 0.6, 0.8], [0, 1, 0, 1], 1.0, 0.3, 1.0, 0.5, id='all positives'),
        pytest.param(
            [0.2, 0.4, 0.4, 0.8],
            [0, 0, 1, 1],
            1.0,
            0.3,
            1.0,
            0.5,
            id='a positive tied with a negative',
        ),
        pytest.param(
            [0.1, 0.5, 0.5, 0.5], [0, 1, 1, 1], 0.4, 0.3, 1.0, 1.0, id='all positives equal'
        ),
        pytest.param(
            [0.5, 0.5, 0.5, 0.5], [0, 1, 0, 1], 0.5, 0.25, 1.0, 0.0, id='all scores equal'
        ),
        pytest.param([0.4, 0.9], [1, 0], 1.0, 0.2, 1.0, 0.0, id='the lowest score is a positive'),
        pytest.param([0.0, 0.9], [1, 0], 1.0, 0.0, 1.0, 0.0, id='a score of 0 must be flagged'),
    ],
)
def test_operating_point(
    probabilities, labels, target, threshold, sensitivity, specificity
) -> None:
    point = calibration.choose_operating_point(np.array(probabilities), np.array(labels), target)
    assert point.threshold == pytest.approx(threshold)
    assert (point.sensitivity, point.specificity, point.target_sensitivity) == (
        sensitivity,
        specificity,
        target,
    )


def test_rounding_changes_no_flag() -> None:
    """No score is near the threshold, so float32 in the exported graph flags the same images."""
    logits, labels = _simulate(0.3, 2_000)
    probabilities = Calibration(0.2, 1.3).apply(logits)
    point = calibration.choose_operating_point(probabilities, labels, 0.95)
    assert np.array_equal(
        probabilities >= point.threshold,
        probabilities.astype(np.float32) >= np.float32(point.threshold),
    )
    assert np.array_equal(
        probabilities >= point.threshold, probabilities * (1 + 1e-7) >= point.threshold
    )


@pytest.mark.parametrize(
    'function',
    [
        calibration.fit,
        lambda scores, labels: calibration.choose_operating_point(scores, labels, 0.9),
    ],
)
@pytest.mark.parametrize(
    ('scores', 'labels', 'message'),
    [
        pytest.param([0.1, 0.2], [0, 0], r'only label \[0\]: both classes', id='no positives'),
        pytest.param([0.1, 0.2], [1, 1], r'only label \[1\]: both classes', id='no negatives'),
        pytest.param([], [], r'only label \[\]', id='empty'),
        pytest.param([0.1, float('nan'), 0.3], [0, 1, 1], '1 of 3 scores .* not finite', id='NaN'),
        pytest.param(
            [0.1, float('inf'), float('-inf')],
            [0, 1, 1],
            '2 of 3 scores .* not finite',
            id='infinite',
        ),
        pytest.param([0.1, 0.2, 0.3], [0, 1], '3 scores for 2 labels', id='another length'),
    ],
)
def test_invalid_scores_and_labels_are_refused(function, scores, labels, message) -> None:
    with pytest.raises(ValueError, match=message):
        function(np.array(scores, float), np.array(labels, int))


def test_weights_count_an_image_as_often_as_they_say() -> None:
    rng = np.random.default_rng(3)
    logits, labels = rng.normal(size=60), np.tile([0, 1, 1], 20)
    logits += labels
    weights = rng.integers(1, 4, 60).astype(float)
    copies = np.repeat(np.arange(60), weights.astype(int))
    fitted = calibration.fit(logits, labels, weights)
    expected = calibration.fit(logits[copies], labels[copies])
    assert (fitted.offset, fitted.temperature) == pytest.approx(
        (expected.offset, expected.temperature), rel=1e-3
    )
    scores = fitted.apply(logits)
    point = calibration.choose_operating_point(scores, labels, 0.9, weights)
    repeated = calibration.choose_operating_point(scores[copies], labels[copies], 0.9)
    assert (point.threshold, point.sensitivity, point.specificity) == pytest.approx(
        (repeated.threshold, repeated.sensitivity, repeated.specificity)
    )
    assert calibration.fit(logits, labels) == calibration.fit(logits, labels, np.ones(60))
