"""TFMA's plots from arrays. TFMA itself goes through the films one by one, once a slice, for each
plot; here they are counted when a slice is complete, and TFMA's own code makes the plots of the
counts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from tensorflow_model_analysis.metrics import (
    binary_confusion_matrices,
    calibration_histogram,
    calibration_plot,
    confusion_matrix_plot,
    metric_types,
)

from schemas.signatures import FLAG, PROBABILITY

_BUCKETS = calibration_histogram.DEFAULT_NUM_BUCKETS


def derived(
    model_name: str, findings: Sequence[str]
) -> list[metric_types.DerivedMetricComputation]:
    """What makes plots of the histograms under `histogram_key`: ROC and reliability of
    `probability`, and the ROC of each finding.
    """
    made = _computations(calibration_plot.CalibrationPlot(), model_name, PROBABILITY)
    for output in (PROBABILITY, *findings):
        made += _computations(confusion_matrix_plot.ConfusionMatrixPlot(), model_name, output)
    return [each for each in made if isinstance(each, metric_types.DerivedMetricComputation)]


def histogram_key(model_name: str, output: str) -> metric_types.MetricKey:
    """Where TFMA's plots look for the histogram of an output."""
    (computation,) = calibration_histogram.calibration_histogram(
        model_name=model_name, output_name=output
    )
    return computation.keys[0]


def histogram(probability: np.ndarray, label: np.ndarray) -> calibration_histogram.Histogram:
    """Films, labels and probabilities summed in 10,000 buckets of equal width, those without films
    left out; float and 0/1 [n].
    """
    probability = probability.astype(np.float64)
    bucket = np.clip((probability * _BUCKETS + 1).astype(int), 0, _BUCKETS + 1)
    counts, labels, sums = (
        np.bincount(bucket, weights, _BUCKETS + 2)
        for weights in (None, label.astype(np.float64), probability)
    )
    return [
        calibration_histogram.Bucket(
            int(place), float(labels[place]), float(sums[place]), float(counts[place])
        )
        for place in np.flatnonzero(counts)
    ]


def at_operating_point(
    model_name: str, flag: np.ndarray, label: np.ndarray
) -> dict[metric_types.MetricKey, object]:
    """The confusion matrix of the model's own flag; 0/1 [n] both."""
    key = metric_types.MetricKey(
        'confusion_matrix_at_thresholds',
        model_name=model_name,
        output_name=FLAG,
        example_weighted=False,
    )
    flagged, positive = flag > 0.5, label > 0.5
    cells = (flagged & positive, ~flagged & ~positive, flagged & ~positive, ~flagged & positive)
    tp, tn, fp, fn = ([float(cell.sum())] for cell in cells)
    return {key: binary_confusion_matrices.Matrices(thresholds=[0.5], tp=tp, tn=tn, fp=fp, fn=fn)}


def _computations(metric: metric_types.Metric, model_name: str, output: str) -> list:
    return metric.computations(
        model_names=[model_name], output_names=[output], example_weighted=False
    )
