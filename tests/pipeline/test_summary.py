"""The verdicts and the tables that a run prints at its end."""

from __future__ import annotations

import pytest
from rich.console import Console

from components.evaluator.results import BASELINE, CANDIDATE, DIFFERENCE, Evaluation, Slice
from pipeline import metrics, steps, summary
from pipeline.evaluation_parameters import Threshold
from pipeline.local_runner import Step

ALL: tuple = ()
WOMEN = (('sex', 'F'),)


def _compared(name: str, candidate: float, served: float) -> dict:
    return {
        (ALL, name, CANDIDATE): candidate,
        (ALL, name, BASELINE): served,
        (ALL, name, DIFFERENCE): candidate - served,
    }


def _evaluation(values: dict[tuple, float]) -> Evaluation:
    """Builds an evaluation from values by slice, metric and model."""
    slices = {ALL: Slice(ALL)}
    for (key, name, model), value in values.items():
        slices.setdefault(key, Slice(key)).values[model, name] = value
    return Evaluation('', tuple(slices.values()))


@pytest.mark.parametrize(
    ('threshold', 'measured', 'expected'),
    [
        pytest.param(
            {'metric': 'auc', 'min': 0.7},
            {(ALL, 'auc', CANDIDATE): 0.8},
            [('>= 0.7', 0.1, True, '')],
            id='above min',
        ),
        pytest.param(
            {'metric': 'auc', 'min': 0.7},
            {(ALL, 'auc', CANDIDATE): 0.65},
            [('>= 0.7', -0.05, False, '')],
            id='below min',
        ),
        pytest.param(
            {'metric': 'brier_score', 'max': 0.2},
            {(ALL, 'brier_score', CANDIDATE): 0.15},
            [('<= 0.2', 0.05, True, '')],
            id='below max',
        ),
        pytest.param(
            {'metric': 'calibration_ratio', 'min': 0.8, 'max': 1.1},
            {(ALL, 'calibration_ratio', CANDIDATE): 1.2},
            [('>= 0.8', 0.4, True, ''), ('<= 1.1', -0.1, False, '')],
            id='two bounds are two conditions',
        ),
        pytest.param(
            {'metric': 'auc', 'min': 0.7, 'slice': {'sex': 'F'}},
            {(ALL, 'auc', CANDIDATE): 0.9},
            [('>= 0.7', None, False, 'no test image in this slice')],
            id='empty slice',
        ),
        pytest.param(
            {'metric': 'auc', 'min': 0.7, 'slice': {'sex': 'F'}},
            {(ALL, 'auc', CANDIDATE): 0.9, (WOMEN, 'auc', CANDIDATE): None},
            [('>= 0.7', None, False, 'not defined: too few test images of a class')],
            id='one class in the slice',
        ),
        pytest.param(
            {'metric': 'auc', 'min': 0.7, 'slice': {'sex': 'F'}},
            {(ALL, 'auc', CANDIDATE): 0.6, (WOMEN, 'auc', CANDIDATE): 0.75},
            [('>= 0.7', 0.05, True, '')],
            id='a slice passes although all images fail',
        ),
        pytest.param(
            {'metric': 'auc', 'max_worse': 0.02},
            _compared('auc', 0.8, 0.83),
            [('>= 0.8100 (served 0.8300 - 0.02)', -0.01, False, '')],
            id='worse than served',
        ),
        pytest.param(
            {'metric': 'brier_score', 'max_worse': 0.02},
            _compared('brier_score', 0.2, 0.19),
            [('<= 0.2100 (served 0.1900 + 0.02)', 0.01, True, '')],
            id='slightly worse, lower is better',
        ),
        pytest.param(
            {'metric': 'auc', 'max_worse': 0.02},
            {(ALL, 'auc', CANDIDATE): 0.8},
            [('at most 0.02 worse than served', None, True, 'no served model to compare with')],
            id='nothing served',
        ),
        pytest.param(
            {'metric': 'sensitivity_gap_sex', 'max_worse': 0.02},
            {(ALL, 'sensitivity_gap_sex', CANDIDATE): None},
            [
                (
                    'at most 0.02 worse than served',
                    None,
                    False,
                    'not defined: fewer than two groups with enough positive images',
                )
            ],
            id='nothing served, not defined',
        ),
        pytest.param(
            {'metric': 'precision', 'max_worse': 0.02},
            {(ALL, 'precision', CANDIDATE): 0.8, (ALL, 'auc', BASELINE): 0.9},
            [('at most 0.02 worse than served', None, False, 'not defined for the served model')],
            id='the served model flags nothing',
        ),
        pytest.param(
            {'metric': 'auc', 'min': 0.7, 'max_worse': 0.02},
            _compared('auc', 0.71, 0.83),
            [('>= 0.7', 0.01, True, ''), ('>= 0.8100 (served 0.8300 - 0.02)', -0.1, False, '')],
            id='min and max_worse',
        ),
    ],
)
def test_every_condition_has_bound_margin_and_value(
    threshold: dict, measured: dict, expected: list[tuple]
) -> None:
    verdicts = metrics.conditions(Threshold(**threshold), _evaluation(measured))
    assert [
        (verdict.bound, verdict.margin, verdict.passed, verdict.note) for verdict in verdicts
    ] == [
        (bound, None if margin is None else pytest.approx(margin), passed, note)
        for bound, margin, passed, note in expected
    ]
    key = tuple(threshold.get('slice', {}).items())
    value = measured.get((key, threshold['metric'], CANDIDATE))
    assert {verdict.value for verdict in verdicts} == {value}


def _printed(table) -> str:
    console = Console(width=120, record=True, quiet=True)
    console.quiet = False
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def test_verdict_table_has_one_condition_per_line() -> None:
    evaluation = _evaluation(
        {**_compared('auc', 0.81234, 0.9), (ALL, 'sensitivity', CANDIDATE): 0.5}
    )
    thresholds = (
        Threshold(metric='auc', min=0.7, max_worse=0.05),
        Threshold(metric='sensitivity', min=0.85),
        Threshold(metric='auc', slice={'sex': 'F'}, min=0.7),
    )
    verdicts = [
        verdict for threshold in thresholds for verdict in metrics.conditions(threshold, evaluation)
    ]
    lines = [
        ' '.join(line.split()) for line in _printed(metrics.verdict_table(verdicts)).splitlines()
    ]
    assert lines[1:] == [
        'auc all 0.8123 >= 0.7 +0.1123 pass',
        'auc all 0.8123 >= 0.8500 (served 0.9000 - 0.05) -0.0377 FAIL',
        'sensitivity all 0.5000 >= 0.85 -0.3500 FAIL',
        'auc sex=F no value >= 0.7 FAIL, no test image in this slice',
    ]
    assert [verdict.sentence() for verdict in verdicts if not verdict.passed] == [
        'auc on all is 0.8123, required >= 0.8500 (served 0.9000 - 0.05) (-0.0377)',
        'sensitivity on all is 0.5000, required >= 0.85 (-0.3500)',
        'auc on sex=F has no value, required >= 0.7 (no test image in this slice)',
    ]


def test_steps_table_has_time_and_state() -> None:
    text = _printed(
        summary.steps_table(
            [Step('CuratedSchema', 'cached', 0.31, {}), Step('AnotherStep', 'ran', 12.0, {})]
        )
    )
    assert [line.split() for line in text.splitlines()[1:]] == [
        ['CuratedSchema', '0.3', 's', 'cached'],
        ['AnotherStep', '12.0', 's', 'ran'],
    ]


def test_every_step_except_the_schema_has_a_result() -> None:
    assert set(summary._RESULTS) == {*steps.NAMES} - {steps.CURATED_SCHEMA.name}
