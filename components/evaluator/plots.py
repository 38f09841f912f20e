"""The input of TFMA's plots, computed from arrays.

TFMA itself visits the images one by one for each plot and slice. This module counts them once per
slice and leaves it to TFMA's code to derive the plots from the counts.
"""

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
    """Computations that derive TFMA's plots from the histograms under `histogram_key`.

    The plots are ROC and reliability of `probability`, and the ROC of each finding.
    """
    computations = _computations(calibration_plot.CalibrationPlot(), model_name, PROBABILITY)
    for output in (PROBABILITY, *findings):
        computations += _computations(
            confusion_matrix_plot.ConfusionMatrixPlot(), model_name, output
        )
    return [
        computation
        for computation in computations
        if isinstance(computation, metric_types.DerivedMetricComputation)
    ]


def histogram_key(model_name: str, output: str) -> metric_types.MetricKey:
    """The key under which TFMA's plots look up the histogram of an output."""
    (computation,) = calibration_histogram.calibration_histogram(
        model_name=model_name, output_name=output
    )
    return computation.keys[0]


def histogram(
    probability: np.ndarray, label: np.ndarray, weights: np.ndarray | None = None
) -> calibration_histogram.Histogram:
    """Sums images, labels and probabilities in 10,000 buckets of equal width; omits empty ones.

    Args:
      probability: float [n], 0..1.
      label: 0/1 [n].
      weights: how many images each one stands for, float [n]; None for 1 each.
    """
    probability = probability.astype(np.float64)
    weights = np.ones(len(label)) if weights is None else weights
    bucket = np.clip((probability * _BUCKETS + 1).astype(int), 0, _BUCKETS + 1)
    counts, labels, sums = (
        np.bincount(bucket, weights * values, _BUCKETS + 2)
        for values in (1.0, label.astype(np.float64), probability)
    )
    return [
        calibration_histogram.Bucket(
            int(index), float(labels[index]), float(sums[index]), float(counts[index])
        )
        for index in np.flatnonzero(counts)
    ]


def at_operating_point(
    model_name: str, flag: np.ndarray, label: np.ndarray, weights: np.ndarray | None = None
) -> dict[metric_types.MetricKey, object]:
    """The confusion matrix of the model's flag, under its key.

    Args:
      model_name: of the key.
      flag: 0/1 [n].
      label: 0/1 [n].
      weights: how many images each one stands for, float [n]; None for 1 each.
    """
    weights = np.ones(len(label)) if weights is None else weights
    key = metric_types.MetricKey(
        'confusion_matrix_at_thresholds',
        model_name=model_name,
        output_name=FLAG,
        example_weighted=False,
    )
    flagged, positive = flag > 0.5, label > 0.5
    cells = (flagged & positive, ~flagged & ~positive, flagged & ~positive, ~flagged & positive)
    tp, tn, fp, fn = ([float(weights[cell].sum())] for cell in cells)
    return {key: binary_confusion_matrices.Matrices(thresholds=[0.5], tp=tp, tn=tn, fp=fp, fn=fn)}


def _computations(metric: metric_types.Metric, model_name: str, output: str) -> list:
    return metric.computations(
        model_names=[model_name], output_names=[output], example_weighted=False
    )
