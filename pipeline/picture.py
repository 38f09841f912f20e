"""Draws the ROC with the operating point and the reliability of the probabilities, as SVG."""

from __future__ import annotations

import os

import jinja2

from components.evaluator import curves, registry
from components.evaluator.results import CANDIDATE, Slice
from schemas.signatures import PROBABILITY

_SIDE = 300  # of a plot, in SVG units


def draw(overall: Slice, title: str) -> str:
    """Draws the candidate's results on all test images; the SVG supports light and dark mode.

    Args:
      overall: the slice of all images.
      title: title of the picture.

    Raises:
      ValueError: the evaluation has no ROC or no reliability of the probability.
    """
    plotted = overall.curves.get((CANDIDATE, PROBABILITY))
    bins = overall.reliability.get((CANDIDATE, PROBABILITY))
    if plotted is None or not plotted.matrices or not bins:
        raise ValueError(
            f'the evaluation lacks confusion matrices or reliability of output {PROBABILITY!r} '
            'for all images'
        )
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(os.path.dirname(__file__)), autoescape=True
    )
    sensitivity, specificity = overall.value('sensitivity'), overall.value('specificity')
    point = None
    if sensitivity is not None and specificity is not None:
        point = ((1 - specificity) * _SIDE, (1 - sensitivity) * _SIDE)
    largest = max(item.images for item in bins)
    return environment.get_template('picture.svg.j2').render(
        title=title,
        side=_SIDE,
        figures={name: overall.figure(name).value_text() for name in registry.HEADLINE},
        images=sum(item.images for item in bins),
        # Empty if a class has no images.
        roc=' '.join(
            f'{x * _SIDE:.1f},{(1 - y) * _SIDE:.1f}' for x, y in curves.roc(plotted.matrices)
        ),
        point=point,
        # The area of a dot is proportional to the number of images in its bin.
        dots=[
            (
                item.mean_probability * _SIDE,
                (1 - item.share) * _SIDE,
                3 + 7 * (item.images / largest) ** 0.5,
                item.images,
            )
            for item in bins
        ],
    )
