"""The gate of a recalibration: is it better than the served version on held-out images?

Both answer about the same images. The differences have paired intervals by patient, as those of the
Evaluator (`components.evaluator.changes`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from components.evaluator import bootstrap
from components.evaluator.bootstrap import Cases, Statistic
from components.evaluator.figure import Figure
from monitoring.recalibration import RecalibrationError

# By how much the upper end of a change of log loss or Brier score may be above 0.
MAX_WORSE_LOSS = 0.02
# By how much the expected calibration error may grow. Chance alone raises it.
MAX_WORSE_ERROR = 0.02
# By how much sensitivity and specificity may fall.
MAX_WORSE_RATE = 0.05
# The least images of each class, and patients with them.
LEAST_IMAGES = 50
LEAST_PATIENTS = 20
_SMALLEST = 1e-7

# OFF_TARGET: the distance of the sensitivity from the one that the operating point is chosen for.
AUC, LOG_LOSS, BRIER, ERROR = 'auc', 'log_loss', 'brier_score', 'calibration_error'
SENSITIVITY, SPECIFICITY, OFF_TARGET = 'sensitivity', 'specificity', 'off_target'
TITLES = {
    AUC: 'AUC',
    LOG_LOSS: 'log loss',
    BRIER: 'Brier score',
    ERROR: 'calibration error',
    SENSITIVITY: 'sensitivity',
    SPECIFICITY: 'specificity',
    OFF_TARGET: 'off target',
}


@dataclass(frozen=True)
class Condition:
    """A condition of the gate.

    Attributes:
      name: of TITLES.
      served, recalibrated: the metric of both.
      change: recalibrated minus served, with its paired interval.
      required: in words.
      passed: whether it holds.
    """

    name: str
    served: Figure
    recalibrated: Figure
    change: Figure
    required: str
    passed: bool

    @property
    def summary(self) -> str:
        """The condition with its figures, in words."""
        return (
            f'{TITLES[self.name]}: {self.recalibrated.text()}, served {self.served.text()}, change '
            f'{self.change.signed_text()}; required: {self.required}'
        )


def check_counts(label: np.ndarray, patient: np.ndarray) -> None:
    """Checks that there are enough images to fit and to judge.

    Args:
      label: 0/1 [n].
      patient: str [n].

    Raises:
      RecalibrationError: a class has too few images or patients.
    """
    for value, name in ((1, 'positive'), (0, 'negative')):
        rows = label == value
        images, patients = int(rows.sum()), len(np.unique(patient[rows]))
        if images < LEAST_IMAGES or patients < LEAST_PATIENTS:
            raise RecalibrationError(
                f'{images} {name} images of {patients} patients can be used: expected at least '
                f'{LEAST_IMAGES} of {LEAST_PATIENTS}. Collect more readings, or give other data '
                'with --data-root or --spans'
            )


def judge(
    served: Cases,
    recalibrated: Cases,
    patient: np.ndarray,
    target: float,
    replicates: int,
    level: float,
    weights: np.ndarray | None = None,
) -> list[Condition]:
    """Judges a recalibration.

    Args:
      served: the answers of the served version.
      recalibrated: the held-out answers about the same images.
      patient: str [n].
      target: the sensitivity that the operating point is chosen for.
      replicates, level, weights: see `bootstrap.figures`.
    """
    before, after = (
        _statistics(cases) | {OFF_TARGET: _distance(bootstrap.sensitivity(cases), target)}
        for cases in (served, recalibrated)
    )
    changes = {name: bootstrap.difference(after[name], before[name]) for name in after}
    was, new, change = (
        bootstrap.figures(statistics, patient, replicates, level, weights=weights)
        for statistics in (before, after, changes)
    )

    def condition(name: str, required: str, passed: bool) -> Condition:
        return Condition(name, was[name], new[name], change[name], required, passed)

    lowest = min(target, _value(was[SENSITIVITY])) - MAX_WORSE_RATE
    reaches = _value(was[SENSITIVITY]) >= target
    least = _value(was[SPECIFICITY]) - MAX_WORSE_RATE
    auc = was[AUC]
    is_better, is_nearer = (_is_clearly_negative(change[name]) for name in (LOG_LOSS, OFF_TARGET))
    return [
        Condition(
            AUC,
            auc,
            auc,
            Figure(0.0),
            'lower end above 0.5',
            auc.lower is not None and auc.lower > 0.5,
        ),
        *(
            condition(
                name,
                f'upper end of the change up to {MAX_WORSE_LOSS:+g}',
                _is_below(change[name], MAX_WORSE_LOSS),
            )
            for name in (LOG_LOSS, BRIER)
        ),
        condition(
            ERROR,
            f'change up to {MAX_WORSE_ERROR:+g}',
            _value(change[ERROR]) <= MAX_WORSE_ERROR,
        ),
        condition(
            SENSITIVITY,
            f'at least {lowest:.3f}',
            _value(new[SENSITIVITY]) >= lowest,
        ),
        condition(
            SPECIFICITY,
            f'at least {least:.3f}' if reaches else 'none: the served version misses the target',
            not reaches or _value(new[SPECIFICITY]) >= least,
        ),
        condition(OFF_TARGET, 'this or log loss clearly lower', is_better or is_nearer),
    ]


def metrics(
    cases: Cases,
    patient: np.ndarray,
    replicates: int,
    level: float,
    weights: np.ndarray | None = None,
) -> dict[str, Figure]:
    """The figures of a version on these images, by the names of the Evaluator's metrics."""
    statistics = _statistics(cases) | {
        'pr_auc': bootstrap.average_precision(cases.probability, cases.label),
        'precision': bootstrap.precision(cases),
        'calibration_ratio': bootstrap.calibration_ratio(cases),
    }
    return bootstrap.figures(statistics, patient, replicates, level, weights=weights)


def _statistics(cases: Cases) -> dict[str, Statistic]:
    probability = np.clip(cases.probability, _SMALLEST, 1 - _SMALLEST)
    loss = -np.where(cases.label == 1, np.log(probability), np.log1p(-probability))
    return {
        AUC: bootstrap.auc(cases.probability, cases.label),
        LOG_LOSS: lambda weights: (weights @ loss) / weights.sum(axis=1),
        BRIER: bootstrap.brier_score(cases),
        ERROR: bootstrap.calibration_error(cases),
        SENSITIVITY: bootstrap.sensitivity(cases),
        SPECIFICITY: bootstrap.specificity(cases),
    }


def _distance(statistic: Statistic, target: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda weights: np.abs(statistic(weights) - target)


def _value(figure: Figure) -> float:
    return float('nan') if figure.value is None else figure.value


def _is_below(change: Figure, limit: float) -> bool:
    """Whether a change is at most `limit`, beyond chance."""
    return change.upper is not None and change.upper <= limit


def _is_clearly_negative(change: Figure) -> bool:
    """Whether a change is below 0, beyond chance."""
    return change.upper is not None and change.upper < 0
