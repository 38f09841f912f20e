"""Pages name undefined metrics, the groups a metric leaves out, and images not assessed."""

from __future__ import annotations

import dataclasses
from xml.etree import ElementTree

import pytest
from google.protobuf import json_format

from components.evaluator import registry
from components.evaluator.groups import Group, Groups
from components.evaluator.registry import METRICS
from components.evaluator.results import CANDIDATE, Confusion, Slice
from pages import card_build, evaluation_page, forest, group_plots, overview, tfma_ui
from pages.measured import Evaluation
from pipeline import evaluation as evaluation_lib
from pipeline import metrics
from pipeline.evaluation_parameters import EvaluationParameters, Threshold
from schemas.labels import FINDINGS
from trainer.tasks import TASKS

GROUPS = Groups(
    min_positives=20,
    groups=(
        Group(
            name='00-17', positives=6, patients=5, missed=4, lower=0.1, upper=0.7, compared=False
        ),
        Group(
            name='40-59', positives=60, patients=40, missed=6, lower=0.8, upper=0.95, compared=True
        ),
        Group(
            name='unknown', positives=3, patients=3, missed=0, lower=0.4, upper=1.0, compared=False
        ),
    ),
)
GAP = 'sensitivity_gap_age_band'


@pytest.fixture
def evaluation() -> Evaluation:
    """An evaluation with an undefined gap, and with a mean AUC whose second finding has no AUC."""
    values = {
        (CANDIDATE, 'auc'): 0.8,
        (CANDIDATE, 'auc_lower'): 0.7,
        (CANDIDATE, 'auc_upper'): 0.9,
        (CANDIDATE, GAP): None,
        (CANDIDATE, 'macro_auc'): 0.75,
        (CANDIDATE, f'{FINDINGS[0]}_auc'): 0.75,
        (CANDIDATE, 'Hernia_auc'): None,
    }
    return Evaluation('', (Slice((), values, groups={(CANDIDATE, 'age_band'): GROUPS}),), (), 0.9)


def test_evaluation_page_lists_undefined_metrics_and_excluded_groups(
    evaluation: Evaluation,
) -> None:
    rows = {str(title): cells for title, *cells in evaluation_page._metric_rows(evaluation)}
    gap, mean = (
        next(title for title in rows if title.startswith(prefix))
        for prefix in ('Largest gap', 'Mean AUC')
    )
    assert rows['AUC'] == ['0.800 (0.700 – 0.900)', 'higher']
    assert rows[gap] == [
        'not defined: fewer than two groups with 20 positive images',
        'lower',
    ]
    assert (
        'compared, with 20 positives or more: 40-59 (60); left out, with fewer: 00-17 (6); '
        'left out, as unknown: 3 positives' in gap
    )
    assert 'of 1 findings; too few images of a class: Hernia' in mean


def test_forest_plots_mark_small_groups_and_sort_by_value(evaluation: Evaluation) -> None:
    men = Slice((('age_band', '40-59'),), {(CANDIDATE, 'auc'): 0.7, (CANDIDATE, 'auc_lower'): 0.6})
    men.values[CANDIDATE, 'auc_upper'] = 0.8
    measured = Evaluation('', (*evaluation.slices, men), (), 0.9)
    sensitivity, auc, specificity = (
        ElementTree.fromstring(forest['plot']) for forest in group_plots.forests(measured)
    )
    titles = [title.text for title in sensitivity.findall('g/title')]
    assert titles == [
        '00–17: 0.333 (0.100 – 0.700); 6 positives of 5 patients, 4 missed',
        '40–59: 0.900 (0.800 – 0.950); 60 positives of 40 patients, 6 missed',
        'unknown: 1.000 (0.400 – 1.000); 3 positives of 3 patients, 0 missed',
    ]
    marks = [mark.get('class') for mark in sensitivity.findall('g/g')]
    assert marks == ['dot s1', 'dot s0', 'dot s1']
    assert auc.findall('g/title')[0].text.startswith('40–59: 0.700 (0.600 – 0.800)')
    # The overall AUC, 0.8, is in the middle of an axis from 0.6 to 1.
    assert float(auc.find("line[@class='diagonal']").get('x1')) == pytest.approx(
        (forest._LEFT + forest._RIGHT) / 2
    )
    assert not specificity.findall('g/g')
    assert 'not a slice of this run' in ElementTree.tostring(specificity, encoding='unicode')


def test_a_gate_message_names_the_groups_of_a_gap(evaluation: Evaluation) -> None:
    threshold = Threshold(metric=f'{GAP}_upper', max=0.1)
    (verdict,) = metrics.conditions(threshold, evaluation)
    assert verdict.sentence() == (
        'sensitivity_gap_age_band_upper on all has no value, required <= 0.1 '
        '(not defined: fewer than two groups with 20 positive images); compared, with 20 '
        'positives or more: 40-59 (60); left out, with fewer: 00-17 '
        '(6); left out, as unknown: 3 positives'
    )
    (row,) = evaluation_page.conditions(dataclasses.replace(evaluation, thresholds=(threshold,)))
    assert row.covers == GROUPS.gap_text()


ONE_CLASS = Slice(
    (('Mass', '1'),),
    {
        (CANDIDATE, 'auc'): None,
        (CANDIDATE, 'pr_auc'): 1.0,
        (CANDIDATE, 'precision'): 1.0,
        (CANDIDATE, 'sensitivity'): 0.9,
        (CANDIDATE, 'specificity'): None,
        (CANDIDATE, 'calibration_error'): 0.25,
        (CANDIDATE, 'brier_score'): 0.1,
    },
    {CANDIDATE: Confusion(9, 0, 1, 0)},
)


def test_a_slice_of_one_class_has_no_trivial_figures() -> None:
    title, _, *cells = evaluation_page._slice_row(ONE_CLASS)
    assert title == 'Images with Mass<small>all positive</small>'
    assert cells == ['–', '–', '0.900<small>1 of 10 missed</small>', '–', '–', '0.250']
    assert {name for name in METRICS if ONE_CLASS.says_nothing(name)} == {'pr_auc', 'precision'}
    (row,) = tfma_ui.slicing_metrics(Evaluation('', (ONE_CLASS,), (), 0.95))
    assert 'Average precision' not in row['metrics']['']['']


def test_a_summary_has_the_reason_why_there_is_no_value() -> None:
    summary = overview._slices(Evaluation('', (ONE_CLASS,), (), 0.95))
    metrics = summary['Images with Mass']
    assert metrics['AUC'] == [None, None, None, 'no image is negative']
    assert metrics['Sensitivity'] == [0.9, None, None, '']


@pytest.mark.parametrize(
    ('name', 'reason'),
    [
        ('auc', 'no image is negative'),
        ('specificity', 'no image is negative'),
        ('macro_auc', 'not measured'),
        ('Mass_auc', 'all images have the same label for Mass'),
        ('metadata_auc', 'no image is negative'),
        ('sensitivity_lower', 'no interval: too few patients of a class'),
        (GAP, 'fewer than two groups with 20 positive images'),
    ],
)
def test_an_undefined_metric_has_a_reason(name: str, reason: str) -> None:
    undefined = dict.fromkeys((CANDIDATE, key) for key in ('Mass_auc', 'metadata_auc', GAP))
    values = {**ONE_CLASS.values, (CANDIDATE, 'sensitivity_lower'): None, **undefined}
    groups = {(CANDIDATE, 'age_band'): GROUPS}
    measured = dataclasses.replace(ONE_CLASS, values=values, groups=groups)
    assert measured.why_undefined(name) == reason
    assert measured.figure(name).text() == f'not defined: {reason}'


def test_outputs_that_are_no_numbers_are_the_reason() -> None:
    measured = Slice((), dict.fromkeys(ONE_CLASS.values), ONE_CLASS.confusion)
    assert measured.why_undefined('auc') == 'the model gives values that are not numbers'


def test_model_card_names_the_worst_group_of_the_gap(evaluation: Evaluation) -> None:
    gap = card_build._gap(evaluation.overall, GAP)
    assert gap['value'] is None
    assert gap['lowest'] == '00-17: 0.333, 0.100 – 0.700 (4 of 6 positives missed; not in the gap)'
    assert gap['compared'] == '20 positives or more: 40-59 (60)'
    assert gap['left_out'] == 'fewer than 20 positives: 00-17 (6); group unknown: 3 positives'
    assert gap['reason'] == 'fewer than two groups with 20 positive images'
    # Evaluations of earlier versions have no groups.
    assert 'earlier version' in card_build._gap(Slice(()), GAP)['lowest']


@pytest.mark.parametrize('count', [None, 0.0, 3.0])
def test_images_not_assessed_are_counted(evaluation: Evaluation, count: float | None) -> None:
    if count is not None:
        evaluation.overall.values[CANDIDATE, registry.NOT_ASSESSED] = count
    assert evaluation_page.count(evaluation.overall, registry.NOT_ASSESSED) == count
    titles = [row[0] for row in evaluation_page._metric_rows(evaluation)]
    assert registry.title(registry.NOT_ASSESSED) not in titles


def test_thresholds_are_read_back_from_the_eval_config() -> None:
    """The bound that `eval_config` adds to require a value is left out."""
    thresholds = (
        Threshold(metric='auc', max_worse=0.02),
        Threshold(metric='sensitivity', min=0.8),
        Threshold(metric='brier_score', slice={'sex': 'F'}, max=0.2, max_worse=0.01),
    )
    parameters = EvaluationParameters(thresholds=thresholds, interval=0.9)
    config = evaluation_lib.eval_config(parameters, TASKS['nih_triage'])
    text = json_format.MessageToJson(config, preserving_proto_field_name=True)
    assert set(map(str, evaluation_lib.thresholds(text))) == set(map(str, thresholds))
    assert evaluation_lib.interval_level(text) == 0.9
