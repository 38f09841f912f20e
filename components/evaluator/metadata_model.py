"""How far one gets without the picture: a logistic regression on what the metadata table says of a
film.

Who was sent for a film, lying or standing, at which age, says much about what is found on it. An
image model that is no better than this has learned whom hospitals take films of.
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
    """Metadata as float64 [n, columns]: age and its square, whether it is known, a column for each
    sex and view, maybe the follow-up.

    Args:
      age: int [n], years; -1 unknown.
      sex: any dtype [n].
      view: any dtype [n].
      follow_up: int [n], the how-manieth study of the patient; -1 unknown.
    """
    known = age != UNKNOWN_NUMBER
    years = np.where(known, age, age[known].mean() if known.any() else 0.0)
    parts = [years, years**2, known]
    for group in (sex, view):
        parts += [group == name for name in np.unique(group)]
    if follow_up is not None:
        parts.append(np.log1p(np.maximum(follow_up, 0)))
    return np.stack(parts, axis=1).astype(np.float64)


def cross_fitted(features: np.ndarray, label: np.ndarray, patient: np.ndarray) -> np.ndarray | None:
    """Probabilities float64 [n], each from a regression on other patients.

    None where a class has too few patients, or where all images have the same metadata: the scores
    would then differ only by the prevalence of the folds.

    Args:
      features: float64 [n, columns].
      label: 0/1 [n].
      patient: any dtype [n].
    """
    if len(np.unique(patient)) < _FOLDS or (features == features[0]).all():
        return None
    model = make_pipeline(StandardScaler(), LogisticRegression())
    scores = np.empty(len(label))
    fold = folds(patient, _FOLDS, 0)
    for number in range(_FOLDS):
        here = fold == number
        if len(np.unique(label[~here])) < 2:
            return None
        scores[here] = model.fit(features[~here], label[~here]).predict_proba(features[here])[:, 1]
    return scores


def folds(patient: np.ndarray, number: int, seed: int) -> np.ndarray:
    """The fold of each film, int [n]; films of a patient are in one.

    Not scikit-learn's GroupKFold: it sorts patients by their number of films, and which of two that
    have as many comes first depends on NumPy's version and on the CPU.

    Args:
      patient: any dtype [n].
      number: of folds.
      seed: others give other folds.
    """
    names, of_film = np.unique(patient, return_inverse=True)
    return np.random.default_rng(seed).permutation(np.arange(len(names)) % number)[of_film]
