"""A significance test that counts patients, who may have several images. NumPy and SciPy only."""

from __future__ import annotations

import numpy as np
from scipy.stats import chi2


def same_share_p_value(group: np.ndarray, positive: np.ndarray, patient: np.ndarray) -> float:
    """p value of the hypothesis that all groups have the same share of positive images.

    The images of a patient resemble each other, so a chi-square test of the images reports
    differences that are chance. This is the score test with the variance between patients (Boos,
    "On generalized score tests", The American Statistician 46, 1992; Rao and Scott, "A simple
    method for the analysis of clustered binary data", Biometrics 48, 1992). A patient may have
    images in several groups, and both positive and negative ones. If each patient has one image, it
    equals a chi-square test of the images.

    Args:
      group: any dtype [n], the group of each image.
      positive: 0/1 [n].
      patient: any dtype [n].

    Returns:
      The p value, 0..1; 1 with fewer than two groups, or if all images have the same label.
    """
    names, group_index = np.unique(group, return_inverse=True)
    if len(names) < 2 or len(np.unique(positive)) < 2:
        return 1.0
    patients, patient_index = np.unique(patient, return_inverse=True)
    excess = np.zeros((len(patients), len(names)))
    np.add.at(excess, (patient_index, group_index), positive - np.mean(positive))
    # A patient also changes the overall share that the groups are compared with: subtract that.
    scores = excess - excess.sum(axis=1, keepdims=True) * (np.bincount(group_index) / len(group))
    total, variance = scores.sum(axis=0), scores.T @ scores
    rank = int(np.linalg.matrix_rank(variance, hermitian=True))
    statistic = total @ np.linalg.pinv(variance, rcond=1e-10, hermitian=True) @ total
    return float(chi2.sf(statistic, rank)) if rank else 1.0
