"""Fits calibration and operating point as the Trainer does, and judges the fit on other patients.

Cross-fitting: each image gets the answer of a fit on the images of other patients only. So all
images judge, and none judges a fit that it took part in. The fit that is pushed is on all images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from components.evaluator import metadata_model
from components.evaluator.bootstrap import Cases
from trainer import calibration
from trainer.calibration import Calibration, OperatingPoint

FOLDS = 5
# A finding with fewer images of either kind keeps its calibration.
_LEAST_OF_FINDING = 20


@dataclass(frozen=True)
class Fit:
    """A calibration of each output, and the operating point.

    Attributes:
      calibrations: of the task's label, then of its findings.
      point: the operating point of the task's label.
    """

    calibrations: tuple[Calibration, ...]
    point: OperatingPoint


def fit(
    logits: np.ndarray,
    labels: np.ndarray,
    sensitivity: float,
    before: Sequence[Calibration],
    weights: np.ndarray | None = None,
) -> Fit:
    """Fits all outputs.

    Args:
      logits: float64 [n, outputs].
      labels: 0/1 [n, outputs]; the first with both classes.
      sensitivity: at the operating point.
      before: the calibrations of the served version, which rare findings keep.
      weights: how many images each one stands for, float [n]; None for 1 each.
    """
    calibrations = [calibration.fit(logits[:, 0], labels[:, 0], weights)]
    for number in range(1, len(before)):
        rare = np.bincount(labels[:, number], minlength=2).min() < _LEAST_OF_FINDING
        calibrations.append(
            before[number]
            if rare
            else calibration.fit(logits[:, number], labels[:, number], weights)
        )
    probabilities = calibrations[0].apply(logits[:, 0])
    point = calibration.choose_operating_point(probabilities, labels[:, 0], sensitivity, weights)
    return Fit(tuple(calibrations), point)


def cases(logits: np.ndarray, labels: np.ndarray, one: Calibration, threshold: float) -> Cases:
    """The answers about images, with their labels; float64 and 0/1 [n]."""
    probability = one.apply(logits[:, 0])
    return Cases(probability, (probability >= threshold).astype(np.float64), labels[:, 0])


def held_out(
    logits: np.ndarray,
    labels: np.ndarray,
    patient: np.ndarray,
    sensitivity: float,
    weights: np.ndarray | None = None,
) -> Cases:
    """The answers about each image of a fit on the other patients.

    Args:
      logits, labels, weights: as for `fit`.
      patient: str [n], with both classes among any four fifths of the patients.
      sensitivity: at the operating point.

    Raises:
      ValueError: a fit has only one class.
    """
    fold = metadata_model.folds(patient, FOLDS, 0)
    probability, flag = np.empty(len(labels)), np.empty(len(labels))
    for number in range(FOLDS):
        inside = fold == number
        others = None if weights is None else weights[~inside]
        fitted = fit(logits[~inside, :1], labels[~inside, :1], sensitivity, [], others)
        answers = cases(
            logits[inside], labels[inside], fitted.calibrations[0], fitted.point.threshold
        )
        probability[inside], flag[inside] = answers.probability, answers.flag
    return Cases(probability, flag, labels[:, 0])
