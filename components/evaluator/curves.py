"""Computes curves from confusion matrices, ROC and precision-recall, and reduces their points."""

from __future__ import annotations

import bisect
import dataclasses
from collections.abc import Iterable, Sequence

# Points of a curve that are kept. TFMA writes 1,000 thresholds and 10,000 buckets for each slice.
POINTS = 200
# (threshold, true positives, false positives, true negatives, false negatives).
Matrix = tuple[float, float, float, float, float]
# (lower end, upper end, images, sum of labels, sum of predictions).
Bucket = tuple[float, float, float, float, float]


@dataclasses.dataclass(frozen=True)
class Curves:
    """The plots of one output of a model.

    Attributes:
      matrices: by rising threshold.
      buckets: of equal width, by rising prediction; empty for an output without them.
    """

    matrices: tuple[Matrix, ...] = ()
    buckets: tuple[Bucket, ...] = ()


def roc(matrices: Iterable[Matrix]) -> list[tuple[float, float]]:
    """(1 - specificity, sensitivity) from (0, 0) to (1, 1); empty where a class is missing.

    >>> roc([(0.5, 8, 2, 8, 2)])
    [(0.0, 0.0), (0.2, 0.8), (1.0, 1.0)]
    """
    points = {
        (fp / (fp + tn), tp / (tp + fn)) for _, tp, fp, tn, fn in matrices if fp + tn and tp + fn
    }
    return sorted(points | {(0.0, 0.0), (1.0, 1.0)}) if points else []


def precision_recall(matrices: Iterable[Matrix]) -> list[tuple[float, float]]:
    """(recall, precision) by rising recall; empty without positives."""
    points = [
        (tp / (tp + fn), tp / (tp + fp), -threshold)
        for threshold, tp, fp, _, fn in matrices
        if tp + fn and tp + fp
    ]
    return [
        (recall, precision)
        for recall, precision, _ in sorted(points, key=lambda point: (point[0], point[2]))
    ]


def thinned(matrices: Sequence[Matrix], most: int = POINTS) -> tuple[Matrix, ...]:
    """The matrices at which counts change; at most `most`, spread evenly by the flagged images.

    Args:
      matrices: by rising threshold.
      most: largest length of the result.
    """
    corners = [
        matrix
        for index, matrix in enumerate(matrices)
        if not index or matrix[1:] != matrices[index - 1][1:]
    ]
    if len(corners) <= most:
        return tuple(corners)
    # The thresholds rise, so the number of flagged images falls; bisection needs it to rise.
    flagged = [-(matrix[1] + matrix[2]) for matrix in corners]
    targets = (flagged[0] + (flagged[-1] - flagged[0]) * step / (most - 1) for step in range(most))
    last = len(corners) - 1
    indices = {0, last, *(min(bisect.bisect_left(flagged, value), last) for value in targets)}
    return tuple(corners[index] for index in sorted(indices))


def merged(buckets: Iterable, count: int = POINTS) -> tuple[Bucket, ...]:
    """Merges TFMA's buckets into `count` of equal width; the last one includes a prediction of 1.

    Args:
      buckets: CalibrationHistogramBuckets.Bucket protos.
      count: of the result.
    """
    sums = [[0.0, 0.0, 0.0] for _ in range(count)]
    for bucket in buckets:
        images = bucket.num_weighted_examples.value
        if images:
            prediction = bucket.total_weighted_refined_prediction.value
            total = sums[min(int(prediction / images * count), count - 1)]
            for index, value in enumerate((images, bucket.total_weighted_label.value, prediction)):
                total[index] += value
    return tuple(
        (index / count, (index + 1) / count, images, labels, predictions)
        for index, (images, labels, predictions) in enumerate(sums)
    )
