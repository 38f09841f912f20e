"""Tests whether two samples of images come from the same population.

One permutation test covers everything that is compared, so one error rate covers it too. Groups of
images (patients, studies) are dealt out anew to the two samples, and all statistics are computed
on each deal:

* for each number, the distance of Kolmogorov and Smirnov;
* for the whole pattern of the images, and for their embeddings, the energy distance of Székely and
  Rizzo, "Energy statistics", 2013.

Each statistic is standardized by its mean and standard deviation over all deals, and compared with
the largest of all on each deal (the single-step max-T method of Westfall and Young, "Resampling-
based multiple testing", 1993). If the groups are exchangeable, the chance that any of the adjusted
p-values is at most alpha is at most alpha, whatever the distributions and correlations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from monitoring import sample
from monitoring.sample import Sample

TITLES = {**sample.VECTORS, **sample.TITLES}
# Samples with fewer groups cannot differ significantly in any way that one should act on.
MIN_GROUPS = 20
_DEALS_AT_ONCE = 500


class SampleError(ValueError):
    """A sample is too small; the text says which and how many are needed."""


@dataclass(frozen=True)
class Difference:
    """How two samples differ in one respect.

    Attributes:
      name: of TITLES.
      reference, window: the means; NaN for what is many numbers.
      distance: of Kolmogorov and Smirnov, 0..1; of what is many numbers, the energy distance.
      p_value: adjusted for all that is compared.
    """

    name: str
    reference: float
    window: float
    distance: float
    p_value: float


@dataclass(frozen=True)
class Comparison:
    """The result of a test.

    Attributes:
      reference, window: numbers of images.
      differences: the least likely by chance first.
    """

    reference: int
    window: int
    differences: tuple[Difference, ...]

    @property
    def p_value(self) -> float:
        """The p-value of the whole: how often chance alone gives any difference as large."""
        return min(difference.p_value for difference in self.differences)


def compare(
    reference: Sample, window: Sample, permutations: int = 999, seed: int = 0
) -> Comparison:
    """Tests a window of traffic against a reference.

    Args:
      reference, window: at least MIN_GROUPS groups each. Only columns that both have are compared.
      permutations: the smallest possible p-value is 1 / (permutations + 1).
      seed: of the permutations.

    Raises:
      SampleError: a sample is too small.
    """
    for name, images in (('reference', reference), ('window', window)):
        if len(np.unique(images.groups)) < MIN_GROUPS:
            raise SampleError(
                f'the {name} has {len(np.unique(images.groups))} studies or patients: expected at '
                f'least {MIN_GROUPS}'
            )
    both = sample.join(reference, window)
    is_window = np.arange(len(both)) >= len(reference)
    statistics_of: dict[str, Callable[[np.ndarray], np.ndarray]] = {}
    for name, column in both.columns.items():
        known = np.isfinite(column)
        if known[is_window].any() and known[~is_window].any():
            statistics_of[name] = _kolmogorov_smirnov(column, known)
    for name, vectors in both.vectors.items():
        known = np.isfinite(vectors).all(axis=1)
        if known[is_window].any() and known[~is_window].any():
            statistics_of[name] = _energy(vectors, known)
    if not statistics_of:
        raise SampleError('nothing is known of the images of both samples')
    names = list(statistics_of)
    parts = [
        [statistic(deals) for statistic in statistics_of.values()]
        for deals in _deals(reference, window, permutations, np.random.default_rng(seed))
    ]
    statistics = np.concatenate(parts, axis=1)
    p_values = _adjusted(statistics)
    differences = [
        Difference(
            name,
            _mean(reference, name),
            _mean(window, name),
            float(statistics[row, 0]),
            float(p_values[row]),
        )
        for row, name in enumerate(names)
    ]
    differences.sort(key=lambda difference: (difference.p_value, -difference.distance))
    return Comparison(len(reference), len(window), tuple(differences))


def _deals(
    reference: Sample, window: Sample, permutations: int, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """0/1 float32 [deals, images]: which are in the window. The very first is as observed.

    A few deals at a time, as all of them may take gigabytes.
    """
    sizes = [len(np.unique(reference.groups)), len(np.unique(window.groups))]
    # A name in both samples is a coincidence: the one has patients, the other studies.
    group = np.concatenate(
        [
            np.unique(reference.groups, return_inverse=True)[1],
            np.unique(window.groups, return_inverse=True)[1] + sizes[0],
        ]
    )
    observed = np.arange(sum(sizes)) >= sizes[0]
    yield observed[None, group].astype(np.float32)
    for start in range(0, permutations, _DEALS_AT_ONCE):
        count = min(_DEALS_AT_ONCE, permutations - start)
        dealt = rng.permuted(np.tile(observed, (count, 1)), axis=1)
        yield dealt[:, group].astype(np.float32)


def _weights(deals: np.ndarray) -> np.ndarray:
    """The weight of each image in window minus reference; both sides sum to 1."""
    others = 1 - deals
    return deals / np.maximum(deals.sum(axis=1, keepdims=True), 1) - others / np.maximum(
        others.sum(axis=1, keepdims=True), 1
    )


def _kolmogorov_smirnov(
    column: np.ndarray, known: np.ndarray
) -> Callable[[np.ndarray], np.ndarray]:
    """Deals -> the largest distance of the cumulative shares on each, float [deals]."""
    rows = np.flatnonzero(known)
    order = rows[np.argsort(column[known], kind='stable')]
    # Where a value differs from the next one.
    ends = np.flatnonzero(np.diff(column[order]) > 0)

    def statistic(deals: np.ndarray) -> np.ndarray:
        distances = np.abs(np.cumsum(_weights(deals[:, order]), axis=1)[:, ends])
        return distances.max(axis=1, initial=0)

    return statistic


def _energy(vectors: np.ndarray, known: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Deals -> the energy distance on each, float [deals]."""
    values = _standardized(vectors[known])
    squares = (values**2).sum(axis=1)
    distances = np.sqrt(np.maximum(squares[:, None] + squares - 2 * values @ values.T, 0))

    def statistic(deals: np.ndarray) -> np.ndarray:
        weights = _weights(deals[:, known])
        return -np.einsum('ij,ij->i', weights @ distances, weights)

    return statistic


def _standardized(values: np.ndarray) -> np.ndarray:
    """By both samples together, so that each deal gives the same values."""
    spread = values.std(axis=0)
    return (values - values.mean(axis=0)) / np.where(spread > 0, spread, 1)


def _adjusted(statistics: np.ndarray) -> np.ndarray:
    """The p-value of the first column of each row, float [rows].

    Args:
      statistics: float [rows, deals]; larger values are less likely by chance.
    """
    spread = statistics.std(axis=1, keepdims=True)
    # Of a number that is the same in all images, all deals are equal.
    is_constant = spread < 1e-9
    scores = (statistics - statistics.mean(axis=1, keepdims=True)) / np.where(
        is_constant, np.inf, spread
    )
    largest = scores.max(axis=0)
    # Rounding must not make the observed deal smaller than itself.
    return np.where(is_constant[:, 0], 1.0, (largest >= scores[:, :1] - 1e-6).mean(axis=1))


def _mean(images: Sample, name: str) -> float:
    values = images.columns.get(name, np.empty(0))
    known = np.isfinite(values)
    return float(values[known].mean()) if known.any() else float('nan')


def alarms(comparison: Comparison, alpha: float) -> Sequence[Difference]:
    """The differences that chance alone gives in at most a share `alpha` of all windows."""
    return [item for item in comparison.differences if item.p_value <= alpha]
