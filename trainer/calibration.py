"""Probabilities that mean what they say, and the threshold that keeps a set sensitivity. NumPy and
SciPy only.
"""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Sequence

import numpy as np
from scipy import optimize, special

_log = logging.getLogger(__name__)

# Of the line from logit to calibrated logit. A split that the network separates has its optimum at
# an infinite slope, and one that it ranks upside down at a negative one, which would turn the order
# of the films around. The intercept needs no bounds: with both classes present its optimum is
# finite. A bound on the offset would be one on the intercept, and keep a rare label's probabilities
# too high.
_SLOPES = (1e-3, 20.0)


@dataclasses.dataclass(frozen=True)
class Calibration:
    """probability = sigmoid((logit - offset) / temperature)."""

    offset: float
    temperature: float

    def apply(self, logits: np.ndarray) -> np.ndarray:
        """Logits to probabilities, elementwise, float64."""
        return special.expit((np.asarray(logits, np.float64) - self.offset) / self.temperature)


NONE = Calibration(offset=0.0, temperature=1.0)


@dataclasses.dataclass(frozen=True)
class OperatingPoint:
    """A case is flagged when probability >= threshold; what that gives on the split it was chosen
    on.
    """

    threshold: float
    target_sensitivity: float
    sensitivity: float
    specificity: float
    positives: int
    negatives: int


def class_weights(positives: int, records: int) -> dict[int, float]:
    """Weights that make both classes count alike, with mean 1 over the records."""
    return {0: records / (2.0 * (records - positives)), 1: records / (2.0 * positives)}


def fit(logits: np.ndarray, labels: np.ndarray) -> Calibration:
    """Temperature scaling with an intercept, by maximum likelihood.

    The temperature corrects how sure the network is (Guo et al., "On calibration of modern neural
    networks", ICML 2017); the intercept takes off what weighting the loss by class has added to the
    prior (Elkan, "The foundations of cost-sensitive learning", IJCAI 2001), which no temperature
    can. The two together are Platt's scaling (1999).

    Args:
      logits: float [n].
      labels: 0/1 [n], both classes present.

    Raises:
      ValueError: a class is missing or a logit is not finite.
    """
    logits, labels = _checked(logits, labels)

    def loss_and_gradient(line: np.ndarray) -> tuple[float, np.ndarray]:
        scaled = line[0] * logits + line[1]
        residuals = special.expit(scaled) - labels
        loss = np.mean(np.logaddexp(0.0, scaled) - labels * scaled)
        return float(loss), np.array([np.mean(residuals * logits), np.mean(residuals)])

    start, bounds = np.array([1.0, 0.0]), [_SLOPES, (None, None)]
    slope, intercept = optimize.minimize(
        loss_and_gradient, start, jac=True, method='L-BFGS-B', bounds=bounds
    ).x
    return Calibration(offset=float(-intercept / slope), temperature=float(1 / slope))


def fit_each(logits: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> list[Calibration]:
    """`fit` for each of several labels; a rare one, of which the split holds one class only, keeps
    the network's own probabilities.

    Args:
      logits: float [n, labels], maybe more labels than names.
      labels: 0/1, of the same shape.
      names: the first is the one that the task is about, and has to be there in both classes.

    Raises:
      ValueError: see `fit`, for the first.
    """
    calibrations = []
    for place, name in enumerate(names):
        if place and len(np.unique(labels[:, place])) == 1:
            _log.warning(
                '%s is not calibrated: the calibration split holds only label %d',
                name,
                labels[0, place],
            )
            calibrations.append(NONE)
        else:
            calibrations.append(fit(logits[:, place], labels[:, place]))
    return calibrations


def choose_operating_point(
    probabilities: np.ndarray, labels: np.ndarray, sensitivity: float
) -> OperatingPoint:
    """The highest threshold that flags at least `sensitivity` of the positives.

    It stands halfway between the lowest score that has to be flagged and the next score below it,
    so that rounding in another runtime does not turn a case over.

    Raises:
      ValueError: a class is missing or a probability is not finite.
    """
    probabilities, labels = _checked(probabilities, labels)
    positives = np.sort(probabilities[labels == 1])[::-1]
    needed = math.ceil(sensitivity * len(positives) - 1e-9)
    lowest = positives[max(needed, 1) - 1]
    below = probabilities[probabilities < lowest]
    threshold = float((lowest + (below.max() if len(below) else 0.0)) / 2)
    flagged = probabilities >= threshold
    return OperatingPoint(
        threshold=threshold,
        target_sensitivity=sensitivity,
        sensitivity=float(flagged[labels == 1].mean()),
        specificity=float(1 - flagged[labels == 0].mean()),
        positives=int((labels == 1).sum()),
        negatives=int((labels == 0).sum()),
    )


def _checked(scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scores, labels = (
        np.asarray(scores, np.float64).reshape(-1),
        np.asarray(labels).reshape(-1).astype(int),
    )
    if scores.shape != labels.shape:
        raise ValueError(f'{scores.size} scores for {labels.size} labels')
    if not np.isfinite(scores).all():
        raise ValueError(
            f'{int((~np.isfinite(scores)).sum())} of {scores.size} scores of the calibration '
            'split are not finite'
        )
    if set(np.unique(labels)) != {0, 1}:
        raise ValueError(
            f'the calibration split holds only label {np.unique(labels).tolist()}: both classes '
            'are needed'
        )
    return scores, labels
