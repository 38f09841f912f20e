"""The metadata-only baseline: a logistic regression on age, sex and view, without the image.

Who gets a chest X-ray, at what age, lying or standing, predicts much of what is found on it. An
image model that is no better than this has learned whom hospitals examine.
"""

from __future__ import annotations

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from schemas.features import UNKNOWN_NUMBER

_FOLDS = 5


def columns(
    age: np.ndarray, sex: np.ndarray, view: np.ndarray, follow_up: np.ndarray | None = None
) -> np.ndarray:
    """The design matrix, float64 [n, columns].

    Its columns are age and its square, whether the age is known, one per sex and view, and
    optionally the logarithm of the study number.

    Args:
      age: int [n], years; -1 unknown.
      sex: any dtype [n].
      view: any dtype [n].
      follow_up: int [n], the patient's study number; -1 unknown.
    """
    has_age = age != UNKNOWN_NUMBER
    years = np.where(has_age, age, age[has_age].mean() if has_age.any() else 0.0)
    parts = [years, years**2, has_age]
    for group in (sex, view):
        parts += [group == name for name in np.unique(group)]
    if follow_up is not None:
        parts.append(np.log1p(np.maximum(follow_up, 0)))
    return np.stack(parts, axis=1).astype(np.float64)


def cross_fitted(
    features: np.ndarray,
    label: np.ndarray,
    patient: np.ndarray,
    weights: np.ndarray | None = None,
) -> np.ndarray | None:
    """Predicts each image by a regression on other patients.

    Args:
      features: float64 [n, columns].
      label: 0/1 [n].
      patient: any dtype [n].
      weights: how many images each one stands for, float [n]; None for 1 each.

    Returns:
      Probabilities, float64 [n]; None if a class has too few patients, or if all images have the
      same metadata, so that predictions would only reflect the prevalence of the folds.
    """
    if len(np.unique(patient)) < _FOLDS or (features == features[0]).all():
        return None
    model = make_pipeline(StandardScaler(), LogisticRegression())
    scores = np.empty(len(label))
    fold = folds(patient, _FOLDS, 0)
    for number in range(_FOLDS):
        inside = fold == number
        if len(np.unique(label[~inside])) < 2:
            return None
        model.fit(features[~inside], label[~inside], **_fit(weights, ~inside))
        scores[inside] = model.predict_proba(features[inside])[:, 1]
    return scores


def _fit(weights: np.ndarray | None, rows: np.ndarray) -> dict[str, np.ndarray]:
    # Equal weights are left out: with them, scikit-learn computes by another formula.
    if weights is None or len(np.unique(weights)) == 1:
        return {}
    return {'logisticregression__sample_weight': weights[rows]}


def folds(patient: np.ndarray, number: int, seed: int) -> np.ndarray:
    """The fold of each image, int [n]; all images of a patient are in the same fold.

    This is not scikit-learn's GroupKFold, which sorts patients by their number of images and breaks
    ties depending on NumPy's version and on the CPU.

    Args:
      patient: any dtype [n].
      number: of folds.
      seed: of the assignment.
    """
    names, patient_index = np.unique(patient, return_inverse=True)
    return np.random.default_rng(seed).permutation(np.arange(len(names)) % number)[patient_index]
