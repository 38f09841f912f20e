"""The change against the served model: paired by patient, and read back from TFMA's metrics."""

from __future__ import annotations

import numpy as np
import pytest
from tensorflow_model_analysis.metrics import metric_types
from tensorflow_model_analysis.proto import metrics_for_slice_pb2
from tensorflow_model_analysis.writers import metrics_plots_and_validations_writer as writer

from components.evaluator import bootstrap, changes
from components.evaluator.bootstrap import Cases
from components.evaluator.figure import Figure
from components.evaluator.patient_metrics import PatientMetrics
from components.evaluator.results import Slice, add_metrics
from schemas.features import AGE, AGE_BAND, FOLLOW_UP, PATIENT_ID, SEX, VIEW, WEIGHT
from schemas.signatures import FLAG, PROBABILITY

_IMAGES, _LABEL = 200, 'label'


def _models() -> tuple[Cases, Cases, np.ndarray]:
    """Two models that agree but for ten positives, which only the candidate flags."""
    rng = np.random.default_rng(0)
    label = np.arange(_IMAGES) % 2
    probability = np.clip(0.3 + 0.3 * label + rng.normal(0, 0.2, _IMAGES), 0, 1)
    served = Cases(probability, (probability >= 0.5).astype(float), label)
    found = np.flatnonzero((served.flag == 0) & (label == 1))[:10]
    higher = probability.copy()
    higher[found] = 0.55
    candidate = Cases(higher, (higher >= 0.5).astype(float), label)
    return candidate, served, np.arange(_IMAGES) // 2


def test_a_paired_interval_shows_a_change_that_two_intervals_hide() -> None:
    candidate, served, patient = _models()
    change = changes.measure(candidate, served, patient, 500, 0.95)
    assert change['sensitivity'].value == pytest.approx(10 / 100)
    assert change['sensitivity'].lower > 0
    assert change['specificity'] == Figure(0.0, 0.0, 0.0)
    separate = [
        bootstrap.figures({'s': bootstrap.sensitivity(cases)}, patient, 500, 0.95)['s']
        for cases in (candidate, served)
    ]
    assert separate[0].lower < separate[1].upper


def test_changes_are_read_back_from_tfmas_metrics() -> None:
    measured = {'auc': Figure(0.01, -0.02, 0.04), 'specificity': Figure(None)}
    proto = metrics_for_slice_pb2.MetricsForSlice()
    item = proto.metric_keys_and_values.add()
    item.key.CopyFrom(changes.key('candidate').to_proto())
    item.value.CopyFrom(writer.convert_metric_value_to_proto(changes.to_metric(measured)))
    target = Slice(())
    add_metrics(target, [item])
    assert target.changes == measured


@pytest.mark.parametrize('names', [['candidate', 'baseline'], ['']], ids=['served', 'none served'])
def test_the_evaluator_measures_changes_only_against_a_served_model(names: list[str]) -> None:
    candidate, served, patient = _models()
    metric = PatientMetrics(label=_LABEL, replicates=100)
    combiner = metric.computations(model_names=names)[0].combiner
    text = {SEX: b'F', AGE_BAND: b'40-59', VIEW: b'PA'}
    accumulator = combiner.create_accumulator()
    for row in range(_IMAGES):
        outputs = [
            {PROBABILITY: np.array([cases.probability[row]]), FLAG: np.array([cases.flag[row]])}
            for cases in (candidate, served)
        ]
        features = {name: np.array([value]) for name, value in text.items()} | {
            PATIENT_ID: np.array([f'{patient[row]:08d}'.encode()]),
            AGE: np.array([50]),
            FOLLOW_UP: np.array([0]),
            WEIGHT: np.array([1.0]),
            _LABEL: np.array([candidate.label[row]]),
        }
        predictions = dict(zip(names, outputs, strict=False)) if len(names) > 1 else outputs[0]
        inputs = metric_types.StandardMetricInputs(predictions=predictions, features=features)
        accumulator = combiner.add_input(accumulator, inputs)
    results = combiner.extract_output(accumulator)
    key = changes.key(names[0])
    assert (key in results) == (len(names) > 1)
    if key in results:
        expected = changes.measure(candidate, served, patient, 100, 0.95)
        item = metrics_for_slice_pb2.MetricsForSlice().metric_keys_and_values.add()
        item.key.CopyFrom(key.to_proto())
        item.value.CopyFrom(writer.convert_metric_value_to_proto(results[key]))
        assert changes.from_metric(item)['sensitivity'].value == expected['sensitivity'].value
