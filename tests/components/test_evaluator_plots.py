"""Histograms and confusion matrices from arrays equal those that TFMA counts image by image."""

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


def _inputs(
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
    computation: metric_types.MetricComputation, inputs: list[metric_types.StandardMetricInputs]
) -> dict:
    combiner = computation.combiner
    accumulator = combiner.create_accumulator()
    for element in inputs:
        accumulator = combiner.add_input(accumulator, element)
    return combiner.extract_output(accumulator)


@pytest.mark.parametrize('kind', ['many values', 'the ends', 'edges of buckets'])
def test_the_histogram_equals_that_of_tfma(kind: str) -> None:
    rng = np.random.default_rng(1)
    probability = {
        'many values': rng.random(_COUNT),
        'the ends': rng.integers(0, 2, _COUNT).astype(float),
        'edges of buckets': rng.integers(0, 10_001, _COUNT) / 10_000,
    }[kind].astype(np.float32)
    label = (rng.random(_COUNT) < 0.4).astype(int)
    (computation,) = calibration_histogram.calibration_histogram(output_name=PROBABILITY)
    expected = _by_tfma(computation, _inputs(PROBABILITY, probability, label))[
        plots.histogram_key('', PROBABILITY)
    ]
    histogram = plots.histogram(probability, label)
    assert [bucket.bucket_id for bucket in histogram] == [bucket.bucket_id for bucket in expected]
    for name in ('weighted_labels', 'weighted_predictions', 'weighted_examples'):
        assert [getattr(bucket, name) for bucket in histogram] == pytest.approx(
            [getattr(bucket, name) for bucket in expected], rel=1e-12
        )


def test_the_confusion_matrix_at_the_operating_point_equals_that_of_tfma() -> None:
    rng = np.random.default_rng(2)
    flag, label = (
        (rng.random(_COUNT) < 0.6).astype(np.float32),
        (rng.random(_COUNT) < 0.3).astype(int),
    )
    metric = confusion_matrix_metrics.ConfusionMatrixAtThresholds(thresholds=[0.5])
    computation, *derived = metric.computations(
        model_names=[''], output_names=[FLAG], example_weighted=False
    )
    values = _by_tfma(computation, _inputs(FLAG, flag, label))
    for computation in derived:
        values |= computation.result(values)
    ((key, matrices),) = plots.at_operating_point('', flag, label).items()
    assert (matrices.tp, matrices.tn, matrices.fp, matrices.fn) == tuple(
        getattr(values[key], cell) for cell in ('tp', 'tn', 'fp', 'fn')
    )


@pytest.mark.parametrize('findings', [(), ('Effusion', 'Mass')])
def test_all_outputs_have_a_roc_and_the_probability_a_reliability_plot(
    findings: tuple[str, ...],
) -> None:
    keys = {
        key
        for computation in plots.derived('candidate', findings)
        for key in computation.keys
        if not key.name.startswith('_')
    }
    assert {(key.name, key.output_name) for key in keys} == {
        ('calibration_plot', PROBABILITY),
        *(('confusion_matrix_plot', output) for output in (PROBABILITY, *findings)),
    }
    assert {key.model_name for key in keys} == {'candidate'}
