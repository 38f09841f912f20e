"""A shift between two groups of images: separate patients, and figures that show it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.processes import watch
from experiments import cohort, official_list, shift
from experiments.cohort import Cohort
from records.synth import write_dataset
from schemas.labels import ABNORMAL


@pytest.fixture(scope='module')
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Synthetic images, with a third of the patients on the official test list."""
    root = tmp_path_factory.mktemp('data')
    write_dataset(root, count=300, seed=5, size=64)
    images = cohort.load(root, 32)
    official_patients = set(np.unique(images.patients)[::3])
    official = [
        image_id
        for image_id, patient in zip(images.ids, images.patients, strict=True)
        if patient in official_patients
    ]
    (root / 'metadata' / 'test_list.txt.gz').unlink()
    (root / 'test_list.txt').write_text('\n'.join(official))
    return root


@pytest.fixture(scope='module')
def images(data: Path) -> Cohort:
    """The loaded images."""
    return cohort.load(data, 32)


def test_no_patient_is_in_two_groups(images: Cohort, data: Path) -> None:
    rows = shift.split(images, official_list.test_list(data))
    assert sorted(np.concatenate(list(rows.values()))) == list(range(300))
    patients = {name: set(images.patients[indices]) for name, indices in rows.items()}
    assert sum(map(len, patients.values())) == len(set(images.patients))
    assert {images.ids[row] for row in rows['official test']} == set(
        (data / 'test_list.txt').read_text().split()
    )
    assert len(rows['train']) > len(rows['held out']) > 0


@pytest.mark.parametrize('image_id', ['nobody.png', None], ids=['no image', 'all images'])
def test_a_list_of_no_or_all_images_is_refused(images: Cohort, image_id: str | None) -> None:
    with pytest.raises(SystemExit, match='official test list'):
        shift.split(images, {image_id} if image_id else set(images.ids))


def test_the_figures_show_a_shift_of_the_scores(images: Cohort, data: Path) -> None:
    rows = shift.split(images, official_list.test_list(data))
    rng = np.random.default_rng(0)
    logits = {
        name: images.labels[ABNORMAL][indices] * 2.0 + rng.normal(size=len(indices))
        for name, indices in rows.items()
    }
    unshifted = shift.figures(images, ABNORMAL, rows, logits, 0.9)
    logits['official test'] = logits['official test'] - 3
    shifted = shift.figures(images, ABNORMAL, rows, logits, 0.9)
    sensitivity, ratio = (
        'sensitivity at the operating point',
        'mean probability over share of abnormal',
    )
    assert unshifted[sensitivity][0].value >= 0.9
    for name in (sensitivity, ratio):
        calibrated, held_out, official, difference = shifted[name]
        assert difference.value == pytest.approx(official.value - held_out.value)
        assert difference.upper < 0
        assert unshifted[name][3].lower <= 0 <= unshifted[name][3].upper
        assert unshifted[name][:2] == (calibrated, held_out)
    # The shift does not change the order of the scores within the group.
    assert shifted['AUC'][2].value == unshifted['AUC'][2].value


@pytest.mark.slow
def test_the_command_writes_and_prints_figures(data: Path, tmp_path: Path) -> None:
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
    process = watch([*command, *(f'--set={setting}' for setting in settings)], tmp_path / 'log')
    text = (tmp_path / 'log').read_text()
    assert process.exit_code == 0, text[-3000:]
    results = json.loads((tmp_path / 'shift-nih_triage.json').read_text())
    assert all(len(row) == len(shift.GROUPS) + 1 for row in results.values())
    assert 'specificity at the operating point' in text
