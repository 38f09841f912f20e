"""The registry of metrics says what the Evaluator really works out: names, ranges, and where a
metric has no value.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from components.evaluator import patient_metrics, registry
from components.evaluator.bootstrap import Figure
from schemas.features import AGE, AGE_BAND, FOLLOW_UP, PATIENT_ID, SEX, UNKNOWN, VIEW, age_band
from schemas.labels import FINDINGS
from schemas.signatures import FLAG, PROBABILITY
from trainer.tasks import TASKS

_FILMS = 400


def _features(rng: np.random.Generator, known: bool) -> dict[str, np.ndarray]:
    """Metadata of films, all unknown where `known` is false."""
    ages = rng.integers(0, 95, _FILMS) if known else np.full(_FILMS, -1)
    return {
        PATIENT_ID: np.array([f'{number // 2:08d}'.encode() for number in range(_FILMS)]),
        AGE: ages,
        AGE_BAND: np.array([age_band(int(age)).encode() for age in ages]),
        SEX: rng.choice([b'F', b'M'], _FILMS) if known else np.full(_FILMS, UNKNOWN.encode()),
        VIEW: rng.choice([b'PA', b'AP'], _FILMS) if known else np.full(_FILMS, UNKNOWN.encode()),
        FOLLOW_UP: rng.integers(0, 9, _FILMS) if known else np.full(_FILMS, -1),
    }


def _figures(
    task: str, label: np.ndarray | None = None, known: bool = True, **fixed: bytes
) -> dict[str, Figure]:
    rng = np.random.default_rng(3)
    findings = TASKS[task].findings
    features = _features(rng, known) | {
        name: np.full(_FILMS, value) for name, value in fixed.items()
    }
    features[TASKS[task].label] = rng.integers(0, 2, _FILMS) if label is None else label
    features |= {name: rng.integers(0, 2, _FILMS) for name in findings}
    outputs = {name: rng.random(_FILMS) for name in (PROBABILITY, *findings)}
    outputs[FLAG] = (outputs[PROBABILITY] > 0.4).astype(float)
    settings = patient_metrics._Settings(replicates=100, level=0.95, min_positives=1)
    return patient_metrics._figures(outputs, features, TASKS[task].label, findings, settings)


def _undefined(figures: dict[str, Figure]) -> set[str]:
    return {name for name, figure in figures.items() if figure.value is None}


@pytest.mark.parametrize('task', ['nih_triage', 'findings14', 'cardiomegaly'])
def test_the_names_are_those_that_the_evaluator_emits_for_a_task(task: str) -> None:
    figures = _figures(task)
    expected = {
        name for name, metric in registry.METRICS.items() if metric.emitted(TASKS[task].findings)
    }
    assert set(figures) == expected
    assert not _undefined(figures)


def test_values_and_intervals_are_within_the_ranges() -> None:
    for name, figure in _figures('findings14').items():
        metric = registry.METRICS[name]
        for value in (figure.value, figure.lower, figure.upper):
            assert value is not None and metric.low <= value <= metric.high, name


@pytest.mark.parametrize(('label', 'needs'), [(1, 'negatives'), (0, 'positives')])
def test_where_all_films_are_of_one_class(label: int, needs: str) -> None:
    figures = _figures('findings14', np.full(_FILMS, label))
    expected = {name for name in figures if getattr(registry.METRICS[name], needs)}
    assert _undefined(figures) == expected


def test_without_metadata() -> None:
    figures = _figures('nih_triage', known=False)
    assert _undefined(figures) == {name for name in figures if registry.METRICS[name].metadata}


@pytest.mark.parametrize(('group', 'value'), [(SEX, b'F'), (VIEW, b'AP'), (AGE_BAND, b'40-59')])
def test_where_a_group_has_one_value(group: str, value: bytes) -> None:
    figures = _figures('nih_triage', **{group: value})
    assert _undefined(figures) == {
        name for name in figures if registry.METRICS[name].group == group
    }


def test_finding_a_metric_by_its_name_or_that_of_an_end() -> None:
    auc = registry.METRICS['auc']
    assert [registry.find(name) for name in ('auc', 'auc_lower', 'auc_upper')] == [auc] * 3
    assert registry.find('auc_middle') is None
    assert registry.METRICS['calibration_ratio'].high == math.inf
    assert {metric.finding for metric in registry.METRICS.values()} == {None, *FINDINGS}
