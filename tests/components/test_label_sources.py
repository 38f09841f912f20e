"""Labels from reports compared with labels of experts, on the same predictions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.evaluator import bootstrap, expert_labels, expert_results
from components.evaluator.bootstrap import Cases
from components.evaluator.expert_labels import ExpertComparison
from components.evaluator.expert_results import Agreement, LabelSources
from components.evaluator.figure import Figure
from components.evaluator.predictions import LABEL, probability_of
from schemas.features import PATIENT_ID
from schemas.labels import ABNORMAL
from schemas.signatures import FLAG, PROBABILITY
from tests.support import kept_predictions

_IMAGES = 120


def _compare(
    folder: Path, rows: list[dict[str, Any]], table: str, findings: tuple[str, ...] = ()
) -> LabelSources:
    kept_predictions.write(folder, rows, findings)
    path = folder / 'experts.csv'
    path.write_text(table)
    comparison = ExpertComparison(
        table=str(path),
        image=None,
        columns={},
        label=ABNORMAL,
        findings=findings,
        replicates=200,
        level=0.95,
        digest='',
    )
    written = expert_labels.load(comparison.model_dump_json()).write(str(folder))
    assert expert_results.read(str(folder)) == written
    return written


def _rows() -> tuple[list[dict[str, Any]], np.ndarray]:
    """Predictions that follow the experts; reports err in every sixth image."""
    rng = np.random.default_rng(0)
    expert = np.arange(_IMAGES) // 2 % 2
    report = np.where(np.arange(_IMAGES) % 6 == 0, 1 - expert, expert)
    scores = np.clip(0.3 + 0.4 * expert + rng.normal(0, 0.15, _IMAGES), 0, 1)
    rows = [
        {
            PATIENT_ID: str(number // 2),
            LABEL: int(report[number]),
            'Mass': int(report[number]),
            PROBABILITY: float(scores[number]),
            probability_of('Mass'): float(scores[number]),
            FLAG: int(scores[number] >= 0.5),
        }
        for number in range(_IMAGES)
    ]
    return rows, expert


def _table(expert: np.ndarray, header: str = 'Image Index,Abnormal') -> str:
    lines = [f'{number:05d}.PNG,{int(value)}' for number, value in enumerate(expert)]
    return '\n'.join([header, *lines, 'elsewhere.png,1'])


def test_a_model_that_follows_the_experts_is_better_by_their_labels(tmp_path: Path) -> None:
    rows, expert = _rows()
    sources = _compare(tmp_path, rows, _table(expert))
    assert (sources.images, sources.tested) == (_IMAGES + 1, _IMAGES)
    metrics = {row.metric: row for row in sources.metrics}
    assert set(metrics) >= {'auc', 'sensitivity', 'specificity', 'precision', 'brier_score'}
    auc = metrics['auc']
    cases = Cases(
        np.float32([row[PROBABILITY] for row in rows]).astype(float), np.zeros(_IMAGES), expert
    )
    exact = bootstrap.auc(cases.probability, cases.label)(np.ones((1, _IMAGES)))[0]
    assert auc.expert.value == pytest.approx(exact)
    assert auc.difference.value == pytest.approx(auc.expert.value - auc.report.value)
    assert auc.difference.lower > 0
    (agreement,) = sources.agreement
    assert agreement.images == _IMAGES and agreement.patients == _IMAGES // 2
    assert agreement.report_only + agreement.expert_only == _IMAGES // 6


def test_the_interval_of_a_difference_is_paired(tmp_path: Path) -> None:
    rows, _ = _rows()
    sources = _compare(tmp_path, rows, _table(np.array([row[LABEL] for row in rows])))
    for row in sources.metrics:
        assert row.report.lower < row.report.upper, row.metric
        assert row.difference == Figure(0.0, 0.0, 0.0), row.metric


def test_a_finding_is_compared_if_the_model_predicts_it(tmp_path: Path) -> None:
    rows, expert = _rows()
    table = _table(expert, 'Image Index,Mass')
    (tmp_path / 'task').mkdir()
    with_finding = _compare(tmp_path / 'task', rows, table, ('Mass',))
    assert [row.metric for row in with_finding.metrics] == ['Mass_auc']
    without = [{name: row[name] for name in row if name != 'Mass_probability'} for row in rows]
    (tmp_path / 'plain').mkdir()
    sources = _compare(tmp_path / 'plain', without, table)
    assert sources.metrics == [] and [item.label for item in sources.agreement] == ['Mass']


def test_only_images_of_the_test_split_count(tmp_path: Path) -> None:
    rows, _ = _rows()
    sources = _compare(tmp_path, rows, 'Image ID,Abnormal\nx.png,YES\n00001,HEDGE\n')
    assert (sources.images, sources.tested, sources.metrics) == (2, 1, [])
    (agreement,) = sources.agreement
    assert (agreement.images, agreement.undecided) == (0, 1)


def test_a_metric_without_a_class_is_not_defined(tmp_path: Path) -> None:
    rows, _ = _rows()
    sources = _compare(tmp_path, rows, _table(np.ones(_IMAGES)))
    metrics = {row.metric: row for row in sources.metrics}
    assert metrics['auc'].report.value is not None and metrics['auc'].expert.value is None
    assert metrics['auc'].expert.reason == 'no image is negative'
    assert metrics['auc'].difference.value is None
    assert metrics['sensitivity'].expert.value is not None
    assert 'NaN' not in json.dumps(sources.model_dump(mode='json'))


def test_predictions_that_are_not_numbers_are_not_judged(tmp_path: Path) -> None:
    rows, expert = _rows()
    rows[3][PROBABILITY] = float('nan')
    sources = _compare(tmp_path, rows, _table(expert))
    assert sources.metrics == [] and sources.agreement[0].images == _IMAGES


@pytest.mark.parametrize(
    ('counts', 'kappa'),
    [((20, 5, 10, 15), 0.4), ((10, 0, 0, 10), 1.0), ((0, 0, 0, 10), None), ((0, 0, 0, 0), None)],
)
def test_cohens_kappa(counts: tuple[int, int, int, int], kappa: float | None) -> None:
    both, report_only, expert_only, neither = counts
    agreement = Agreement(
        label=ABNORMAL,
        patients=1,
        both=both,
        report_only=report_only,
        expert_only=expert_only,
        neither=neither,
        undecided=0,
    )
    assert agreement.kappa == (kappa if kappa is None else pytest.approx(kappa))
