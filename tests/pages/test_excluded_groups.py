"""Pages name undefined metrics, the groups a metric leaves out, and images not assessed."""

from __future__ import annotations

import pytest
from google.protobuf import json_format

from components.evaluator import registry
from components.evaluator.groups import Group, Groups
from components.evaluator.results import CANDIDATE, Slice
from pages import card_build, evaluation_page
from pages.measured import Evaluation
from pipeline import evaluation as evaluation_lib
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
    assert rows[gap] == ['not defined', 'lower']
    assert 'left out: fewer than 20 positives: 00-17 (6); group unknown: 3 positives' in gap
    assert 'of 1 findings; too few images of a class: Hernia' in mean


def test_evaluation_page_lists_every_group(evaluation: Evaluation) -> None:
    assert list(evaluation_page._group_rows(evaluation.overall)) == [
        ['age', '00-17 (lowest)', '6', '5', '4', '0.333 (0.100 – 0.700)', 'no: fewer than 20'],
        ['age', '40-59', '60', '40', '6', '0.900 (0.800 – 0.950)', 'yes'],
        ['age', 'unknown', '3', '3', '0', '1.000 (0.400 – 1.000)', 'no: unknown'],
    ]


def test_model_card_names_the_worst_group_of_the_gap(evaluation: Evaluation) -> None:
    gap = card_build._gap(evaluation.overall, GAP)
    assert gap['value'] is None
    assert gap['lowest'] == '00-17: 0.333, 0.100 – 0.700 (4 of 6 positives missed; not in the gap)'
    assert gap['left_out'] == 'fewer than 20 positives: 00-17 (6); group unknown: 3 positives'
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
