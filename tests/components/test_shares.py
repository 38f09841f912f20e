"""Wilson's interval against published values, and the effective number of images."""

from __future__ import annotations

import numpy as np
import pytest

from components.evaluator import shares


@pytest.mark.parametrize(
    ('positives', 'number', 'interval'),
    # Newcombe, Statistics in Medicine 17, 1998, table I.
    [
        (81, 263, (0.2553, 0.3662)),
        (15, 148, (0.0624, 0.1605)),
        (0, 20, (0.0, 0.1611)),
        (1, 29, (0.0061, 0.1718)),
    ],
)
def test_wilsons_interval_equals_published_values(
    positives: int, number: int, interval: tuple[float, float]
) -> None:
    assert shares.wilson(positives / number, number, 0.95) == pytest.approx(interval, abs=1e-4)


def test_a_lower_level_gives_a_narrower_interval() -> None:
    wide, narrow = (shares.wilson(0.3, 50, level) for level in (0.95, 0.8))
    assert wide[0] < narrow[0] < 0.3 < narrow[1] < wide[1]


def test_images_that_agree_within_a_patient_count_once() -> None:
    indicator = np.arange(400) % 5 == 0
    one_each = shares.effective_number(indicator, np.arange(400))
    assert one_each == pytest.approx(399)
    assert shares.effective_number(
        np.repeat(indicator, 3), np.repeat(np.arange(400), 3)
    ) == pytest.approx(one_each)


def test_the_effective_number_is_at_most_the_number_of_images() -> None:
    # Every patient has one 0 and one 1, so patients do not differ.
    assert shares.effective_number(np.tile([0, 1], 10), np.repeat(np.arange(10), 2)) == 20


@pytest.mark.parametrize('share', [0, 1])
def test_for_a_share_of_0_or_1_each_patient_counts_once(share: int) -> None:
    assert shares.effective_number(np.full(6, share), np.array([1, 1, 1, 1, 2, 3])) == 3


def test_a_single_patient_counts_once() -> None:
    assert shares.effective_number(np.array([0, 1, 1, 0]), np.zeros(4)) == 1


def test_the_interval_covers_the_true_value_at_its_level() -> None:
    """40 patients have one to six similar images. Intervals by image cover too rarely."""
    truth, covers_by_patient, covers_by_image = 0.3, 0, 0
    rng = np.random.default_rng(0)
    for _ in range(1000):
        patient = np.repeat(np.arange(40), rng.integers(1, 7, 40))
        rate = rng.beta(0.3, 0.7, 40)
        indicator = rng.random(len(patient)) < rate[patient]
        number = shares.effective_number(indicator, patient)
        lower, upper = shares.wilson(indicator.mean(), number, 0.95)
        covers_by_patient += lower <= truth <= upper
        lower, upper = shares.wilson(indicator.mean(), len(indicator), 0.95)
        covers_by_image += lower <= truth <= upper
    assert 0.92 <= covers_by_patient / 1000 <= 0.98
    assert covers_by_image / 1000 < 0.85
