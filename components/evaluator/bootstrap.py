"""Figures of a binary classifier with intervals that count patients, not films. NumPy only.

Several films of a patient are alike, so intervals that take each film for a case of its own are too
narrow. Here patients are drawn with replacement, each with all its films (the cluster bootstrap:
Davison and Hinkley, "Bootstrap methods and their application", 1997, section 3.8), and an interval
is that of the percentiles of the replicates. A share of all films, or of none, is the same in every
replicate: its interval is Wilson's, with each patient counted once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from components.evaluator import shares

# Films times replicates held at once: some arrays of 32 MB.
_CHUNK = 4_000_000
# A replicate may lack a class. Where more than this share does, the others say nothing of the
# whole.
_MAX_UNDEFINED = 0.05
CALIBRATION_BINS = 15


@dataclasses.dataclass(frozen=True)
class Cases:
    """What a model said of films.

    Attributes:
      probability: float [n], 0..1.
      flag: 0/1 [n], whether the model flagged the film.
      label: 0/1 [n].
    """

    probability: np.ndarray
    flag: np.ndarray
    label: np.ndarray


@dataclasses.dataclass(frozen=True)
class Figure:
    """A value and the interval around it; None where it is not defined, e.g. an AUC with one
    class.
    """

    value: float | None
    lower: float | None = None
    upper: float | None = None


# How often each film counts, float64 [replicates, n], to one value a replicate, NaN where it is not
# defined.
Statistic = Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False)
class Share:
    """The statistic that is the mean of a value over some films.

    Attributes:
      value: of each film, 0..1, float64 [n].
      counted: 0/1 [n], whether the film is one of them.
      rows: where these n films are among all, as places or a mask; None: they are all.
    """

    value: np.ndarray
    counted: np.ndarray
    rows: np.ndarray | None = None

    def __call__(self, weights: np.ndarray) -> np.ndarray:
        """See `Statistic`."""
        here = weights if self.rows is None else weights[:, self.rows]
        return _ratio(here @ (self.value * self.counted), here @ self.counted)

    def patients(self, patient: np.ndarray) -> int:
        """Of how many patients the films are; any dtype, of all films."""
        here = patient if self.rows is None else patient[self.rows]
        return len(np.unique(here[self.counted > 0]))


def figures(
    statistics: Mapping[str, Statistic],
    patient: np.ndarray,
    replicates: int,
    level: float,
    seed: int = 0,
) -> dict[str, Figure]:
    """Each statistic on all films, with its percentile interval over replicates that draw patients.

    Args:
      statistics: by name; all see the same replicates, so that also differences between them can be
        one.
      patient: any dtype [n], n at least 1; films of one patient have equal values.
      replicates: how many; 0 for values alone.
      level: of the interval, e.g. 0.95.
      seed: the same one gives the same intervals.
    """
    drawn: dict[str, list[np.ndarray]] = {name: [] for name in statistics}
    for weights in _draws(patient, replicates, np.random.default_rng(seed)):
        for name, statistic in statistics.items():
            drawn[name].append(statistic(weights))
    once = np.ones((1, len(patient)))
    found = {
        name: _figure(float(statistic(once)[0]), drawn[name], level)
        for name, statistic in statistics.items()
    }
    return {
        name: _of_all_or_none(statistics[name], figure, patient, level)
        for name, figure in found.items()
    }


def auc(probability: np.ndarray, label: np.ndarray) -> Statistic:
    """Area under the ROC curve: the share of pairs of a positive and a negative in which the
    positive scores higher, ties half.
    """
    by_score = _by_score(probability, label)

    def statistic(weights: np.ndarray) -> np.ndarray:
        positive, negative = by_score(weights)
        above = np.cumsum(positive, axis=1) - positive
        won = (negative * (above + positive / 2)).sum(axis=1)
        return _ratio(won, positive.sum(axis=1) * negative.sum(axis=1))

    return statistic


def average_precision(probability: np.ndarray, label: np.ndarray) -> Statistic:
    """Area under the precision-recall curve as the mean, over positives, of the precision at their
    score.
    """
    by_score = _by_score(probability, label)

    def statistic(weights: np.ndarray) -> np.ndarray:
        positive, negative = by_score(weights)
        flagged = np.cumsum(positive + negative, axis=1)
        precision = np.cumsum(positive, axis=1) / np.maximum(flagged, 1e-12)
        return _ratio((positive * precision).sum(axis=1), positive.sum(axis=1))

    return statistic


def undefined(weights: np.ndarray) -> np.ndarray:
    """The statistic that never has a value."""
    return np.full(len(weights), np.nan)


def mean(statistics: list[Statistic]) -> Statistic:
    """The mean of several, e.g. of the AUCs of findings, over those that are defined: a rare
    finding may be missing from a replicate.
    """

    def statistic(weights: np.ndarray) -> np.ndarray:
        values = np.array([each(weights) for each in statistics])
        defined = ~np.isnan(values)
        return _ratio(np.where(defined, values, 0.0).sum(axis=0), defined.sum(axis=0))

    return statistic


def average(values: np.ndarray) -> Statistic:
    """The mean of a value that each film has, float64 [n], 0..1."""
    return _share(values, np.ones(len(values)))


def among(rows: np.ndarray, statistic: Statistic) -> Statistic:
    """A statistic of some of the films, by their places or a mask [n], where replicates are drawn
    of all.
    """
    if isinstance(statistic, Share) and statistic.rows is None:
        return dataclasses.replace(statistic, rows=rows)
    return lambda weights: statistic(weights[:, rows])


def difference(first: Statistic, second: Statistic) -> Statistic:
    """By how much the first is higher, film by film on the same replicates."""
    return lambda weights: first(weights) - second(weights)


def sensitivity(cases: Cases) -> Statistic:
    """The share of positives that are flagged."""
    return _share(cases.flag, cases.label)


def specificity(cases: Cases) -> Statistic:
    """The share of negatives that are not flagged."""
    return _share(1 - cases.flag, 1 - cases.label)


def brier_score(cases: Cases) -> Statistic:
    """The mean squared difference of probability and label."""
    return average((cases.probability - cases.label) ** 2)


def calibration_ratio(cases: Cases) -> Statistic:
    """The mean probability over the share of positives: 1 is best."""
    return lambda weights: _ratio(
        weights @ cases.probability, weights @ cases.label.astype(np.float64)
    )


def calibration_error(cases: Cases) -> Statistic:
    """Expected calibration error: the distance of mean probability and share of positives, over
    bins of equal width, weighted by films.

    As in Guo et al., "On calibration of modern neural networks", ICML 2017, with 15 bins. Chance
    alone lifts it above 0, in each replicate once more than in the films themselves: its interval
    is a cautious one.
    """
    bins = np.minimum((cases.probability * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    gaps = np.eye(CALIBRATION_BINS)[bins] * (cases.probability - cases.label)[:, None]
    return lambda weights: _ratio(np.abs(weights @ gaps).sum(axis=1), weights.sum(axis=1))


def compared_groups(
    groups: np.ndarray, label: np.ndarray, min_positives: int, unknown: object = None
) -> list:
    """The groups that a gap compares: those with enough positives.

    Args:
      groups: any dtype [n], the group of each film.
      label: 0/1 [n].
      min_positives: groups with fewer positives are left out, as their rates are mostly chance.
      unknown: the value of `groups` that says that the group is not on record.
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
    """The largest difference of sensitivity between groups, which is that of their false-negative
    rates.

    With fewer than two groups to compare, the gap is not defined. See `compared_groups` for the
    arguments.
    """
    kept = compared_groups(groups, cases.label, min_positives, unknown)
    positives = (
        np.stack([(groups == name) * cases.label for name in kept], axis=1)
        if kept
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
    """The share of films that are flagged as their label says."""
    return average((cases.flag == cases.label).astype(np.float64))


def precision(cases: Cases) -> Statistic:
    """The share of flagged films that are positive."""
    return _share(cases.label, cases.flag)


def _by_score(
    probability: np.ndarray, label: np.ndarray
) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Weights [replicates, n] -> those of positives and of negatives at each score, [replicates,
    scores], the highest score first.
    """
    order = np.argsort(-probability, kind='stable')
    positives = label[order].astype(np.float64)
    starts = np.concatenate([[0], np.flatnonzero(np.diff(probability[order])) + 1])

    def weigh(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        ordered = weights[:, order]
        positive = np.add.reduceat(ordered * positives, starts, axis=1)
        return positive, np.add.reduceat(ordered, starts, axis=1) - positive

    return weigh


def _share(value: np.ndarray, counted: np.ndarray) -> Share:
    return Share(np.asarray(value, np.float64), np.asarray(counted, np.float64))


def _draws(patient: np.ndarray, replicates: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """How often each film counts, float64 [some replicates, n]."""
    names, of_film = np.unique(patient, return_inverse=True)
    at_once = max(1, _CHUNK // len(patient))
    for start in range(0, replicates, at_once):
        number = min(at_once, replicates - start)
        drawn = rng.integers(0, len(names), (number, len(names))) + np.arange(number)[
            :, None
        ] * len(names)
        counts = np.bincount(drawn.ravel(), minlength=number * len(names)).reshape(
            number, len(names)
        )
        yield counts[:, of_film].astype(np.float64)


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.divide(above, below, out=np.full(np.shape(above), np.nan), where=below > 0)


def _figure(value: float, drawn: list[np.ndarray], level: float) -> Figure:
    if np.isnan(value):
        return Figure(None)
    replicates = np.concatenate(drawn) if drawn else np.empty(0)
    defined = replicates[~np.isnan(replicates)]
    if not len(defined) or len(defined) < (1 - _MAX_UNDEFINED) * len(replicates):
        return Figure(value)
    lower, upper = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return Figure(value, float(lower), float(upper))


def _of_all_or_none(
    statistic: Statistic, figure: Figure, patient: np.ndarray, level: float
) -> Figure:
    """A figure that all replicates agree on because its films do, with an interval that tells how
    few patients that may be.
    """
    if not isinstance(statistic, Share) or figure.lower is None or figure.value not in (0.0, 1.0):
        return figure
    return Figure(figure.value, *shares.wilson(figure.value, statistic.patients(patient), level))
