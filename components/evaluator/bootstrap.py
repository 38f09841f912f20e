"""Metrics of a binary classifier with intervals that count patients, not images. NumPy only.

The images of a patient resemble each other, so intervals that treat each image as an independent
case are too narrow. This module draws patients with replacement, each with all of their images (the
cluster bootstrap: Davison and Hinkley, "Bootstrap methods and their application", 1997, section
3.8), and takes the percentiles of the replicates. A share that is 0 or 1 is the same in every
replicate: its interval is Wilson's, with each patient counted once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from components.evaluator import shares
from components.evaluator.figure import Figure

# Images times replicates in memory at once, in a few arrays of 32 MB each.
_CHUNK = 4_000_000
# A replicate may lack a class. If more than this share of them does, the others do not represent
# the whole.
_MAX_UNDEFINED = 0.05
CALIBRATION_BINS = 15


@dataclasses.dataclass(frozen=True)
class Cases:
    """The model's outputs for images, with their labels.

    Attributes:
      probability: float [n], 0..1.
      flag: 0/1 [n], whether the model flagged the image.
      label: 0/1 [n].
    """

    probability: np.ndarray
    flag: np.ndarray
    label: np.ndarray


# From the weight of each image, float64 [replicates, n], to one value per replicate, NaN where it
# is not defined.
Statistic = Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False)
class Share:
    """The statistic that is the mean of a value over some images.

    Attributes:
      value: of each image, 0..1, float64 [n].
      included: 0/1 [n], whether the mean includes the image.
      rows: where these n images are among all, as positions or a mask; None for all.
    """

    value: np.ndarray
    included: np.ndarray
    rows: np.ndarray | None = None

    def __call__(self, weights: np.ndarray) -> np.ndarray:
        """See `Statistic`."""
        weights = weights if self.rows is None else weights[:, self.rows]
        return _ratio(weights @ (self.value * self.included), weights @ self.included)

    def patients(self, patient: np.ndarray) -> int:
        """The number of patients that the mean includes.

        Args:
          patient: any dtype [all images], the patient of each image.
        """
        patient = patient if self.rows is None else patient[self.rows]
        return len(np.unique(patient[self.included > 0]))


def figures(
    statistics: Mapping[str, Statistic],
    patient: np.ndarray,
    replicates: int,
    level: float,
    seed: int = 0,
    weights: np.ndarray | None = None,
) -> dict[str, Figure]:
    """Evaluates statistics on all images, with percentile intervals over replicates of patients.

    Args:
      statistics: by name; all see the same replicates, so a difference of two can be one too.
      patient: any dtype [n], n at least 1; the images of a patient have equal values.
      replicates: number of draws; 0 computes only the values, without intervals.
      level: of the interval, e.g. 0.95.
      seed: the same seed yields the same intervals.
      weights: how many images each one stands for, float [n]; None for 1 each. A draw of a patient
        draws the images with their weights.
    """
    replicate_values: dict[str, list[np.ndarray]] = {name: [] for name in statistics}
    once = np.ones((1, len(patient))) if weights is None else weights[None].astype(np.float64)
    for counts in _draws(patient, replicates, np.random.default_rng(seed)):
        drawn = np.multiply(counts, once, out=counts)
        for name, statistic in statistics.items():
            replicate_values[name].append(statistic(drawn))
    result = {}
    for name, statistic in statistics.items():
        figure = _figure(float(statistic(once)[0]), replicate_values[name], level)
        result[name] = _with_wilson(statistic, figure, patient, level)
    return result


def auc(probability: np.ndarray, label: np.ndarray) -> Statistic:
    """Area under the ROC curve.

    The share of pairs of a positive and a negative image in which the positive one scores higher;
    ties count half.

    Args:
      probability: float [n].
      label: 0/1 [n].
    """
    by_score = _by_score(probability, label)

    def statistic(weights: np.ndarray) -> np.ndarray:
        positive, negative = by_score(weights)
        above = np.cumsum(positive, axis=1) - positive
        concordant = (negative * (above + positive / 2)).sum(axis=1)
        return _ratio(concordant, positive.sum(axis=1) * negative.sum(axis=1))

    return statistic


def average_precision(probability: np.ndarray, label: np.ndarray) -> Statistic:
    """Area under the precision-recall curve.

    The mean, over positive images, of the precision at their score.

    Args:
      probability: float [n].
      label: 0/1 [n].
    """
    by_score = _by_score(probability, label)

    def statistic(weights: np.ndarray) -> np.ndarray:
        positive, negative = by_score(weights)
        flagged = np.cumsum(positive + negative, axis=1)
        precision = np.cumsum(positive, axis=1) / np.maximum(flagged, 1e-12)
        return _ratio((positive * precision).sum(axis=1), positive.sum(axis=1))

    return statistic


def undefined(weights: np.ndarray) -> np.ndarray:
    """A statistic that is never defined: float64 [replicates, n] -> NaN [replicates]."""
    return np.full(len(weights), np.nan)


def mean(statistics: list[Statistic]) -> Statistic:
    """The mean of several statistics, e.g. of the AUCs of findings, over those that are defined.

    A replicate may lack a rare finding.
    """

    def statistic(weights: np.ndarray) -> np.ndarray:
        values = np.array([statistic(weights) for statistic in statistics])
        defined = ~np.isnan(values)
        return _ratio(np.where(defined, values, 0.0).sum(axis=0), defined.sum(axis=0))

    return statistic


def average(values: np.ndarray) -> Statistic:
    """The mean of a value of all images, float64 [n], 0..1."""
    return _share(values, np.ones(len(values)))


def among(rows: np.ndarray, statistic: Statistic) -> Statistic:
    """A statistic of some of the images, while replicates draw from all.

    Args:
      rows: positions of these images among all, or a mask [n].
      statistic: of these images.
    """
    if isinstance(statistic, Share) and statistic.rows is None:
        return dataclasses.replace(statistic, rows=rows)
    return lambda weights: statistic(weights[:, rows])


def difference(first: Statistic, second: Statistic) -> Statistic:
    """The first statistic minus the second, on the same replicates."""
    return lambda weights: first(weights) - second(weights)


def sensitivity(cases: Cases) -> Statistic:
    """The share of positives that are flagged."""
    return _share(cases.flag, cases.label)


def specificity(cases: Cases) -> Statistic:
    """The share of negatives that are not flagged."""
    return _share(1 - cases.flag, 1 - cases.label)


def brier_score(cases: Cases) -> Statistic:
    """The mean squared difference between probability and label."""
    return average((cases.probability - cases.label) ** 2)


def calibration_ratio(cases: Cases) -> Statistic:
    """The mean probability over the share of positives: 1 is best."""
    return lambda weights: _ratio(
        weights @ cases.probability, weights @ cases.label.astype(np.float64)
    )


def calibration_error(cases: Cases) -> Statistic:
    """Expected calibration error.

    The distance between mean probability and share of positives in bins of equal width, weighted by
    the number of images, as in Guo et al., "On calibration of modern neural networks", ICML 2017,
    with 15 bins. Chance alone raises it above 0, and resampling raises it once more, so its
    interval is conservative.
    """
    bins = np.minimum((cases.probability * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    gaps = np.eye(CALIBRATION_BINS)[bins] * (cases.probability - cases.label)[:, None]
    return lambda weights: _ratio(np.abs(weights @ gaps).sum(axis=1), weights.sum(axis=1))


def compared_groups(
    groups: np.ndarray, label: np.ndarray, min_positives: int, unknown: object = None
) -> list:
    """The groups that a gap compares: those with enough positives.

    Args:
      groups: any dtype [n], the group of each image.
      label: 0/1 [n].
      min_positives: groups with fewer positives are left out, as their rates are mostly chance.
      unknown: the value of `groups` for images whose group is not on record.
    """
    names, positives = np.unique(groups[label > 0], return_counts=True)
    return [
        name
        for name, count in zip(names.tolist(), positives, strict=True)
        if count >= min_positives and name != unknown
    ]


def sensitivity_gap(
    cases: Cases, groups: np.ndarray, min_positives: int, unknown: object = None
) -> Statistic:
    """The largest difference in sensitivity between groups.

    It equals the largest difference in false-negative rates. With fewer than two groups to compare,
    it is not defined.

    Args:
      cases: all images.
      groups: any dtype [n], the group of each image.
      min_positives: see `compared_groups`.
      unknown: see `compared_groups`.
    """
    compared = compared_groups(groups, cases.label, min_positives, unknown)
    positives = (
        np.stack([(groups == name) * cases.label for name in compared], axis=1)
        if compared
        else np.empty((len(groups), 0))
    )
    flagged = positives * cases.flag[:, None]

    def statistic(weights: np.ndarray) -> np.ndarray:
        if positives.shape[1] < 2:
            return undefined(weights)
        rates = _ratio(weights @ flagged, weights @ positives)
        return rates.max(axis=1) - rates.min(axis=1)

    return statistic


def accuracy(cases: Cases) -> Statistic:
    """The share of images whose flag equals their label."""
    return average((cases.flag == cases.label).astype(np.float64))


def precision(cases: Cases) -> Statistic:
    """The share of flagged images that are positive."""
    return _share(cases.label, cases.flag)


def _by_score(
    probability: np.ndarray, label: np.ndarray
) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Sums weights [replicates, n] of positives and of negatives by score.

    Returns:
      A function to two arrays [replicates, scores], the highest score first.
    """
    order = np.argsort(-probability, kind='stable')
    positives = label[order].astype(np.float64)
    starts = np.concatenate([[0], np.flatnonzero(np.diff(probability[order])) + 1])

    def weigh(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        ordered = weights[:, order]
        positive = np.add.reduceat(ordered * positives, starts, axis=1)
        return positive, np.add.reduceat(ordered, starts, axis=1) - positive

    return weigh


def _share(value: np.ndarray, included: np.ndarray) -> Share:
    return Share(np.asarray(value, np.float64), np.asarray(included, np.float64))


def _draws(patient: np.ndarray, replicates: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """The weight of each image in chunks of replicates, float64 [replicates, n]."""
    names, patient_index = np.unique(patient, return_inverse=True)
    at_once = max(1, _CHUNK // len(patient))
    for start in range(0, replicates, at_once):
        number = min(at_once, replicates - start)
        drawn = rng.integers(0, len(names), (number, len(names))) + np.arange(number)[
            :, None
        ] * len(names)
        counts = np.bincount(drawn.ravel(), minlength=number * len(names)).reshape(
            number, len(names)
        )
        yield counts[:, patient_index].astype(np.float64)


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.divide(above, below, out=np.full(np.shape(above), np.nan), where=below > 0)


def _figure(value: float, replicate_values: list[np.ndarray], level: float) -> Figure:
    if np.isnan(value):
        return Figure(None)
    replicates = np.concatenate(replicate_values) if replicate_values else np.empty(0)
    defined = replicates[~np.isnan(replicates)]
    if not len(defined) or len(defined) < (1 - _MAX_UNDEFINED) * len(replicates):
        return Figure(value)
    lower, upper = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return Figure(value, float(lower), float(upper))


def _with_wilson(statistic: Statistic, figure: Figure, patient: np.ndarray, level: float) -> Figure:
    """Replaces the interval of a share of 0 or 1 by Wilson's.

    All replicates agree on such a share, so theirs would not show how few patients there are.
    """
    if not isinstance(statistic, Share) or figure.lower is None or figure.value not in (0.0, 1.0):
        return figure
    return Figure(figure.value, *shares.wilson(figure.value, statistic.patients(patient), level))
