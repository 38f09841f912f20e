"""Curves and intervals that are drawn, and what is left out of a plot with thousands of points."""

from __future__ import annotations

import itertools
import json
import math
import re
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest

from pages import charts, measured, names, tfma_ui
from pages.measured import CANDIDATE, Curves, Evaluation, Figure, Slice
from pipeline import picture

# (threshold, tp, fp, tn, fn) of 10 positives and 10 negatives.
MATRICES = [(0.0, 10, 10, 0, 0), (0.5, 8, 2, 8, 2), (1.0, 0, 0, 10, 10)]


def test_roc_goes_from_corner_to_corner():
    assert charts.roc(MATRICES) == [(0.0, 0.0), (0.2, 0.8), (1.0, 1.0)]
    assert charts.roc([(0.5, 3, 0, 0, 1)]) == []


def test_precision_is_drawn_over_recall():
    assert charts.precision_recall(MATRICES) == [(0.8, 0.8), (1.0, 0.5)]
    assert charts.precision_recall([(0.5, 0, 3, 7, 0)]) == []


def test_thinning_keeps_the_ends_and_every_change_of_a_short_curve():
    steps = [(n / 1000, 1000 - n, 1000 - n, n, n) for n in range(1001)]
    thin = measured.thinned(steps, 50)
    assert len(thin) <= 50
    assert (thin[0], thin[-1]) == (steps[0], steps[-1])
    flagged = [each[1] for each in thin]
    assert max(one - other for one, other in itertools.pairwise(flagged)) <= 2 * 1000 / 49
    still = [(n / 1000, *((5, 5, 0, 0) if n < 400 else (0, 0, 5, 5))) for n in range(1001)]
    assert measured.thinned(still) == (still[0], still[400])


def test_merged_buckets_lose_no_film():
    def bucket(count: float, labels: float, predictions: float) -> SimpleNamespace:
        return SimpleNamespace(
            num_weighted_examples=SimpleNamespace(value=count),
            total_weighted_label=SimpleNamespace(value=labels),
            total_weighted_refined_prediction=SimpleNamespace(value=predictions),
        )

    merged = picture.merged([bucket(0, 0, 0), bucket(3, 1, 0.03), bucket(2, 2, 2.0)], 10)
    assert len(merged) == 10
    assert [each[2] for each in merged if each[2]] == [3, 2]
    assert merged[-1][3:] == (2, 2.0)


def test_plot_is_xml_with_a_mark_for_each_point_and_takes_no_markup_from_names():
    drawn = charts.plot(
        'a <b> plot',
        ('x & y', 'share'),
        [
            charts.Line('<script>', [(0, 0), (1, 1)]),
            charts.Dots('dots', [(0.2, 0.3, 0.1, 0.5, 'w"')], 1),
            charts.Mark('point', 0.5, 0.5),
        ],
    )
    root = ElementTree.fromstring(drawn)
    assert root.get('aria-label') == 'a <b> plot'
    assert len(root.findall('.//circle')) == 2  # one drawn, one in the legend
    assert '<script>' not in drawn


@pytest.mark.parametrize(
    ('values', 'low', 'high'),
    [([], 0, 1), ([0.5], 0, 1), ([2.0, 4.0], 0, 5), ([float('nan'), 3.0], 0, 4)],
)
def test_axis_holds_all_values(values, low, high):
    found = charts.nice_range(values)
    assert all(found[0] <= value <= found[1] for value in values if not math.isnan(value))
    assert low <= found[0] < found[1] <= high


@pytest.mark.parametrize(
    ('key', 'title'),
    [
        ((), 'All test films'),
        ((('sex', 'F'),), 'Sex: female'),
        ((('view_position', 'PA'),), 'View: PA'),
        ((('age_band', '40-59'),), 'Age: 40–59'),
        ((('Pleural_Thickening', '1'),), 'Films with Pleural Thickening'),
        ((('Mass', '0'), ('sex', 'unknown')), 'Mass: 0, Sex: unknown'),
    ],
)
def test_slices_have_names_for_people(key, title):
    assert names.slice_title(key) == title


def test_metrics_have_names_for_people():
    assert names.metric('auc_lower') == 'AUC, lower end'
    assert names.metric('sensitivity_gap_sex') == 'Largest gap in sensitivity by sex'
    assert names.metric('something_new') == 'something_new'


def test_tfma_gets_intervals_baseline_and_difference_under_names():
    figures = {
        (CANDIDATE, 'auc'): Figure(0.8, 0.7, 0.9),
        (measured.BASELINE, 'auc'): Figure(0.75, 0.6, 0.85),
        (measured.DIFFERENCE, 'auc'): Figure(0.05),
        (CANDIDATE, 'sensitivity'): Figure(None),
        (CANDIDATE, 'example_count'): Figure(30.0),
    }
    evaluation = Evaluation(
        '',
        (Slice((), figures), Slice((('sex', 'F'),), {(CANDIDATE, 'example_count'): Figure(12.0)})),
        (),
        0.95,
    )
    overall, women = tfma_ui.slicing_metrics(evaluation)
    assert (overall['slice'], women['slice']) == ('All test films', 'Sex: female')
    cells = overall['metrics']['']['']
    assert cells['AUC'] == {'boundedValue': {'value': 0.8, 'lowerBound': 0.7, 'upperBound': 0.9}}
    assert cells['AUC (difference)'] == {'doubleValue': 0.05}
    assert 'AUC (served)' in cells and 'Sensitivity' not in cells
    assert women['metrics'][''][''] == {'Films': {'doubleValue': 12.0}}


def test_plots_of_thirty_slices_stay_small():
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
    (number, content) = re.fullmatch(r'cxrPlots\((\d+), (.*)\);\n', text).groups()
    assert number == '3'
    assert len(json.loads(content)['candidate|probability']['matrices']) == 200


def test_time_series_leaves_out_runs_without_the_slice():
    runs = [
        ('one', 'd', {'all': {'AUC': [0.5, None, None]}}),
        ('two', 'd', {}),
        ('three', 'd', {'all': {'AUC': [None, None, None]}}),
    ]
    assert [each['config']['modelIdentifier'] for each in tfma_ui.time_series(runs, 'all')] == [
        'one'
    ]
