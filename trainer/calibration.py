"""Calibrates probabilities and chooses the operating point. NumPy and SciPy only."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Sequence

import numpy as np
from scipy import optimize, special

_log = logging.getLogger(__name__)

# Bounds of the slope from logit to calibrated logit. If the network separates the classes of a
# split, the best slope is infinite; if it ranks them upside down, the best slope is negative and
# would reverse the order of the images. The intercept needs no bounds: with both classes present,
# its optimum is finite. A bound on it would keep the probabilities of a rare label too high.
_SLOPES = (1e-3, 20.0)


@dataclasses.dataclass(frozen=True)
class Calibration:
    """probability = sigmoid((logit - offset) / temperature)."""

    offset: float
    temperature: float

    def apply(self, logits: np.ndarray) -> np.ndarray:
        """Converts logits to probabilities, float64 of the same shape."""
        return special.expit((np.asarray(logits, np.float64) - self.offset) / self.temperature)


NONE = Calibration(offset=0.0, temperature=1.0)


@dataclasses.dataclass(frozen=True)
class OperatingPoint:
    """An image is flagged when probability >= threshold.

    The other attributes describe the split on which the threshold was chosen.
    """

    threshold: float
    target_sensitivity: float
    sensitivity: float
    specificity: float
    positives: int
    negatives: int


def class_weights(positives: int, records: int) -> dict[int, float]:
    """Weights that give both classes the same total weight; their mean over the records is 1."""
    return {0: records / (2.0 * (records - positives)), 1: records / (2.0 * positives)}


def fit(logits: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> Calibration:
    """Temperature scaling with an intercept, by maximum likelihood.

    The temperature corrects the network's confidence (Guo et al., "On calibration of modern neural
    networks", ICML 2017). The intercept undoes the shift of the prior by class weights in the loss
    (Elkan, "The foundations of cost-sensitive learning", IJCAI 2001), which no temperature can.
    Together they are Platt scaling (1999).

    Args:
      logits: float [n].
      labels: 0/1 [n], both classes present.
      weights: how many images each one stands for, float [n]; None for 1 each.

    Raises:
      ValueError: a class is missing or a logit is not finite.
    """
    logits, labels = _validated(logits, labels)
    mean = _mean(weights, len(labels))

    def loss_and_gradient(line: np.ndarray) -> tuple[float, np.ndarray]:
        scaled = line[0] * logits + line[1]
        residuals = special.expit(scaled) - labels
        loss = mean(np.logaddexp(0.0, scaled) - labels * scaled)
        return loss, np.array([mean(residuals * logits), mean(residuals)])

    start, bounds = np.array([1.0, 0.0]), [_SLOPES, (None, None)]
    slope, intercept = optimize.minimize(
        loss_and_gradient, start, jac=True, method='L-BFGS-B', bounds=bounds
    ).x
    return Calibration(offset=float(-intercept / slope), temperature=float(1 / slope))


def fit_each(
    logits: np.ndarray,
    labels: np.ndarray,
    names: Sequence[str],
    weights: np.ndarray | None = None,
) -> list[Calibration]:
    """Calls `fit` for each of several labels.

    A rare label that has only one class in the split keeps the network's probabilities.

    Args:
      logits: float [n, labels], possibly with more labels than names.
      labels: 0/1, of the same shape.
      names: the first is the label of the task. It must have both classes.
      weights: see `fit`.

    Raises:
      ValueError: see `fit`; for the first label.
    """
    calibrations = []
    for index, name in enumerate(names):
        if index and len(np.unique(labels[:, index])) == 1:
            _log.warning(
                '%s is not calibrated: the calibration split has only label %d',
                name,
                labels[0, index],
            )
            calibrations.append(NONE)
        else:
            calibrations.append(fit(logits[:, index], labels[:, index], weights))
    return calibrations


def choose_operating_point(
    probabilities: np.ndarray,
    labels: np.ndarray,
    sensitivity: float,
    weights: np.ndarray | None = None,
) -> OperatingPoint:
    """The highest threshold that flags at least `sensitivity` of the positives.

    It is halfway between the lowest score that must be flagged and the next lower score, so that
    rounding in another runtime does not change a flag.

    Args:
      probabilities: float [n].
      labels: 0/1 [n].
      sensitivity: above 0, at most 1.
      weights: how many images each one stands for, float [n]; None for 1 each.

    Raises:
      ValueError: a class is missing or a probability is not finite.
    """
    probabilities, labels = _validated(probabilities, labels)
    weights = np.ones(len(labels)) if weights is None else weights
    order = np.argsort(-probabilities[labels == 1], kind='stable')
    positives = probabilities[labels == 1][order]
    caught = np.cumsum(weights[labels == 1][order])
    enough = np.searchsorted(caught, sensitivity * caught[-1] - 1e-9)
    lowest = positives[min(enough, len(positives) - 1)]
    below = probabilities[probabilities < lowest]
    threshold = float((lowest + (below.max() if len(below) else 0.0)) / 2)
    flagged = probabilities >= threshold
    return OperatingPoint(
        threshold=threshold,
        target_sensitivity=sensitivity,
        sensitivity=_mean(weights[labels == 1])(flagged[labels == 1]),
        specificity=1 - _mean(weights[labels == 0])(flagged[labels == 0]),
        positives=int((labels == 1).sum()),
        negatives=int((labels == 0).sum()),
    )


def _mean(weights: np.ndarray | None, count: int = 0) -> Callable[[np.ndarray], float]:
    """The weighted mean; with weights of 1, exactly the mean."""
    weights = np.ones(count) if weights is None else weights
    return lambda values: float((values * weights).sum() / weights.sum())


def _validated(scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
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
            f'the calibration split has only label {np.unique(labels).tolist()}: both classes '
            'are needed'
        )
    return scores, labels
