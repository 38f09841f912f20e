"""Intervals of shares from a formula, where replicates cannot give any. NumPy only."""

from __future__ import annotations

import statistics

import numpy as np


def wilson(share: float, number: float, level: float) -> tuple[float, float]:
    """The interval of a share (Wilson, "Probable inference", JASA 22, 1927).

    Args:
      share: 0..1.
      number: of what it is a share, above 0; need not be whole.
      level: e.g. 0.95.
    """
    z = statistics.NormalDist().inv_cdf((1 + level) / 2)
    centre = share + z**2 / (2 * number)
    half = z * (share * (1 - share) / number + z**2 / (4 * number**2)) ** 0.5
    scale = 1 + z**2 / number
    return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)


def effective_number(hit: np.ndarray, patient: np.ndarray) -> float:
    """How many films of as many patients would tell as much of the share of hits as these do.

    p (1 - p) / v, at most the films there are, with v the variance of the share between patients;
    as Korn and Graubard do for surveys ("Confidence intervals for proportions with small expected
    number of positive counts", Survey Methodology 24, 1998). Where all films are hits, or none is,
    v says nothing: then each patient counts once.

    Args:
      hit: 0/1 [n], n at least 1.
      patient: any dtype [n].
    """
    _, of_film = np.unique(patient, return_inverse=True)
    patients, films, share = int(of_film.max()) + 1, len(hit), float(np.mean(hit))
    if patients == 1 or share in (0.0, 1.0):
        return float(patients)
    off = np.bincount(of_film, np.asarray(hit, float) - share)
    variance = patients / (patients - 1) * float(off @ off) / films**2
    # One patient may have as many hits too few as another has too many.
    return min(share * (1 - share) / variance, float(films)) if variance else float(films)
