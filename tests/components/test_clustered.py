"""The test by patient: right where films of a patient are alike, and where each patient has one
film.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chi2_contingency

from components.data_audit.clustered import same_share_p_value

LEVEL, TRIALS = 0.05, 300


def _by_film(group: np.ndarray, positive: np.ndarray) -> float:
    counts = [
        [int(((group == name) & (positive == value)).sum()) for value in (1, 0)]
        for name in np.unique(group)
    ]
    return float(chi2_contingency(counts, correction=False)[1])


def _films(rng: np.random.Generator, patients: int = 150) -> tuple[np.ndarray, np.ndarray]:
    """(patient, positive) of some films of each patient; each patient has a share of positives of
    its own.
    """
    patient = np.repeat(np.arange(patients), 1 + rng.poisson(3, patients))
    return patient, (rng.random(len(patient)) < rng.beta(0.5, 0.8, patients)[patient]).astype(int)


def test_no_more_alarms_than_the_level_allows_where_nothing_differs() -> None:
    rng, alarms = np.random.default_rng(0), {'by patient': 0, 'by film': 0}
    for _ in range(TRIALS):
        patient, positive = _films(rng)
        source = rng.integers(0, 3, 150)[patient]
        alarms['by patient'] += same_share_p_value(source, positive, patient) < LEVEL
        alarms['by film'] += _by_film(source, positive) < LEVEL
    # Three standard errors above the level; the test by film shows that these films can raise false
    # alarms.
    assert alarms['by patient'] / TRIALS <= LEVEL + 3 * (LEVEL * (1 - LEVEL) / TRIALS) ** 0.5
    assert alarms['by film'] / TRIALS > 4 * LEVEL


def test_a_patient_may_have_films_in_several_groups() -> None:
    rng, alarms = np.random.default_rng(1), 0
    for _ in range(TRIALS):
        patient, positive = _films(rng)
        alarms += same_share_p_value(rng.integers(0, 2, len(patient)), positive, patient) < LEVEL
    assert 0.2 * LEVEL < alarms / TRIALS <= LEVEL + 3 * (LEVEL * (1 - LEVEL) / TRIALS) ** 0.5


def test_more_copies_of_the_same_films_are_no_more_evidence() -> None:
    patient, positive = _films(np.random.default_rng(2))
    source = patient % 2
    once = same_share_p_value(source, positive, patient)
    assert same_share_p_value(
        *(np.tile(column, 10) for column in (source, positive, patient))
    ) == pytest.approx(once, rel=1e-6)


def test_one_film_a_patient_gives_the_chi_square_test() -> None:
    rng = np.random.default_rng(3)
    group = rng.integers(0, 3, 3000)
    positive = (rng.random(3000) < np.array([0.30, 0.33, 0.34])[group]).astype(int)
    assert same_share_p_value(group, positive, np.arange(3000)) == pytest.approx(
        _by_film(group, positive), rel=0.1
    )


def test_a_real_difference_is_seen() -> None:
    patient, positive = _films(np.random.default_rng(4), 400)
    other = positive | (np.arange(len(positive)) % 2) * (patient % 2)
    assert same_share_p_value(patient % 2, other, patient) < 1e-6


@pytest.mark.parametrize(
    ('group', 'positive'),
    [([], []), ([0, 0, 0], [1, 0, 1]), ([0, 1, 1], [1, 1, 1]), ([0, 1, 1], [0, 0, 0])],
    ids=['no films', 'one group', 'all positive', 'none positive'],
)
def test_nothing_to_compare(group: list[int], positive: list[int]) -> None:
    assert same_share_p_value(np.array(group), np.array(positive), np.arange(len(group))) == 1.0


def test_one_patient_is_no_group() -> None:
    """Thirty films of one patient against a hundred patients."""
    patient = np.concatenate([np.arange(100), np.full(30, 100)])
    positive = np.concatenate([np.arange(100) % 3 == 0, np.ones(30)]).astype(int)
    assert same_share_p_value((patient == 100).astype(int), positive, patient) > 0.05
    assert _by_film((patient == 100).astype(int), positive) < 1e-6
