"""The Evaluator's figures for answers that are no numbers, as a network with broken weights gives
them.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from components.evaluator.patient_metrics import PatientMetrics, _Collected
from schemas.features import AGE, AGE_BAND, FOLLOW_UP, PATIENT_ID, SEX, VIEW
from schemas.signatures import FLAG, PROBABILITY
from trainer.tasks import TASKS

_LABEL = TASKS['nih_triage'].label
_FILMS = 12


def _columns(probability: np.ndarray) -> dict[str, np.ndarray]:
    """Outputs and features of films, every second one abnormal."""
    number = np.arange(_FILMS)
    text = {SEX: b'F', AGE_BAND: b'40-59', VIEW: b'PA'}
    return {
        PROBABILITY: probability,
        FLAG: (probability >= 0.5).astype(np.float32),
        PATIENT_ID: np.array([f'{each:08d}'.encode() for each in number]),
        **{name: np.array([value] * _FILMS) for name, value in text.items()},
        AGE: np.full(_FILMS, 50),
        FOLLOW_UP: np.zeros(_FILMS, int),
        _LABEL: number % 2,
    }


def _figures(probability: np.ndarray) -> dict[str, float]:
    metric = PatientMetrics(label=_LABEL, findings=[], replicates=10, level=0.95, min_positives=2)
    combiner = metric.computations()[0].combiner
    columns = _columns(probability)
    block = tuple(columns[name] for name in (*combiner._outputs, *combiner._features))
    answers = combiner.extract_output(_Collected(blocks=[block]))
    return {key.name: value for key, value in answers.items() if isinstance(value, float)}


@pytest.mark.parametrize('broken', [math.nan, math.inf], ids=['NaN', 'infinite'])
@pytest.mark.parametrize('films', [1, _FILMS], ids=['one', 'all'])
def test_answers_that_are_not_finite_leave_every_figure_undefined(
    broken: float, films: int, caplog
) -> None:
    sound = np.linspace(0.1, 0.9, _FILMS).astype(np.float32)
    answers = sound.copy()
    answers[:films] = broken
    figures = _figures(answers)
    assert set(figures) == set(_figures(sound))
    assert all(math.isnan(value) for value in figures.values()), figures
    assert f'{films} of {_FILMS} answers of the model are not finite' in caplog.text


def test_finite_answers_have_figures() -> None:
    figures = _figures(np.linspace(0.1, 0.9, _FILMS).astype(np.float32))
    assert figures['auc'] == pytest.approx(21 / 36)
