"""Draws the ROC with the operating point and the reliability of the probabilities, as SVG."""

from __future__ import annotations

import os

import jinja2

from components.evaluator import curves, registry
from components.evaluator.results import CANDIDATE, Slice
from schemas.signatures import PROBABILITY

_SIDE = 300  # of a plot, in SVG units


def draw(overall: Slice, title: str) -> str:
    """Draws the candidate over all test images; the SVG follows the reader's light or dark mode.

    Args:
      overall: the slice of all images.
      title: of the picture.

    Raises:
      ValueError: the evaluation has no curve or no reliability of the probability.
    """
    plotted = overall.curves.get((CANDIDATE, PROBABILITY))
    bins = overall.reliability.get((CANDIDATE, PROBABILITY))
    if plotted is None or not plotted.matrices or not bins:
        raise ValueError(
            f'the evaluation has no confusion matrices and reliability of output {PROBABILITY!r} '
            'over all images'
        )
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(os.path.dirname(__file__)), autoescape=True
    )
    sensitivity, specificity = overall.value('sensitivity'), overall.value('specificity')
    point = None
    if sensitivity is not None and specificity is not None:
        point = ((1 - specificity) * _SIDE, (1 - sensitivity) * _SIDE)
    largest = max(one.images for one in bins)
    return environment.get_template('picture.svg.j2').render(
        title=title,
        side=_SIDE,
        figures={name: overall.figure(name).value_text() for name in registry.HEADLINE},
        images=sum(one.images for one in bins),
        # Empty where a class is missing.
        roc=' '.join(
            f'{x * _SIDE:.1f},{(1 - y) * _SIDE:.1f}' for x, y in curves.roc(plotted.matrices)
        ),
        point=point,
        # The area of a dot is proportional to the number of images in its bin.
        dots=[
            (
                one.mean_probability * _SIDE,
                (1 - one.share) * _SIDE,
                3 + 7 * (one.images / largest) ** 0.5,
                one.images,
            )
            for one in bins
        ],
    )
