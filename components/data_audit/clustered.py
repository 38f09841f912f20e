"""A test that counts patients where a patient has several films. NumPy and SciPy only."""

from __future__ import annotations

import numpy as np
from scipy.stats import chi2


def same_share_p_value(group: np.ndarray, positive: np.ndarray, patient: np.ndarray) -> float:
    """p value of the hypothesis that all groups have the same share of positive films.

    Films of a patient are alike, so a chi-square test on films takes chance for a difference. This
    is the score test with the variance between patients (Boos, "On generalized score tests", The
    American Statistician 46, 1992; Rao and Scott, "A simple method for the analysis of clustered
    binary data", Biometrics 48, 1992). A patient may have films in several groups, and may have
    both positive and negative films. With one film a patient it is a chi-square test of the films.

    Args:
      group: any dtype [n], the group of each film.
      positive: 0/1 [n].
      patient: any dtype [n].

    Returns:
      The p value; 1 where there is nothing to compare: fewer than two groups, or all films alike.
    """
    names, of_group = np.unique(group, return_inverse=True)
    if len(names) < 2 or len(np.unique(positive)) < 2:
        return 1.0
    patients, of_patient = np.unique(patient, return_inverse=True)
    excess = np.zeros((len(patients), len(names)))
    np.add.at(excess, (of_patient, of_group), positive - np.mean(positive))
    # What a patient adds to the excess of each group, less what it adds to the overall share that
    # the groups are compared with.
    added = excess - excess.sum(axis=1, keepdims=True) * (np.bincount(of_group) / len(group))
    total, variance = added.sum(axis=0), added.T @ added
    rank = int(np.linalg.matrix_rank(variance, hermitian=True))
    statistic = total @ np.linalg.pinv(variance, rcond=1e-10, hermitian=True) @ total
    return float(chi2.sf(statistic, rank)) if rank else 1.0
