"""Compares a canary version with the stable one on the same images, and says when it is worse.

Both versions answer about the same images, so a different mixture of patients moves both, and only
the difference of the two is tested. Each test is about the mean of a number between two bounds, one
for each study, in the order in which the canary answered:

* FLAGS: the share of flagged images, canary minus stable. If both versions do what they did on
  their test images, its mean lies between the change of the sensitivity and minus the change of the
  specificity, whatever the share of abnormal images; see `limits`.
* PROBABILITY: the calibrated probability, canary minus stable. Both are calibrated, so its mean is
  near 0.
* DIFFERENCE: the absolute value of that. It tells a canary that errs in both directions, and needs
  to know how much the two differ on the test images.
* LOST: the share of images that the canary did not assess, minus that of the stable version.
* MISSED: of the studies that the stable version flagged and readers called abnormal, those that the
  canary would not have flagged; OVERCALLED: of those that it did not flag and readers called
  normal, those that the canary would have flagged. Whether a study is read may depend on the stable
  flag, which readers see, without an effect on these two shares.

The evidence against "the mean is at most m" is the capital of a gambler who bets against it
(Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting", JRSSB 2024): a
mixture of bets of fixed sizes. If the mean of each value, given all values before it, is at most m,
the capital ever reaches 1/a with a probability of at most a (Ville's inequality). This holds at all
times together, so one may look as often as one likes, and the mixture of patients may change. The
six tests share the rate by Bonferroni's inequality, FLAGS and PROBABILITY in both directions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

FLAGS, PROBABILITY, DIFFERENCE, LOST = 'flags', 'probability', 'difference', 'lost'
MISSED, OVERCALLED = 'missed', 'overcalled'
NAMES = (FLAGS, PROBABILITY, DIFFERENCE, LOST, MISSED, OVERCALLED)
# What all answers tell; the others need readings.
OF_ANSWERS = (FLAGS, PROBABILITY, DIFFERENCE, LOST)
TITLES = {
    FLAGS: 'flagged, change',
    PROBABILITY: 'probability, change',
    DIFFERENCE: 'probability, difference',
    LOST: 'not assessed, change',
    MISSED: 'missed, of read',
    OVERCALLED: 'overcalled, of read',
}
TOO_HIGH = {
    FLAGS: 'the canary flags too many images',
    PROBABILITY: 'the probabilities of the canary are too high',
    DIFFERENCE: 'the probabilities of the canary differ too much from those of the stable version',
    LOST: 'the canary does not assess images that the stable version assesses',
    MISSED: 'the canary misses what readers call abnormal',
    OVERCALLED: 'the canary flags what readers call normal',
}
TOO_LOW = {
    FLAGS: 'the canary flags too few images',
    PROBABILITY: 'the probabilities of the canary are too low',
}
# What the values of a test lie between.
_RANGES = {
    FLAGS: (-1.0, 1.0),
    PROBABILITY: (-1.0, 1.0),
    DIFFERENCE: (0.0, 1.0),
    LOST: (-1.0, 1.0),
    MISSED: (0.0, 1.0),
    OVERCALLED: (0.0, 1.0),
}
_BOUNDS = len(NAMES) + len(TOO_LOW)
# A bet risks at most this share of the capital on one value.
_BETS = np.geomspace(0.01, 0.9, 16)
_LOST_LIMIT = 0.02
# Standard errors by which test results may be off.
_STANDARD_ERRORS = 2.0


@dataclass(frozen=True)
class Figure:
    """A figure of a version on its test images.

    Attributes:
      value: a share, 0..1.
      error: its standard error; 0 if it is not known.
    """

    value: float
    error: float = 0.0


@dataclass(frozen=True)
class Result:
    """The result of a test.

    Attributes:
      name: of NAMES.
      count: the values so far.
      mean: of the values; NaN without any.
      low, high: what the mean may be; None for no limit.
      evidence: the largest capital so far, of both directions.
      needed: the capital that alarms.
      alarm: a sentence; '' without one.
      at: after how many values it alarmed; None without an alarm.
    """

    name: str
    count: int
    mean: float
    low: float | None
    high: float | None
    evidence: float
    needed: float
    alarm: str
    at: int | None

    @property
    def is_within(self) -> bool:
        """Whether the mean so far is one that is allowed; a test without values has none else."""
        is_low = self.low is not None and self.mean < self.low
        return not is_low and not (self.high is not None and self.mean > self.high)


def limits(
    stable: Mapping[str, Figure],
    canary: Mapping[str, Figure],
    margin: float,
    paired: Mapping[str, Mapping[str, float]] | None = None,
) -> dict[str, tuple[float | None, float | None]]:
    """Name of a test -> what its mean may be at least and at most, as the test results predict.

    Of abnormal images, a version flags the share that is its sensitivity, of normal ones 1 minus
    its specificity. Of the images that the stable version flags rightly, the canary misses at most
    all that it misses at all: (1 - its sensitivity) / (sensitivity of the stable version).

    Args:
      stable, canary: 'sensitivity' and 'specificity' of each; what is missing gives no limit.
      margin: a change, as a share, that does no harm. Where the test images are so few that two
        standard errors of their results are more than that, these take its place.
      paired: of `components.evaluator.paired`, if both versions were evaluated on the same images;
        the limits are then closer, since errors that both share do not count.
    """
    found: dict[str, tuple[float | None, float | None]] = {
        PROBABILITY: (-margin, margin),
        LOST: (None, _LOST_LIMIT),
    }
    names = ('sensitivity', 'specificity')
    if paired:
        for test, name in ((FLAGS, 'flags'), (PROBABILITY, 'probability')):
            found[test] = _around([_seen(kind, name) for kind in paired.values()], margin)
        sizes = [_seen(kind, 'difference') for kind in paired.values()]
        found[DIFFERENCE] = (None, _around(sizes, margin)[1])
    elif all(name in version for version in (stable, canary) for name in names):
        changes = []
        for name, sign in zip(names, (1, -1), strict=True):
            error = math.hypot(stable[name].error, canary[name].error)
            changes.append(Figure(sign * (canary[name].value - stable[name].value), error))
        found[FLAGS] = _around(changes, margin)
    for test, name in ((MISSED, 'sensitivity'), (OVERCALLED, 'specificity')):
        if name in stable and name in canary and stable[name].value > 0:
            wrong = Figure((1 - canary[name].value) / stable[name].value, canary[name].error)
            found[test] = (None, _around([wrong], margin)[1])
    return {name: _within(name, *found.get(name, (None, None))) for name in NAMES}


def _seen(figures: Mapping[str, float], name: str) -> Figure:
    return Figure(figures[name], figures[f'{name}_error'])


def _around(figures: Sequence[Figure], margin: float) -> tuple[float, float]:
    """What holds for each mixture of the images that the figures are about."""
    slack = [max(margin, _STANDARD_ERRORS * figure.error) for figure in figures]
    return (
        min(figure.value - more for figure, more in zip(figures, slack, strict=True)),
        max(figure.value + more for figure, more in zip(figures, slack, strict=True)),
    )


def _within(name: str, low: float | None, high: float | None) -> tuple[float | None, float | None]:
    """A limit that no value can pass is none."""
    lowest, highest = _RANGES[name]
    return (
        None if low is None or low <= lowest else low,
        None if high is None or high >= highest else high,
    )


def judge(
    values: Mapping[str, np.ndarray],
    bounds: Mapping[str, tuple[float | None, float | None]],
    alpha: float,
) -> list[Result]:
    """Tests a canary.

    Args:
      values: name of NAMES -> float [n], in the order of arrival; see the module for their ranges.
      bounds: see `limits`.
      alpha: the share of canaries within the bounds that may alarm, ever.

    Raises:
      ValueError: a value is outside of its range.
    """
    results = []
    needed = _BOUNDS / alpha
    for name in NAMES:
        series = np.asarray(values.get(name, ()), np.float64)
        lowest, highest = _RANGES[name]
        if len(series) and not (series.min() >= lowest and series.max() <= highest):
            raise ValueError(f'{name}: expected values from {lowest:g} to {highest:g}')
        low, high = bounds[name]
        evidence, alarm, at = 1.0, '', None
        for bound, sign, texts in ((high, 1, TOO_HIGH), (low, -1, TOO_LOW)):
            if bound is None or not len(series):
                continue
            # The lower bound is an upper bound of the mirrored values.
            begin = lowest if sign > 0 else -highest
            capital = _capital(
                (sign * series - begin) / (highest - lowest),
                (sign * bound - begin) / (highest - lowest),
            )
            evidence = max(evidence, float(capital.max()))
            first = np.flatnonzero(capital >= needed)
            if len(first) and (at is None or first[0] + 1 < at):
                alarm, at = texts[name], int(first[0]) + 1
        mean = float(series.mean()) if len(series) else math.nan
        results.append(Result(name, len(series), mean, low, high, evidence, needed, alarm, at))
    return results


def _capital(values: np.ndarray, bound: float) -> np.ndarray:
    """The capital after each value, float [n], of bets that the mean is above `bound`.

    Args:
      values: 0..1, float [n].
      bound: inside 0..1.
    """
    # With 1 / bound, a value of 0 would take all.
    stakes = _BETS / bound
    logarithms = np.cumsum(np.log1p(stakes[:, None] * (values - bound)), axis=1)
    # More is not needed, and would overflow.
    return np.exp(np.minimum(logarithms, 100.0)).mean(axis=0)
