"""Pages show what a figure leaves out, and a figure that is not defined as such."""

from __future__ import annotations

import pytest
from google.protobuf import json_format

from components.evaluator.groups import Group, Groups
from pages import card_build, evaluation_page, measured
from pages.measured import CANDIDATE, Evaluation, Figure, Slice
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
    """A gap that is not defined, and a mean AUC of two findings of which one has no films."""
    figures = {
        (CANDIDATE, 'auc'): Figure(0.8, 0.7, 0.9),
        (CANDIDATE, GAP): Figure(None),
        (CANDIDATE, 'macro_auc'): Figure(0.75),
        (CANDIDATE, f'{FINDINGS[0]}_auc'): Figure(0.75),
        (CANDIDATE, 'Hernia_auc'): Figure(None),
    }
    return Evaluation('', (Slice((), figures, groups={(CANDIDATE, 'age_band'): GROUPS}),), (), 0.9)


def test_the_evaluation_page_lists_undefined_figures_and_what_is_left_out(
    evaluation: Evaluation,
) -> None:
    rows = {str(row[0]): row[1] for row in evaluation_page._figures(evaluation)}
    gap, mean = (
        next(title for title in rows if title.startswith(start))
        for start in ('Largest gap', 'Mean AUC')
    )
    assert rows[gap] == 'not defined'
    assert 'left out: fewer than 20 positives: 00-17 (6); group not known: 3 positives' in gap
    assert 'of 1 findings; too few films of a class: Hernia' in mean


def test_the_evaluation_page_lists_every_group(evaluation: Evaluation) -> None:
    assert list(evaluation_page._group_rows(evaluation)) == [
        ['age', '00-17 (lowest)', '6', '5', '4', '0.333 (0.100 – 0.700)', 'no: fewer than 20'],
        ['age', '40-59', '60', '40', '6', '0.900 (0.800 – 0.950)', 'yes'],
        ['age', 'unknown', '3', '3', '0', '1.000 (0.400 – 1.000)', 'no: not known'],
    ]


def test_the_card_names_the_worst_group_beside_the_gap(evaluation: Evaluation) -> None:
    gap = card_build._gap(evaluation.overall, GAP)
    assert gap['value'] is None
    assert gap['lowest'] == '00-17: 0.333, 0.100 – 0.700 (4 of 6 positives missed; not in the gap)'
    assert gap['left_out'] == 'fewer than 20 positives: 00-17 (6); group not known: 3 positives'
    # An evaluation of an earlier version has no groups.
    assert 'earlier version' in card_build._gap(Slice(()), GAP)['lowest']


def test_thresholds_are_read_as_they_were_set() -> None:
    """The bound that only asks for a value is none of the user's."""
    thresholds = (
        Threshold(metric='auc', max_worse=0.02),
        Threshold(metric='sensitivity', min=0.8),
        Threshold(metric='brier_score', slice={'sex': 'F'}, max=0.2, max_worse=0.01),
    )
    parameters = EvaluationParameters(thresholds=thresholds, interval=0.9)
    config = evaluation_lib.eval_config(parameters, TASKS['nih_triage'])
    text = json_format.MessageToJson(config, preserving_proto_field_name=True)
    assert set(map(str, measured.thresholds(text))) == set(map(str, thresholds))
    assert measured._level(config) == 0.9
