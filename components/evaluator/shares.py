"""Intervals of shares by formula, for where a bootstrap does not work. NumPy only."""

from __future__ import annotations

import statistics

import numpy as np


def wilson(share: float, number: float, level: float) -> tuple[float, float]:
    """The interval of a share (Wilson, "Probable inference", JASA 22, 1927).

    Args:
      share: 0..1.
      number: of cases, above 0; need not be whole.
      level: e.g. 0.95.
    """
    z = statistics.NormalDist().inv_cdf((1 + level) / 2)
    centre = share + z**2 / (2 * number)
    half = z * (share * (1 - share) / number + z**2 / (4 * number**2)) ** 0.5
    scale = 1 + z**2 / number
    return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)


def mean(values: np.ndarray, weights: np.ndarray) -> float:
    """The weighted mean of numbers or of 0/1, [n]; with weights of 1, exactly the mean."""
    return float((np.asarray(values, np.float64) * weights).sum() / weights.sum())


def effective_number(
    indicator: np.ndarray, patient: np.ndarray, weights: np.ndarray | None = None
) -> float:
    """The number of independent images with the same information about a share.

    It is p (1 - p) / v, at most the number of images, with v the variance of the share between
    patients, as Korn and Graubard define it for surveys ("Confidence intervals for proportions with
    small expected number of positive counts", Survey Methodology 24, 1998). For a share of 0 or 1,
    v is 0 and carries no information: then each patient counts once.

    Args:
      indicator: 0/1 [n], n at least 1; the share is its mean.
      patient: any dtype [n].
      weights: how many images each one stands for, float [n]; None for 1 each.
    """
    _, patient_index = np.unique(patient, return_inverse=True)
    patients, images = int(patient_index.max()) + 1, len(indicator)
    weights = np.ones(images) if weights is None else weights
    share = mean(indicator, weights)
    if patients == 1 or share in (0.0, 1.0):
        return float(patients)
    deviation = np.bincount(patient_index, weights * (np.asarray(indicator, float) - share))
    variance = patients / (patients - 1) * float(deviation @ deviation) / weights.sum() ** 2
    # The deviations of patients may cancel, which makes the variance small.
    return min(share * (1 - share) / variance, float(images)) if variance else float(images)
