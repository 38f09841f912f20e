"""Draws what the Evaluator measured on all test films: ROC with the operating point, and the
reliability of the probabilities, as SVG.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable

import jinja2

_SIDE = 300  # of a plot, in SVG units
_BINS = 10


@dataclasses.dataclass(frozen=True)
class Curves:
    """What is drawn, all in 0..1.

    Attributes:
      roc: (1 - specificity, sensitivity), from (0, 0) to (1, 1).
      reliability: (mean probability, share of positives, number of films) of each bin that holds
        films.
    """

    roc: list[tuple[float, float]]
    reliability: list[tuple[float, float, int]]


def read_curves(evaluation_uri: str, output: str) -> Curves:
    """Reads the plots of the candidate over all examples.

    Args:
      evaluation_uri: the Evaluator's `evaluation` artifact.
      output: the model output that is a probability.

    Raises:
      ValueError: the evaluation has no such plots.
    """
    import tensorflow_model_analysis as tfma

    roc: list[tuple[float, float]] = []
    reliability: list[tuple[float, float, int]] = []
    for of_slice in tfma.load_plots(evaluation_uri):
        if of_slice.slice_key.single_slice_keys:
            continue
        for plot in of_slice.plot_keys_and_values:
            if plot.key.output_name != output or plot.key.model_name == 'baseline':
                continue
            data = plot.value
            if data.confusion_matrix_at_thresholds.matrices:
                roc = _roc(data.confusion_matrix_at_thresholds.matrices)
            if data.calibration_histogram_buckets.buckets:
                reliability = _reliability(data.calibration_histogram_buckets.buckets)
    if not roc or not reliability:
        raise ValueError(
            f'{evaluation_uri}: no confusion matrix and calibration plots of output {output!r} '
            'over all examples'
        )
    return Curves(roc, reliability)


def draw(curves: Curves, metrics: dict[str, float], title: str) -> str:
    """The picture, an SVG that follows the reader's light or dark mode.

    Args:
      curves: from `read_curves`.
      metrics: `auc`, `sensitivity`, `specificity` over all examples; one that is missing is not
        defined, as without positives.
      title: stands above it.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(os.path.dirname(__file__)), autoescape=True
    )
    names = ('auc', 'sensitivity', 'specificity')
    figures = {name: f'{metrics[name]:.3f}' if name in metrics else 'not defined' for name in names}
    point = None
    if 'sensitivity' in metrics and 'specificity' in metrics:
        point = ((1 - metrics['specificity']) * _SIDE, (1 - metrics['sensitivity']) * _SIDE)
    largest = max(count for _, _, count in curves.reliability)
    return environment.get_template('picture.svg.j2').render(
        title=title,
        side=_SIDE,
        figures=figures,
        films=sum(count for _, _, count in curves.reliability),
        # Without both classes there is no curve, only its two corners.
        roc=' '.join(f'{x * _SIDE:.1f},{(1 - y) * _SIDE:.1f}' for x, y in curves.roc)
        if 'auc' in metrics
        else '',
        point=point,
        # The area of a dot goes with the number of films in its bin.
        dots=[
            (x * _SIDE, (1 - y) * _SIDE, 3 + 7 * (count / largest) ** 0.5, count)
            for x, y, count in curves.reliability
        ],
    )


def _roc(matrices) -> list[tuple[float, float]]:
    points = set()
    for matrix in matrices:
        positives = matrix.true_positives + matrix.false_negatives
        negatives = matrix.true_negatives + matrix.false_positives
        if positives and negatives:
            points.add((matrix.false_positives / negatives, matrix.true_positives / positives))
    return sorted(points | {(0.0, 0.0), (1.0, 1.0)})


def _reliability(buckets) -> list[tuple[float, float, int]]:
    bins = merged(buckets, _BINS)
    return [
        (predictions / films, labels / films, round(films))
        for _, _, films, labels, predictions in bins
        if films
    ]


def merged(buckets: Iterable, count: int) -> tuple[tuple[float, float, float, float, float], ...]:
    """TFMA's fine buckets, put together to `count` of equal width; a probability of 1 is of the
    last one.

    Returns:
      Of each: where it begins and ends, films, labels and probabilities, the last three as sums.
    """
    sums = [[0.0, 0.0, 0.0] for _ in range(count)]
    for bucket in buckets:
        films = bucket.num_weighted_examples.value
        if films:
            prediction = bucket.total_weighted_refined_prediction.value
            sum_ = sums[min(int(prediction / films * count), count - 1)]
            for place, value in enumerate((films, bucket.total_weighted_label.value, prediction)):
                sum_[place] += value
    return tuple(
        (place / count, (place + 1) / count, films, labels, total)
        for place, (films, labels, total) in enumerate(sums)
    )
