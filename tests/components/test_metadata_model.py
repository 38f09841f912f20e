"""The metadata-only model predicts what metadata determine, but not from a patient's own images."""

from __future__ import annotations

import numpy as np
import pytest

from components.evaluator import bootstrap, metadata_model

COUNT = 1200
RNG = np.random.default_rng(0)
AGE = RNG.integers(1, 90, COUNT)
SEX = RNG.choice(np.array([b'F', b'M']), COUNT)
VIEW = RNG.choice(np.array([b'PA', b'AP']), COUNT)
PATIENT = np.arange(COUNT) // 3


def _auc(features: np.ndarray, label: np.ndarray, patient: np.ndarray = PATIENT) -> float:
    scores = metadata_model.cross_fitted(features, label, patient)
    assert scores is not None
    value = bootstrap.figures({'auc': bootstrap.auc(scores, label)}, patient, 0, 0.95)['auc'].value
    assert value is not None
    return value


@pytest.mark.parametrize(
    ('probability', 'low', 'high'),
    [
        (np.full(COUNT, 0.4), 0.42, 0.58),
        (np.where(VIEW == b'AP', 0.8, 0.2), 0.76, 0.84),
        (np.where(SEX == b'F', 0.7, 0.3), 0.64, 0.76),
        (np.where((AGE < 20) | (AGE > 70), 0.9, 0.1), 0.8, 0.95),
    ],
    ids=['chance', 'view', 'sex', 'young and old'],
)
def test_the_auc_is_as_high_as_metadata_allow(
    probability: np.ndarray, low: float, high: float
) -> None:
    label = (np.random.default_rng(1).random(COUNT) < probability).astype(int)
    assert low < _auc(metadata_model.columns(AGE, SEX, VIEW), label) < high


def test_the_study_number_is_used_only_if_it_is_a_column() -> None:
    follow_up = RNG.integers(0, 60, COUNT)
    label = (RNG.random(COUNT) < np.where(follow_up > 10, 0.8, 0.2)).astype(int)
    assert _auc(metadata_model.columns(AGE, SEX, VIEW), label) < 0.6
    assert _auc(metadata_model.columns(AGE, SEX, VIEW, follow_up), label) > 0.7


def test_a_patients_own_images_are_not_used() -> None:
    """Each patient has a unique age, so the patient's other images would reveal the label."""
    patients = np.arange(40)
    label = np.repeat(np.random.default_rng(2).permutation(patients % 2), 10)
    age = np.repeat(patients + 20, 10)
    assert (
        0.2
        < _auc(
            metadata_model.columns(age, np.full(400, b'F'), np.full(400, b'PA')),
            label,
            np.repeat(patients, 10),
        )
        < 0.8
    )


def test_an_unknown_age_becomes_the_mean_age_and_is_marked() -> None:
    age = AGE.copy()
    age[::3] = -1
    columns = metadata_model.columns(age, SEX, VIEW)
    assert np.isfinite(columns).all()
    assert columns[::3, 0] == pytest.approx(AGE[np.arange(COUNT) % 3 != 0].mean())
    assert (columns[::3, 2] == 0).all()
    assert np.isfinite(metadata_model.columns(np.full(COUNT, -1), SEX, VIEW)).all()


def test_without_metadata_there_is_no_prediction() -> None:
    unknown = metadata_model.columns(
        np.full(COUNT, -1), np.full(COUNT, b'unknown'), np.full(COUNT, b'unknown')
    )
    assert metadata_model.cross_fitted(unknown, RNG.integers(0, 2, COUNT), PATIENT) is None


def test_folds_are_the_same_on_every_machine() -> None:
    """The values are exact, because the assignment could silently depend on the CPU."""
    patient = np.array(['g', 'a', 'b', 'a', 'c', 'd', 'e', 'f', 'g', 'h'])
    assert metadata_model.folds(patient, 3, 0).tolist() == [1, 2, 1, 2, 0, 0, 2, 0, 1, 1]
    assert metadata_model.folds(patient, 3, 1).tolist() == [0, 2, 0, 2, 1, 1, 2, 0, 0, 1]


@pytest.mark.parametrize(
    ('label', 'patient'),
    [
        (np.ones(30), np.arange(30)),
        (np.arange(30) % 2, np.arange(30) % 4),
        ((np.arange(30) == 3).astype(int), np.arange(30)),
    ],
    ids=['one class', 'four patients', 'one positive'],
)
def test_too_little_data_give_no_prediction(label: np.ndarray, patient: np.ndarray) -> None:
    features = metadata_model.columns(AGE[:30], SEX[:30], VIEW[:30])
    assert metadata_model.cross_fitted(features, label, patient) is None
