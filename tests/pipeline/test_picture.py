"""The SVG picture of an evaluation: ROC curve, operating point and reliability."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from components.evaluator.curves import Curves
from components.evaluator.results import CANDIDATE, Bin, Slice
from pipeline import picture
from schemas.signatures import PROBABILITY

_SVG = '{http://www.w3.org/2000/svg}'
_METRICS = {'auc': 0.875, 'sensitivity': 0.9, 'specificity': 0.25}
# Each is a `curves.Matrix` of 10 positives and 10 negatives.
_MATRICES = ((0.0, 10, 10, 0, 0), (0.5, 9, 2, 8, 1), (1.0, 0, 0, 10, 10))
_BINS = (Bin(40, 0.1, 0.2, 0.1, 0.3), Bin(60, 0.9, 0.8, 0.7, 0.9))


def _overall(metrics: dict[str, float], matrices: tuple, bins: tuple[Bin, ...]) -> Slice:
    return Slice(
        (),
        {(CANDIDATE, name): value for name, value in metrics.items()},
        curves={(CANDIDATE, PROBABILITY): Curves(matrices)},
        reliability={(CANDIDATE, PROBABILITY): bins},
    )


def test_the_picture_shows_the_operating_point_and_every_bin():
    overall = _overall(_METRICS, _MATRICES, _BINS)
    root = ElementTree.fromstring(picture.draw(overall, 'a <b> & "c"'))
    assert root.find(f'{_SVG}title').text == 'a <b> & "c"'
    (line,) = root.iter(f'{_SVG}polyline')
    assert line.get('points') == '0.0,300.0 60.0,30.0 300.0,0.0'
    circles = {
        circle.get('class'): (float(circle.get('cx')), float(circle.get('cy')))
        for circle in root.iter(f'{_SVG}circle')
    }
    assert circles['mark'] == (225.0, 30.0)
    assert [circle.get('class') for circle in root.iter(f'{_SVG}circle')] == ['mark', 'dot', 'dot']
    text = ' '.join(element.text or '' for element in root.iter(f'{_SVG}text'))
    assert 'AUC 0.875' in text and '100 test images' in text and 'Research use only' in text


def test_the_picture_of_one_class_has_no_curve():
    """A test split without positives has neither an AUC nor a sensitivity."""
    negatives = ((0.0, 0, 40, 0, 0), (0.5, 0, 8, 32, 0))
    overall = _overall({'specificity': 0.8}, negatives, (Bin(40, 0.1, 0.0, 0.0, 0.1),))
    root = ElementTree.fromstring(picture.draw(overall, 'one class'))
    assert [circle.get('class') for circle in root.iter(f'{_SVG}circle')] == ['dot']
    assert [line.get('points') for line in root.iter(f'{_SVG}polyline')] == ['']
    text = ' '.join(element.text or '' for element in root.iter(f'{_SVG}text'))
    assert 'AUC not defined' in text and 'sensitivity not defined, specificity 0.800' in text


def test_an_evaluation_without_plots_cannot_be_drawn():
    with pytest.raises(ValueError, match='lacks confusion matrices or reliability'):
        picture.draw(Slice(()), 'empty')
