"""The test of equal shares is valid whether patients have one image or many similar ones."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chi2_contingency

from components.data_audit.clustered import same_share_p_value

LEVEL, TRIALS = 0.05, 300


def _p_value_by_image(group: np.ndarray, positive: np.ndarray) -> float:
    counts = [
        [int(((group == name) & (positive == value)).sum()) for value in (1, 0)]
        for name in np.unique(group)
    ]
    return float(chi2_contingency(counts, correction=False)[1])


def _images(rng: np.random.Generator, patients: int = 150) -> tuple[np.ndarray, np.ndarray]:
    """(patient, positive) of images. Patients differ in their number and share of positives."""
    patient = np.repeat(np.arange(patients), 1 + rng.poisson(3, patients))
    return patient, (rng.random(len(patient)) < rng.beta(0.5, 0.8, patients)[patient]).astype(int)


def test_false_alarms_stay_within_the_level() -> None:
    rng, alarms = np.random.default_rng(0), {'by patient': 0, 'by image': 0}
    for _ in range(TRIALS):
        patient, positive = _images(rng)
        source = rng.integers(0, 3, 150)[patient]
        alarms['by patient'] += same_share_p_value(source, positive, patient) < LEVEL
        alarms['by image'] += _p_value_by_image(source, positive) < LEVEL
    # At most three standard errors above the level. The test by image has too many false alarms.
    assert alarms['by patient'] / TRIALS <= LEVEL + 3 * (LEVEL * (1 - LEVEL) / TRIALS) ** 0.5
    assert alarms['by image'] / TRIALS > 4 * LEVEL


def test_false_alarms_stay_within_the_level_for_patients_in_several_groups() -> None:
    rng, alarms = np.random.default_rng(1), 0
    for _ in range(TRIALS):
        patient, positive = _images(rng)
        alarms += same_share_p_value(rng.integers(0, 2, len(patient)), positive, patient) < LEVEL
    assert 0.2 * LEVEL < alarms / TRIALS <= LEVEL + 3 * (LEVEL * (1 - LEVEL) / TRIALS) ** 0.5


def test_copies_of_images_do_not_change_the_p_value() -> None:
    patient, positive = _images(np.random.default_rng(2))
    source = patient % 2
    expected = same_share_p_value(source, positive, patient)
    assert same_share_p_value(
        *(np.tile(column, 10) for column in (source, positive, patient))
    ) == pytest.approx(expected, rel=1e-6)


def test_with_one_image_per_patient_it_equals_the_chi_square_test() -> None:
    rng = np.random.default_rng(3)
    group = rng.integers(0, 3, 3000)
    positive = (rng.random(3000) < np.array([0.30, 0.33, 0.34])[group]).astype(int)
    assert same_share_p_value(group, positive, np.arange(3000)) == pytest.approx(
        _p_value_by_image(group, positive), rel=0.1
    )


def test_a_real_difference_is_found() -> None:
    patient, positive = _images(np.random.default_rng(4), 400)
    positive |= (np.arange(len(positive)) % 2) * (patient % 2)
    assert same_share_p_value(patient % 2, positive, patient) < 1e-6


@pytest.mark.parametrize(
    ('group', 'positive'),
    [([], []), ([0, 0, 0], [1, 0, 1]), ([0, 1, 1], [1, 1, 1]), ([0, 1, 1], [0, 0, 0])],
    ids=['no images', 'one group', 'all positive', 'none positive'],
)
def test_without_a_comparison_the_p_value_is_one(group: list[int], positive: list[int]) -> None:
    assert same_share_p_value(np.array(group), np.array(positive), np.arange(len(group))) == 1.0


def test_many_images_of_one_patient_are_not_a_difference() -> None:
    """One patient with 30 images is compared with 100 patients with one image each."""
    patient = np.concatenate([np.arange(100), np.full(30, 100)])
    positive = np.concatenate([np.arange(100) % 3 == 0, np.ones(30)]).astype(int)
    assert same_share_p_value((patient == 100).astype(int), positive, patient) > 0.05
    assert _p_value_by_image((patient == 100).astype(int), positive) < 1e-6
