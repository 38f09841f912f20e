"""Counts the test images by probability and label, for figures at any threshold. NumPy only.

A page cannot hold the probability of each image in each slice, but it can hold how many images lie
between neighbouring thresholds. From these counts follow the exact figures at every threshold.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from components.evaluator.predictions import LABEL
from components.evaluator.results import CANDIDATE, Confusion, Slice, SliceKey
from schemas import image_status
from schemas.features import WEIGHT
from schemas.labels import FINDINGS
from schemas.signatures import PROBABILITY, STATUS

if TYPE_CHECKING:
    import pandas as pd

# Thresholds at equal distances, so that a reader can choose a round one, and thresholds with about
# as many images between them, so that no step changes much, however the probabilities lie.
_STEPS, _QUANTILES, _DIGITS = 100, 400, 4


@dataclasses.dataclass(frozen=True)
class SliceCounts:
    """The images of a slice.

    Attributes:
      key: which slice.
      positives: float [thresholds]; number i counts the positive images with a probability of at
        least threshold i and below threshold i + 1, each by its weight.
      negatives: the same for negative images.
      not_assessed: images that the model could not assess. They count too: their probability is 1,
        so every threshold flags them.
    """

    key: SliceKey
    positives: np.ndarray
    negatives: np.ndarray
    not_assessed: int

    def confusion(self, index: int) -> Confusion:
        """The confusion matrix at a threshold, by its position."""
        parts = [
            part.sum()
            for counts in (self.positives, self.negatives)
            for part in (counts[index:], counts[:index])
        ]
        true, missed, false, passed = map(round, parts)
        return Confusion(true, false, missed, passed)


def thresholds(probability: np.ndarray, operating_point: float) -> np.ndarray:
    """Thresholds to choose from, float32 [n], rising: every 0.01, quantiles, and the model's own.

    Args:
      probability: of the test images, float [images], 0..1.
      operating_point: the model's own threshold.
    """
    steps = np.linspace(0, 1, _STEPS + 1)
    quantiles = np.quantile(probability, np.linspace(0, 1, _QUANTILES + 1)).round(_DIGITS)
    # As the model does, which compares in float32.
    return np.unique(np.concatenate([steps, quantiles, [operating_point]]).astype(np.float32))


def count(kept: pd.DataFrame, slices: tuple[Slice, ...], levels: np.ndarray) -> list[SliceCounts]:
    """Counts the images of each slice whose features the predictions have.

    Args:
      kept: of `predictions.read`.
      slices: of the same evaluation.
      levels: of `thresholds`.
    """
    cell = np.searchsorted(levels, kept[PROBABILITY].to_numpy(np.float32), side='right') - 1
    is_positive = kept[LABEL].to_numpy() == 1
    is_not_assessed = kept[STATUS].to_numpy() != image_status.OK
    # An earlier version kept no weights.
    weights = kept[WEIGHT].to_numpy() if WEIGHT in kept else np.ones(len(kept))
    counted = []
    for measured in slices:
        inside = _inside(kept, measured.key)
        if inside is not None:
            positives, negatives = (
                np.bincount(
                    cell[inside & of_class], weights[inside & of_class], minlength=len(levels)
                )
                for of_class in (is_positive, ~is_positive)
            )
            not_assessed = int((inside & is_not_assessed).sum())
            counted.append(SliceCounts(measured.key, positives, negatives, not_assessed))
    return counted


def differences(
    counted: list[SliceCounts], slices: tuple[Slice, ...], operating_point: int
) -> Iterator[str]:
    """Slices whose counts at the operating point are not those that the Evaluator measured."""
    by_key = {measured.key: measured for measured in slices}
    for counts in counted:
        expected, actual = (
            by_key[counts.key].confusion[CANDIDATE],
            counts.confusion(operating_point),
        )
        if actual != expected:
            name = ', '.join('='.join(pair) for pair in counts.key) or 'all test images'
            yield f'{name}: {actual}, but the evaluation has {expected}'


def _inside(kept: pd.DataFrame, key: SliceKey) -> np.ndarray | None:
    """Which images a slice has, bool [images]; None if the predictions lack one of its features."""
    if any(feature not in kept for feature, _ in key):
        return None
    inside = np.ones(len(kept), bool)
    for feature, value in key:
        expected = int(value) if feature in FINDINGS else value
        inside &= (kept[feature] == expected).to_numpy(bool)
    return inside
