"""Labels, tasks and age bands."""

from __future__ import annotations

import pytest

from schemas.features import AGE_BANDS, UNKNOWN, age_band
from schemas.labels import ABNORMAL, FINDINGS, LABELS, NO_FINDING, derived
from trainer.tasks import TASKS


def test_there_are_14_findings_and_15_labels() -> None:
    assert len(FINDINGS) == 14
    assert len(set(LABELS)) == 15
    assert (NO_FINDING, *FINDINGS) == LABELS


@pytest.mark.parametrize(('no_finding', 'abnormal'), [(1, 0), (0, 1)], ids=['normal', 'abnormal'])
def test_abnormal_is_the_opposite_of_no_finding(no_finding: int, abnormal: int) -> None:
    assert derived(dict.fromkeys(FINDINGS, 0) | {NO_FINDING: no_finding}) == {ABNORMAL: abnormal}


def test_tasks_have_consistent_names_and_known_labels() -> None:
    for name, task in TASKS.items():
        assert task.name == name
        assert set(task.outputs) <= {ABNORMAL, *FINDINGS}
        assert len(set(task.outputs)) == len(task.outputs)


@pytest.mark.parametrize(
    ('age', 'band'),
    [
        (-1, UNKNOWN),
        (0, '00-17'),
        (17, '00-17'),
        (18, '18-39'),
        (39, '18-39'),
        (40, '40-59'),
        (59, '40-59'),
        (60, '60-79'),
        (79, '60-79'),
        (80, '80+'),
        (120, '80+'),
    ],
)
def test_age_band(age: int, band: str) -> None:
    assert age_band(age) == band


def test_every_age_has_a_band() -> None:
    assert {age_band(age) for age in range(-1, 121)} == set(AGE_BANDS)
