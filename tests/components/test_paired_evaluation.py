"""How much candidate and served model differ on the same test images, by class and patient."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from components.evaluator import paired
from components.evaluator.predictions import LABEL, SERVED
from schemas import image_status
from schemas.features import PATIENT_ID
from schemas.signatures import FLAG, PROBABILITY, STATUS
from tests.support import kept_predictions


def _row(label: int, patient: int, served: float, candidate: float) -> dict:
    return {
        PATIENT_ID: str(patient),
        LABEL: label,
        PROBABILITY: candidate,
        FLAG: int(candidate >= 0.5),
        SERVED + PROBABILITY: served,
        SERVED + FLAG: int(served >= 0.5),
    }


def test_changes_by_class(tmp_path: Path) -> None:
    rows = [
        _row(0, 1, 0.2, 0.3),
        _row(0, 2, 0.6, 0.4),
        _row(1, 3, 0.4, 0.9),
        _row(1, 4, 0.7, 0.7),
        # Not assessed by one of them.
        _row(1, 5, 0.7, 0.0) | {STATUS: image_status.BLANK},
    ]
    result = paired.compare(kept_predictions.write(tmp_path, rows))
    assert {name: figures['images'] for name, figures in result.items()} == {
        'normal': 2,
        'abnormal': 2,
    }
    assert result['normal']['flags'] == -0.5 and result['abnormal']['flags'] == 0.5
    assert result['normal']['probability'] == pytest.approx(-0.05)
    assert result['normal']['difference'] == pytest.approx(0.15)


def test_errors_count_patients(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    served, candidate = rng.random(200), rng.random(200)

    def errors(per_patient: int) -> float:
        folder = tmp_path / str(per_patient)
        folder.mkdir()
        rows = [
            _row(row % 2, row // 2 // per_patient, served[number], candidate[number])
            for row in range(400)
            for number in (row // 2 // per_patient,)
        ]
        table = kept_predictions.write(folder, rows)
        return paired.compare(table)['normal']['probability_error']

    # Four images of a patient that are all the same are one.
    assert errors(4) == pytest.approx(2 * errors(1), rel=0.3)


def test_models_that_agree_have_an_error_nevertheless(tmp_path: Path) -> None:
    rows = [_row(row % 2, row, 0.9, 0.9) for row in range(100)]
    result = paired.compare(kept_predictions.write(tmp_path, rows))
    assert result['normal']['flags'] == 0
    assert result['normal']['flags_error'] == pytest.approx(1 / 50)


def test_without_a_served_model_or_a_class_there_is_nothing_to_compare(tmp_path: Path) -> None:
    (tmp_path / 'alone').mkdir()
    alone = kept_predictions.write(tmp_path / 'alone', [{LABEL: row % 2} for row in range(4)])
    normal = kept_predictions.write(tmp_path, [_row(0, row, 0.1, 0.2) for row in range(4)])
    assert paired.compare(alone) == paired.compare(normal) == {}
