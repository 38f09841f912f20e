"""Verdicts and tables: what a person reads after a run."""

from __future__ import annotations

import pytest
from rich.console import Console

from pipeline import metrics, summary
from pipeline.evaluation_parameters import Threshold
from pipeline.local_runner import Step

ALL: tuple = ()
WOMEN = (('sex', 'F'),)


@pytest.mark.parametrize(
    ('threshold', 'measured', 'failed', 'passed', 'bound', 'by'),
    [
        pytest.param({'metric': 'auc', 'min': 0.7}, {(ALL, 'auc', ''): 0.8}, set(), True, '>= 0.7', 0.1, id='above'),
        pytest.param({'metric': 'auc', 'min': 0.7}, {(ALL, 'auc', ''): 0.65}, {(ALL, 'auc')}, False, '>= 0.7', -0.05, id='below'),
        pytest.param({'metric': 'brier_score', 'max': 0.2}, {(ALL, 'brier_score', ''): 0.15}, set(), True, '<= 0.2', 0.05, id='under'),
        pytest.param(
            {'metric': 'calibration_ratio', 'min': 0.8, 'max': 1.25},
            {(ALL, 'calibration_ratio', ''): 1.2},
            set(),
            True,
            '>= 0.8, <= 1.25',
            0.05,
            id='the nearer of two bounds',
        ),
        pytest.param(
            {'metric': 'auc', 'min': 0.7, 'slice': {'sex': 'F'}}, {(ALL, 'auc', ''): 0.9}, set(), False, '>= 0.7', None, id='no slice'
        ),
        pytest.param(
            {'metric': 'auc', 'min': 0.7, 'slice': {'sex': 'F'}},
            {(ALL, 'auc', ''): 0.6, (WOMEN, 'auc', ''): 0.75},
            {(ALL, 'auc')},
            True,
            '>= 0.7',
            0.05,
            id='a slice that passes where all do not',
        ),
        pytest.param(
            {'metric': 'auc', 'max_worse': 0.02},
            {(ALL, 'auc', ''): 0.8, (ALL, 'auc', 'diff'): -0.03},
            {(ALL, 'auc')},
            False,
            'at most 0.02 worse than served (-0.0300)',
            -0.01,
            id='worse than served',
        ),
        pytest.param(
            {'metric': 'brier_score', 'max_worse': 0.02},
            {(ALL, 'brier_score', ''): 0.2, (ALL, 'brier_score', 'diff'): 0.01},
            set(),
            True,
            'at most 0.02 worse than served (+0.0100)',
            0.01,
            id='a little worse where less is better',
        ),
        pytest.param(
            {'metric': 'auc', 'max_worse': 0.02},
            {(ALL, 'auc', ''): 0.8},
            set(),
            True,
            'at most 0.02 worse than served (nothing served)',
            None,
            id='nothing served',
        ),
        pytest.param(
            {'metric': 'auc', 'min': 0.7, 'max_worse': 0.02},
            {(ALL, 'auc', ''): 0.71, (ALL, 'auc', 'diff'): 0.5},
            set(),
            True,
            '>= 0.7, at most 0.02 worse than served (+0.5000)',
            0.01,
            id='bound and change',
        ),
    ],
)
def test_verdict(threshold: dict, measured: dict, failed: set, passed: bool, bound: str, by: float | None) -> None:
    verdict = metrics._verdict(Threshold(**threshold), measured, failed)
    assert (verdict.passed, verdict.bound) == (passed, bound)
    assert verdict.by == (None if by is None else pytest.approx(by))


def _shown(table) -> str:
    console = Console(width=120, record=True, quiet=True)
    console.quiet = False
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def test_verdicts_are_shown_with_their_margins() -> None:
    measured = {(ALL, 'auc', ''): 0.81234, (ALL, 'sensitivity', ''): 0.5}
    verdicts = [
        metrics._verdict(Threshold(metric='auc', min=0.7), measured, set()),
        metrics._verdict(Threshold(metric='sensitivity', min=0.85), measured, {(ALL, 'sensitivity')}),
        metrics._verdict(Threshold(metric='auc', slice={'sex': 'F'}, min=0.7), measured, set()),
    ]
    lines = [' '.join(line.split()) for line in _shown(metrics.verdict_table(verdicts)).splitlines()]
    assert lines[1:] == [
        'auc all 0.8123 >= 0.7 pass by 0.1123',
        'sensitivity all 0.5000 >= 0.85 FAIL by 0.3500',
        'auc sex=F no value >= 0.7 FAIL',
    ]


def test_steps_are_shown_with_time_and_state() -> None:
    shown = _shown(summary.steps_table([Step('CuratedSchema', 'cached', 0.31, {}), Step('AnotherStep', 'ran', 12.0, {})]))
    assert [line.split() for line in shown.splitlines()[1:]] == [
        ['CuratedSchema', '0.3', 's', 'cached'],
        ['AnotherStep', '12.0', 's', 'ran'],
    ]
