"""The tests of a canary: false alarms over its whole life, power in both directions, limits."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special

from monitoring import canary
from monitoring.canary import DIFFERENCE, FLAGS, LOST, MISSED, OVERCALLED, PROBABILITY, Figure

_EQUAL = {'sensitivity': Figure(0.9), 'specificity': Figure(0.7)}
_ALPHA, _MARGIN = 0.05, 0.05


def _versions(
    seed: int, shift: float = 0.0, prevalence: float = 0.4, count: int = 500
) -> dict[str, np.ndarray]:
    """Two versions of the same quality on the same images; the logits of one are shifted."""
    rng = np.random.default_rng(seed)
    label = rng.random(count) < prevalence
    shared = rng.normal(-1.5, 1.5, count) + 3 * label
    stable = shared + rng.normal(0, 0.5, count)
    other = shared + rng.normal(0, 0.5, count) + shift
    return {
        FLAGS: (other >= 0.0) * 1.0 - (stable >= 0.0),
        PROBABILITY: special.expit(other) - special.expit(stable),
        LOST: np.zeros(count),
    }


def _alarms(values: dict[str, np.ndarray], alpha: float = _ALPHA) -> list[canary.Result]:
    bounds = canary.limits(_EQUAL, _EQUAL, _MARGIN)
    return [result for result in canary.judge(values, bounds, alpha) if result.alarm]


@pytest.mark.parametrize(
    ('shift', 'words'), [(1.0, 'too many'), (-1.0, 'too few')], ids=['too high', 'too low']
)
def test_a_shift_in_either_direction_alarms(shift: float, words: str) -> None:
    first = []
    for seed in range(20):
        alarms = _alarms(_versions(seed, shift))
        assert {alarm.name for alarm in alarms} == {FLAGS, PROBABILITY}
        assert words in next(alarm.alarm for alarm in alarms if alarm.name == FLAGS)
        first.append(min(alarm.at or 0 for alarm in alarms))
    assert np.median(first) < 250


@pytest.mark.parametrize('prevalence', [0.05, 0.4, 0.9])
def test_other_patients_do_not_alarm(prevalence: float) -> None:
    assert not any(_alarms(_versions(seed, prevalence=prevalence)) for seed in range(50))


def test_patients_that_change_on_the_way_do_not_alarm() -> None:
    for seed in range(20):
        before, after = _versions(seed, prevalence=0.1), _versions(seed + 100, prevalence=0.9)
        joined = {name: np.concatenate([before[name], after[name]]) for name in before}
        assert not _alarms(joined)


def test_the_rate_of_false_alarms_holds_over_all_looks_at_the_limit() -> None:
    """Each value has the largest mean that is allowed, and every prefix is a look."""
    rng = np.random.default_rng(0)
    bounds = {**canary.limits(_EQUAL, _EQUAL, _MARGIN), FLAGS: (None, 0.1), LOST: (None, 0.02)}
    alarmed = []
    for _ in range(400):
        values = {
            FLAGS: rng.choice([-1.0, 0.0, 1.0], 2000, p=[0.1, 0.7, 0.2]),
            LOST: rng.choice([0.0, 1.0], 2000, p=[0.98, 0.02]),
        }
        results = canary.judge(values, bounds, 0.2)
        alarmed.append(any(result.alarm for result in results))
    # Two of seven bounds are at their limits: 2 / 7 of 0.2 at most, and chance.
    assert np.mean(alarmed) <= 0.2 * 2 / 7 + 0.03


def test_an_alarm_stays_whatever_follows() -> None:
    bad, good = _versions(1, 1.0), _versions(2)
    (first, *_) = _alarms(bad)
    joined = {name: np.concatenate([bad[name], good[name], good[name]]) for name in bad}
    (later, *_) = _alarms(joined)
    assert (later.alarm, later.at) == (first.alarm, first.at)


@pytest.mark.parametrize(
    ('name', 'rate', 'is_alarm'),
    [(LOST, 0.1, True), (LOST, 0.01, False), (MISSED, 0.4, True), (MISSED, 0.1, False)],
)
def test_shares_alarm_above_their_limits(name: str, rate: float, is_alarm: bool) -> None:
    values = {name: (np.random.default_rng(3).random(400) < rate) * 1.0}
    assert [alarm.name for alarm in _alarms(values)] == [name] * is_alarm


def test_limits_follow_from_the_test_results() -> None:
    stable = {'sensitivity': Figure(0.95), 'specificity': Figure(0.5)}
    better = {'sensitivity': Figure(0.93), 'specificity': Figure(0.6)}
    limits = canary.limits(stable, better, 0.05)
    # Of abnormal images it flags 2 % fewer, of normal ones 10 % fewer.
    assert limits[FLAGS] == pytest.approx((-0.15, 0.03))
    assert limits[MISSED] == (None, pytest.approx(0.07 / 0.95 + 0.05))
    assert limits[OVERCALLED] == (None, pytest.approx(0.4 / 0.5 + 0.05))
    assert limits[PROBABILITY] == (-0.05, 0.05)


def test_uncertain_test_results_widen_the_limits() -> None:
    sure = canary.limits(_EQUAL, _EQUAL, 0.05)[FLAGS]
    uncertain = {name: Figure(figure.value, 0.03) for name, figure in _EQUAL.items()}
    low, high = canary.limits(uncertain, uncertain, 0.05)[FLAGS]
    assert sure == pytest.approx((-0.05, 0.05))
    assert (low, high) == pytest.approx((-0.06 * 2**0.5, 0.06 * 2**0.5))


def test_limits_follow_from_the_same_test_images() -> None:
    normal = {'flags': -0.1, 'probability': -0.02, 'difference': 0.1}
    abnormal = {'flags': -0.01, 'probability': 0.01, 'difference': 0.06}
    paired = {
        name: {**figures, **{f'{key}_error': 0.01 for key in figures}}
        for name, figures in (('normal', normal), ('abnormal', abnormal))
    }
    limits = canary.limits(_EQUAL, _EQUAL, 0.05, paired)
    assert limits[FLAGS] == pytest.approx((-0.15, 0.04))
    assert limits[PROBABILITY] == pytest.approx((-0.07, 0.06))
    assert limits[DIFFERENCE] == (None, pytest.approx(0.15))
    assert canary.limits(_EQUAL, _EQUAL, 0.05)[DIFFERENCE] == (None, None)


def test_what_is_not_known_or_cannot_be_passed_is_no_limit() -> None:
    assert canary.limits({}, _EQUAL, 0.05)[FLAGS] == (None, None)
    poor = {'sensitivity': Figure(0.95), 'specificity': Figure(0.2)}
    assert canary.limits(poor, poor, 0.05)[OVERCALLED] == (None, None)


def test_without_values_there_is_no_evidence() -> None:
    results = canary.judge({}, canary.limits(_EQUAL, _EQUAL, _MARGIN), _ALPHA)
    assert [(result.count, result.evidence, result.alarm) for result in results] == [(0, 1, '')] * 6


def test_values_outside_of_their_range_are_an_error() -> None:
    with pytest.raises(ValueError, match='missed: expected values from 0 to 1'):
        _alarms({MISSED: np.array([-1.0])})
