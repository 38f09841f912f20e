"""The picture of a result: what is read from TFMA's plots, and what is drawn."""

from __future__ import annotations

from types import SimpleNamespace
from xml.etree import ElementTree

import pytest

from pipeline import picture

_SVG = '{http://www.w3.org/2000/svg}'
_METRICS = {'auc': 0.875, 'sensitivity': 0.9, 'specificity': 0.25}


def _matrix(tp: float, fn: float, tn: float, fp: float) -> SimpleNamespace:
    return SimpleNamespace(
        true_positives=tp, false_negatives=fn, true_negatives=tn, false_positives=fp
    )


def _bucket(count: float, labels: float, predictions: float) -> SimpleNamespace:
    def wrapped(value: float) -> SimpleNamespace:
        return SimpleNamespace(value=value)

    return SimpleNamespace(
        num_weighted_examples=wrapped(count),
        total_weighted_label=wrapped(labels),
        total_weighted_refined_prediction=wrapped(predictions),
    )


def test_roc_is_ordered_and_goes_from_corner_to_corner():
    points = picture._roc(
        [_matrix(8, 2, 5, 5), _matrix(4, 6, 9, 1), _matrix(4, 6, 9, 1), _matrix(0, 0, 9, 1)]
    )
    assert points == [(0.0, 0.0), (0.1, 0.4), (0.5, 0.8), (1.0, 1.0)]


def test_buckets_are_put_together():
    bins = picture._reliability(
        [_bucket(0, 0, 0), _bucket(2, 1, 0.5), _bucket(2, 0, 0.42), _bucket(1, 1, 1.0)]
    )
    assert bins == [(pytest.approx(0.23), 0.25, 4), (1.0, 1.0, 1)]


def test_drawing_shows_the_point_and_every_bin():
    curves = picture.Curves([(0.0, 0.0), (0.2, 0.9), (1.0, 1.0)], [(0.1, 0.2, 40), (0.9, 0.8, 60)])
    root = ElementTree.fromstring(picture.draw(curves, _METRICS, 'a <b> & "c"'))
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
    assert 'AUC 0.875' in text and '100 test films' in text and 'Research use only' in text


def test_what_one_class_does_not_define_is_said_and_not_drawn():
    """A test split without positives has neither an AUC nor a sensitivity."""
    curves = picture.Curves([(0.0, 0.0), (1.0, 1.0)], [(0.1, 0.0, 40)])
    root = ElementTree.fromstring(picture.draw(curves, {'specificity': 0.8}, 'one class'))
    assert [circle.get('class') for circle in root.iter(f'{_SVG}circle')] == ['dot']
    assert [line.get('points') for line in root.iter(f'{_SVG}polyline')] == ['']
    text = ' '.join(element.text or '' for element in root.iter(f'{_SVG}text'))
    assert 'AUC not defined' in text and 'sensitivity not defined, specificity 0.800' in text
