"""Wilson's interval from its table, and the number of films that films of few patients are
worth.
"""

from __future__ import annotations

import numpy as np
import pytest

from components.evaluator import shares


@pytest.mark.parametrize(
    ('hits', 'number', 'interval'),
    # Newcombe, Statistics in Medicine 17, 1998, table I.
    [
        (81, 263, (0.2553, 0.3662)),
        (15, 148, (0.0624, 0.1605)),
        (0, 20, (0.0, 0.1611)),
        (1, 29, (0.0061, 0.1718)),
    ],
)
def test_wilson(hits: int, number: int, interval: tuple[float, float]) -> None:
    assert shares.wilson(hits / number, number, 0.95) == pytest.approx(interval, abs=1e-4)


def test_a_lower_level_is_narrower() -> None:
    wide, narrow = (shares.wilson(0.3, 50, level) for level in (0.95, 0.8))
    assert wide[0] < narrow[0] < 0.3 < narrow[1] < wide[1]


def test_films_that_agree_with_those_of_their_patient_are_worth_one() -> None:
    hit = np.arange(400) % 5 == 0
    one_each = shares.effective_number(hit, np.arange(400))
    assert one_each == pytest.approx(399)
    assert shares.effective_number(
        np.repeat(hit, 3), np.repeat(np.arange(400), 3)
    ) == pytest.approx(one_each)


def test_it_is_never_more_than_the_films() -> None:
    # Each patient has a hit and a miss: between patients nothing differs.
    assert shares.effective_number(np.tile([0, 1], 10), np.repeat(np.arange(10), 2)) == 20


@pytest.mark.parametrize('hit', [0, 1])
def test_of_all_or_none_each_patient_counts_once(hit: int) -> None:
    assert shares.effective_number(np.full(6, hit), np.array([1, 1, 1, 1, 2, 3])) == 3


def test_one_patient_is_worth_one_film() -> None:
    assert shares.effective_number(np.array([0, 1, 1, 0]), np.zeros(4)) == 1


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    """40 patients of one to six films that mostly agree; by film it would hold it too rarely."""
    truth, inside, by_film = 0.3, 0, 0
    rng = np.random.default_rng(0)
    for _ in range(1000):
        patient = np.repeat(np.arange(40), rng.integers(1, 7, 40))
        rate = rng.beta(0.3, 0.7, 40)
        hit = rng.random(len(patient)) < rate[patient]
        for_patients = shares.wilson(hit.mean(), shares.effective_number(hit, patient), 0.95)
        for_films = shares.wilson(hit.mean(), len(hit), 0.95)
        inside += for_patients[0] <= truth <= for_patients[1]
        by_film += for_films[0] <= truth <= for_films[1]
    assert 0.92 <= inside / 1000 <= 0.98
    assert by_film / 1000 < 0.85
