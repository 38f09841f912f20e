"""What plots are made of, counted from arrays, is what TFMA finds film by film."""

from __future__ import annotations

import numpy as np
import pytest
from tensorflow_model_analysis.metrics import (
    calibration_histogram,
    confusion_matrix_metrics,
    metric_types,
)

from components.evaluator import plots
from schemas.signatures import FLAG, PROBABILITY

_COUNT = 500


def _films(
    output: str, values: np.ndarray, label: np.ndarray
) -> list[metric_types.StandardMetricInputs]:
    return [
        metric_types.StandardMetricInputs(
            labels={output: np.array([truth])},
            predictions={output: np.array([value])},
            example_weights={output: np.array([1.0])},
        )
        for value, truth in zip(values, label, strict=True)
    ]


def _by_tfma(
    computation: metric_types.MetricComputation, films: list[metric_types.StandardMetricInputs]
) -> dict:
    combiner = computation.combiner
    accumulator = combiner.create_accumulator()
    for film in films:
        accumulator = combiner.add_input(accumulator, film)
    return combiner.extract_output(accumulator)


@pytest.mark.parametrize('kind', ['many values', 'the ends', 'edges of buckets'])
def test_the_histogram(kind: str) -> None:
    rng = np.random.default_rng(1)
    probability = {
        'many values': rng.random(_COUNT),
        'the ends': rng.integers(0, 2, _COUNT).astype(float),
        'edges of buckets': rng.integers(0, 10_001, _COUNT) / 10_000,
    }[kind].astype(np.float32)
    label = (rng.random(_COUNT) < 0.4).astype(int)
    (computation,) = calibration_histogram.calibration_histogram(output_name=PROBABILITY)
    expected = _by_tfma(computation, _films(PROBABILITY, probability, label))[
        plots.histogram_key('', PROBABILITY)
    ]
    found = plots.histogram(probability, label)
    assert [bucket.bucket_id for bucket in found] == [bucket.bucket_id for bucket in expected]
    for name in ('weighted_labels', 'weighted_predictions', 'weighted_examples'):
        assert [getattr(each, name) for each in found] == pytest.approx(
            [getattr(each, name) for each in expected], rel=1e-12
        )


def test_the_confusion_matrix_at_the_operating_point() -> None:
    rng = np.random.default_rng(2)
    flag, label = (
        (rng.random(_COUNT) < 0.6).astype(np.float32),
        (rng.random(_COUNT) < 0.3).astype(int),
    )
    metric = confusion_matrix_metrics.ConfusionMatrixAtThresholds(thresholds=[0.5])
    computation, *derived = metric.computations(
        model_names=[''], output_names=[FLAG], example_weighted=False
    )
    values = _by_tfma(computation, _films(FLAG, flag, label))
    for each in derived:
        values |= each.result(values)
    ((key, found),) = plots.at_operating_point('', flag, label).items()
    assert (found.tp, found.tn, found.fp, found.fn) == tuple(
        getattr(values[key], cell) for cell in ('tp', 'tn', 'fp', 'fn')
    )


@pytest.mark.parametrize('findings', [(), ('Effusion', 'Mass')])
def test_each_output_has_its_roc_and_the_probability_its_reliability(
    findings: tuple[str, ...],
) -> None:
    keys = {
        key
        for each in plots.derived('candidate', findings)
        for key in each.keys
        if not key.name.startswith('_')
    }
    assert {(key.name, key.output_name) for key in keys} == {
        ('calibration_plot', PROBABILITY),
        *(('confusion_matrix_plot', output) for output in (PROBABILITY, *findings)),
    }
    assert {key.model_name for key in keys} == {'candidate'}
