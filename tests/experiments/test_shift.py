"""A shift between two groups of films: patients apart, and figures that see it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.processes import watch
from experiments import cohort, shift
from experiments.cohort import Cohort
from records.synth import write_dataset
from schemas.labels import ABNORMAL


@pytest.fixture(scope='module')
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Synthetic films, a third of their patients on the official test list."""
    root = tmp_path_factory.mktemp('films')
    write_dataset(root, count=300, seed=5, size=64)
    films = cohort.load(root, 32)
    third = set(np.unique(films.patients)[::3])
    listed = [
        image_id
        for image_id, patient in zip(films.ids, films.patients, strict=True)
        if patient in third
    ]
    (root / 'metadata' / 'test_list.txt.gz').unlink()
    (root / 'test_list.txt').write_text('\n'.join(listed))
    return root


@pytest.fixture(scope='module')
def films(data: Path) -> Cohort:
    """The same, read."""
    return cohort.load(data, 32)


def test_no_patient_is_in_two_groups(films: Cohort, data: Path) -> None:
    places = shift.split(films, shift.test_list(data))
    assert sorted(np.concatenate(list(places.values()))) == list(range(300))
    patients = {name: set(films.patients[rows]) for name, rows in places.items()}
    assert sum(map(len, patients.values())) == len(set(films.patients))
    assert {films.ids[row] for row in places['official test']} == set(
        (data / 'test_list.txt').read_text().split()
    )
    assert len(places['train']) > len(places['held out']) > 0


@pytest.mark.parametrize('listed', ['nobody.png', None], ids=['no film', 'every film'])
def test_a_list_that_divides_nothing_is_refused(films: Cohort, listed: str | None) -> None:
    with pytest.raises(SystemExit, match='official test list'):
        shift.split(films, {listed} if listed else set(films.ids))


def test_a_shift_of_the_answers_is_seen(films: Cohort, data: Path) -> None:
    places = shift.split(films, shift.test_list(data))
    rng = np.random.default_rng(0)
    logits = {
        name: films.labels[ABNORMAL][rows] * 2.0 + rng.normal(size=len(rows))
        for name, rows in places.items()
    }
    same = shift.figures(films, ABNORMAL, places, logits, 0.9)
    logits['official test'] = logits['official test'] - 3
    moved = shift.figures(films, ABNORMAL, places, logits, 0.9)
    sensitivity, ratio = (
        'sensitivity at the operating point',
        'mean probability over share of abnormal',
    )
    assert same[sensitivity][0].value >= 0.9
    for row in (sensitivity, ratio):
        calibrated, inside, outside, less = moved[row]
        assert less.value == pytest.approx(outside.value - inside.value)
        assert less.upper < 0
        assert same[row][3].lower <= 0 <= same[row][3].upper
        assert same[row][:2] == (calibrated, inside)
    # Ranks within the group are as before.
    assert moved['AUC'][2].value == same['AUC'][2].value


@pytest.mark.slow
def test_the_command(data: Path, tmp_path: Path) -> None:
    settings = [
        'model.backbone=scratch_cnn',
        'model.image_size=32',
        'train.epochs=1',
        'train.learning_rate=0.001',
    ]
    command = [
        sys.executable,
        '-m',
        'experiments.shift',
        'nih_triage',
        '--data-root',
        str(data),
        '--scratch',
        str(tmp_path),
    ]
    taken = watch([*command, *(f'--set={each}' for each in settings)], tmp_path / 'log')
    text = (tmp_path / 'log').read_text()
    assert taken.exit_code == 0, text[-3000:]
    found = json.loads((tmp_path / 'shift-nih_triage.json').read_text())
    assert all(len(row) == len(shift.GROUPS) + 1 for row in found.values())
    assert 'specificity at the operating point' in text
