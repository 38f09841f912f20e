"""The simulated canaries of the experiment: how they are trained, and what is done to them."""

from __future__ import annotations

import numpy as np
import pytest

from experiments import canary as experiment
from experiments.canary import CASES, PROMOTED, WAITS, WITHDRAWN, Case
from monitoring import canary


@pytest.fixture(scope='module')
def pair() -> experiment.Pair:
    """Two versions that were trained on drawn features."""
    rng = np.random.default_rng(0)
    label = (rng.random(1600) < 0.4).astype(int)
    features = rng.normal(size=(1600, 5)) + label[:, None]
    return experiment.train(features, label, np.arange(1600), 0, 0.95, 0.05, False)


def _case(name: str) -> Case:
    return next(case for case in CASES if case.name == name)


def _outcome(pair: experiment.Pair, case: Case) -> str:
    values = experiment.traffic(pair, case, 1000, 0)
    return experiment.decide(values, pair.limits[case.is_paired], 0.05, 500)[0]


@pytest.mark.parametrize(
    ('name', 'outcomes'),
    [
        ('equal', {PROMOTED}),
        ('equal, from 10 % to 90 % abnormal', {PROMOTED, WAITS}),
        ('logit -1', {WITHDRAWN}),
        ('logit +1', {WITHDRAWN}),
        ('10 % of the images not assessed', {WITHDRAWN}),
    ],
)
def test_outcomes(pair: experiment.Pair, name: str, outcomes: set[str]) -> None:
    assert _outcome(pair, _case(name)) in outcomes


def test_the_traffic_has_the_prevalence_of_its_case(pair: experiment.Pair) -> None:
    values = experiment.traffic(pair, Case('', False, prevalence=(1.0, 1.0), is_read=True), 600, 0)
    assert not len(values[canary.OVERCALLED])
    assert 100 < len(values[canary.MISSED]) < 300


def test_the_summary_counts_outcomes() -> None:
    row = experiment.summary([(WITHDRAWN, 100), (WITHDRAWN, 300), (PROMOTED, 500), (WAITS, 1000)])
    assert (row['withdrawn'], row['withdrawn_after'], row['promoted_after']) == (0.5, 200, 500)
    assert row['waits'] == 0.25
    assert experiment.table({'x': row}).row_count == 1
