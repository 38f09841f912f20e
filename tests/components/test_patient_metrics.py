"""The metrics of the Evaluator with outputs that are not finite and images not assessed."""

from __future__ import annotations

import math

import numpy as np
import pytest
from tensorflow_model_analysis.metrics import metric_types

from components.evaluator import patient_metrics, registry
from components.evaluator.patient_metrics import PatientMetrics, _Collected
from schemas import image_status
from schemas.features import AGE, AGE_BAND, FOLLOW_UP, PATIENT_ID, SEX, VIEW, WEIGHT
from schemas.signatures import FLAG, PROBABILITY, STATUS
from trainer.tasks import TASKS

_LABEL = TASKS['nih_triage'].label
_IMAGES = 12


def _columns(probability: np.ndarray) -> dict[str, np.ndarray]:
    """Outputs and features of images. Every second image is abnormal."""
    number = np.arange(_IMAGES)
    text = {SEX: b'F', AGE_BAND: b'40-59', VIEW: b'PA'}
    return {
        PROBABILITY: probability,
        FLAG: (probability >= 0.5).astype(np.float32),
        PATIENT_ID: np.array([f'{patient:08d}'.encode() for patient in number]),
        **{name: np.array([value] * _IMAGES) for name, value in text.items()},
        AGE: np.full(_IMAGES, 50),
        FOLLOW_UP: np.zeros(_IMAGES, int),
        WEIGHT: np.ones(_IMAGES),
        _LABEL: number % 2,
    }


def _combiner() -> patient_metrics._Combiner:
    metric = PatientMetrics(label=_LABEL, findings=[], replicates=10, level=0.95, min_positives=2)
    return metric.computations()[0].combiner


def _metrics(probability: np.ndarray) -> dict[str, float]:
    combiner, columns = _combiner(), _columns(probability)
    block = (
        *(columns[name] for name in combiner._outputs),
        np.zeros(_IMAGES),
        *(columns[name] for name in combiner._features),
    )
    results = combiner.extract_output(_Collected(blocks=[block]))
    return {key.name: value for key, value in results.items() if isinstance(value, float)}


@pytest.mark.parametrize('value', [math.nan, math.inf], ids=['NaN', 'infinite'])
@pytest.mark.parametrize('images', [1, _IMAGES], ids=['one', 'all'])
def test_outputs_that_are_not_finite_leave_every_metric_undefined(
    value: float, images: int, caplog
) -> None:
    finite = np.linspace(0.1, 0.9, _IMAGES).astype(np.float32)
    probability = finite.copy()
    probability[:images] = value
    metrics = _metrics(probability)
    assert set(metrics) == set(_metrics(finite))
    assert metrics.pop(registry.NOT_ASSESSED) == 0
    assert all(math.isnan(metric) for metric in metrics.values()), metrics
    assert f'{images} of {_IMAGES} outputs of the model are not finite' in caplog.text


def test_finite_outputs_have_their_metrics() -> None:
    metrics = _metrics(np.linspace(0.1, 0.9, _IMAGES).astype(np.float32))
    assert metrics['auc'] == pytest.approx(21 / 36)


@pytest.mark.parametrize(
    ('statuses', 'expected'),
    [
        ([image_status.OK] * _IMAGES, 0),
        ([image_status.BLANK, image_status.UNSUPPORTED, *[image_status.OK] * (_IMAGES - 2)], 2),
        (None, math.nan),
    ],
    ids=['none', 'two', 'a model without statuses'],
)
def test_images_not_assessed_are_counted(statuses: list[str] | None, expected: float) -> None:
    combiner, columns = _combiner(), _columns(np.linspace(0.1, 0.9, _IMAGES))
    accumulator = combiner.create_accumulator()
    for row in range(_IMAGES):
        predictions = {name: columns[name][row] for name in (PROBABILITY, FLAG)}
        if statuses:
            predictions[STATUS] = np.array([statuses[row].encode()])
        features = {name: columns[name][row] for name in combiner._features}
        inputs = metric_types.StandardMetricInputs(predictions=predictions, features=features)
        accumulator = combiner.add_input(accumulator, inputs)
    results = {key.name: value for key, value in combiner.extract_output(accumulator).items()}
    assert results[registry.NOT_ASSESSED] == pytest.approx(expected, nan_ok=True)
    assert results['auc'] == pytest.approx(21 / 36)
