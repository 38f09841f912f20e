"""Reliability: predicted probability and observed share of positives in bins."""

from __future__ import annotations

import numpy as np
from tensorflow_model_analysis.metrics import metric_types

from components.evaluator import shares

METRIC = 'reliability'
BINS = 10
# Of the array under `key`.
COLUMNS = ('images', 'mean probability', 'share of positives', 'lower end', 'upper end')


def key(model_name: str, output: str) -> metric_types.MetricKey:
    """The key of the table among TFMA's metrics."""
    return metric_types.MetricKey(
        METRIC, model_name=model_name, output_name=output, example_weighted=False
    )


def bins(
    probability: np.ndarray,
    label: np.ndarray,
    patient: np.ndarray,
    level: float,
    weights: np.ndarray | None = None,
) -> np.ndarray:
    """The COLUMNS of bins of equal width, float64 [BINS, 5]; an empty bin has 0 images, else NaN.

    The interval is Wilson's on the effective number of images, see `shares`: a bin has too few
    patients for a bootstrap.

    Args:
      probability: float [n], 0..1; the last bin includes 1.
      label: 0/1 [n].
      patient: any dtype [n].
      level: of the intervals.
      weights: how many images each one stands for, float [n]; None for 1 each. The column of images
        counts those that are there.
    """
    weights = np.ones(len(label)) if weights is None else weights
    bin_number = np.minimum((probability.astype(np.float64) * BINS).astype(int), BINS - 1)
    table = np.full((BINS, len(COLUMNS)), np.nan)
    table[:, 0] = np.bincount(bin_number, minlength=BINS)
    for number in np.unique(bin_number):
        inside = bin_number == number
        share = shares.mean(label[inside], weights[inside])
        images = shares.effective_number(label[inside], patient[inside], weights[inside])
        mean = shares.mean(probability[inside], weights[inside])
        table[number, 1:] = (mean, share, *shares.wilson(share, images, level))
    return table
