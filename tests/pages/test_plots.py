"""SVG plots, titles of slices, and the data that TFMA's page elements read."""

from __future__ import annotations

import json
import math
import re
from xml.etree import ElementTree

import pytest

from components.evaluator import registry
from components.evaluator.curves import Curves
from components.evaluator.results import BASELINE, CANDIDATE, DIFFERENCE, Slice
from pages import charts, names, tfma_ui
from pages.measured import Evaluation


def test_plot_marks_each_point_and_escapes_markup_in_names():
    svg = charts.plot(
        'a <b> plot',
        ('x & y', 'share'),
        [
            charts.Line('<script>', [(0, 0), (1, 1)]),
            charts.Dots('dots', [(0.2, 0.3, 0.1, 0.5, 'w"')], 1),
            charts.Mark('point', 0.5, 0.5),
        ],
    )
    root = ElementTree.fromstring(svg)
    assert root.get('aria-label') == 'a <b> plot'
    assert len(root.findall('.//circle')) == 2  # one in the plot, one in the legend
    assert '<script>' not in svg


@pytest.mark.parametrize(
    ('values', 'low', 'high'),
    [([], 0, 1), ([0.5], 0, 1), ([2.0, 4.0], 0, 5), ([float('nan'), 3.0], 0, 4)],
)
def test_axis_covers_all_values(values, low, high):
    start, end = charts.nice_range(values)
    assert all(start <= value <= end for value in values if not math.isnan(value))
    assert low <= start < end <= high


@pytest.mark.parametrize(
    ('key', 'title'),
    [
        ((), 'All test images'),
        ((('sex', 'F'),), 'Sex: female'),
        ((('view_position', 'PA'),), 'View: PA'),
        ((('age_band', '40-59'),), 'Age: 40–59'),
        ((('Pleural_Thickening', '1'),), 'Images with Pleural Thickening'),
        ((('Mass', '0'), ('sex', 'unknown')), 'Mass: 0, Sex: unknown'),
    ],
)
def test_slice_titles(key, title):
    assert names.slice_title(key) == title


def test_tfma_data_has_intervals_baseline_and_difference():
    values = {
        (CANDIDATE, 'auc'): 0.8,
        (CANDIDATE, 'auc_lower'): 0.7,
        (CANDIDATE, 'auc_upper'): 0.9,
        (BASELINE, 'auc'): 0.75,
        (BASELINE, 'auc_lower'): 0.6,
        (BASELINE, 'auc_upper'): 0.85,
        (DIFFERENCE, 'auc'): 0.05,
        (DIFFERENCE, 'auc_lower'): 0.1,
        (DIFFERENCE, 'auc_upper'): 0.05,
        (CANDIDATE, 'sensitivity'): None,
        (CANDIDATE, registry.IMAGES): 30.0,
        (BASELINE, registry.IMAGES): 30.0,
    }
    women = Slice((('sex', 'F'),), {(CANDIDATE, registry.IMAGES): 12.0})
    evaluation = Evaluation('', (Slice((), values), women), (), 0.95)
    overall, women = tfma_ui.slicing_metrics(evaluation)
    assert (overall['slice'], women['slice']) == ('All test images', 'Sex: female')
    cells = overall['metrics']['']['']
    assert cells['AUC'] == {'boundedValue': {'value': 0.8, 'lowerBound': 0.7, 'upperBound': 0.9}}
    assert cells['AUC (difference)'] == {'doubleValue': 0.05}
    assert 'AUC (served)' in cells and 'Sensitivity' not in cells
    assert not [title for title in cells if title.startswith('Images (')]
    assert women['metrics'][''][''] == {'Images': {'doubleValue': 12.0}}


def test_the_file_of_a_plot_is_small():
    curves = Curves(
        tuple((n / 200, 112120.0 - n, 5.0 * n, n * 7.0, n * 1.0) for n in range(200)),
        tuple((n / 200, (n + 1) / 200, 560.5, 100.25, 33.3333333) for n in range(200)),
    )
    text = tfma_ui.plot_file(
        3,
        Slice(
            (), {}, {}, {(CANDIDATE, 'probability'): curves, ('baseline', 'probability'): curves}
        ),
    )
    assert len(text) < 40_000
    number, content = re.fullmatch(r'cxrPlots\((\d+), (.*)\);\n', text).groups()
    assert number == '3'
    assert len(json.loads(content)['candidate|probability']['matrices']) == 200


def test_time_series_excludes_runs_without_the_slice():
    runs = [
        ('one', 'd', {'all': {'AUC': [0.5, None, None]}}),
        ('two', 'd', {}),
        ('three', 'd', {'all': {'AUC': [None, None, None]}}),
    ]
    series = tfma_ui.time_series(runs, 'all')
    assert [run['config']['modelIdentifier'] for run in series] == ['one']
