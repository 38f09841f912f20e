"""Reliability: mean probability and share of positives per bin, with intervals by patient."""

from __future__ import annotations

import numpy as np
from tensorflow_model_analysis.metrics import metric_types

from components.evaluator import shares

METRIC = 'reliability'
BINS = 10
# Of the array under `key`.
COLUMNS = ('films', 'mean probability', 'share of positives', 'lower end', 'upper end')


def key(model_name: str, output: str) -> metric_types.MetricKey:
    """Where TFMA has it among its metrics."""
    return metric_types.MetricKey(
        METRIC, model_name=model_name, output_name=output, example_weighted=False
    )


def bins(
    probability: np.ndarray, label: np.ndarray, patient: np.ndarray, level: float
) -> np.ndarray:
    """COLUMNS of each of BINS bins of equal width, float64 [BINS, 5]; of a bin without films 0, and
    NaN for the rest.

    The interval is Wilson's on the effective number of films, see `shares`: a bin holds too few
    patients for replicates.

    Args:
      probability: float [n], 0..1; 1 is of the last bin.
      label: 0/1 [n].
      patient: any dtype [n].
      level: of the intervals.
    """
    of_film = np.minimum((probability.astype(np.float64) * BINS).astype(int), BINS - 1)
    found = np.full((BINS, len(COLUMNS)), np.nan)
    found[:, 0] = np.bincount(of_film, minlength=BINS)
    for number in np.unique(of_film):
        here = of_film == number
        share = float(np.mean(label[here]))
        interval = shares.wilson(share, shares.effective_number(label[here], patient[here]), level)
        found[number, 1:] = (float(np.mean(probability[here].astype(np.float64))), share, *interval)
    return found
