"""The registry of metrics agrees with the Evaluator: names, ranges, and undefined metrics."""

from __future__ import annotations

import math

import numpy as np
import pytest

from components.evaluator import patient_metrics, registry
from components.evaluator.figure import Figure
from schemas.features import (
    AGE,
    AGE_BAND,
    FOLLOW_UP,
    PATIENT_ID,
    SEX,
    UNKNOWN,
    VIEW,
    WEIGHT,
    age_band,
)
from schemas.labels import FINDINGS
from schemas.signatures import FLAG, PROBABILITY
from trainer.tasks import TASKS

_IMAGES = 400


def _features(rng: np.random.Generator, metadata: bool) -> dict[str, np.ndarray]:
    """Metadata of images, all unknown if `metadata` is false."""
    ages = rng.integers(0, 95, _IMAGES) if metadata else np.full(_IMAGES, -1)
    return {
        PATIENT_ID: np.array([f'{number // 2:08d}'.encode() for number in range(_IMAGES)]),
        AGE: ages,
        AGE_BAND: np.array([age_band(int(age)).encode() for age in ages]),
        SEX: rng.choice([b'F', b'M'], _IMAGES) if metadata else np.full(_IMAGES, UNKNOWN.encode()),
        VIEW: rng.choice([b'PA', b'AP'], _IMAGES)
        if metadata
        else np.full(_IMAGES, UNKNOWN.encode()),
        WEIGHT: np.ones(_IMAGES),
        FOLLOW_UP: rng.integers(0, 9, _IMAGES) if metadata else np.full(_IMAGES, -1),
    }


def _figures(
    task: str, label: np.ndarray | None = None, metadata: bool = True, **fixed: bytes
) -> dict[str, Figure]:
    rng = np.random.default_rng(3)
    findings = TASKS[task].findings
    features = _features(rng, metadata) | {
        name: np.full(_IMAGES, value) for name, value in fixed.items()
    }
    features[TASKS[task].label] = rng.integers(0, 2, _IMAGES) if label is None else label
    features |= {name: rng.integers(0, 2, _IMAGES) for name in findings}
    outputs = {name: rng.random(_IMAGES) for name in (PROBABILITY, *findings)}
    outputs[FLAG] = (outputs[PROBABILITY] > 0.4).astype(float)
    settings = patient_metrics._Settings(replicates=100, level=0.95, min_positives=1)
    return patient_metrics._figures(outputs, features, TASKS[task].label, findings, settings)


def _undefined(figures: dict[str, Figure]) -> set[str]:
    return {name for name, figure in figures.items() if figure.value is None}


@pytest.mark.parametrize('task', ['nih_triage', 'findings14', 'cardiomegaly'])
def test_the_evaluator_computes_the_metrics_of_the_task(task: str) -> None:
    figures = _figures(task)
    expected = {
        name for name, metric in registry.METRICS.items() if metric.exists_for(TASKS[task].findings)
    }
    assert set(figures) == expected
    assert not _undefined(figures)


def test_values_and_intervals_are_in_range() -> None:
    for name, figure in _figures('findings14').items():
        metric = registry.METRICS[name]
        for value in (figure.value, figure.lower, figure.upper):
            assert value is not None and metric.low <= value <= metric.high, name


@pytest.mark.parametrize(('label', 'needs'), [(1, 'needs_negatives'), (0, 'needs_positives')])
def test_metrics_that_need_the_other_class_are_undefined(label: int, needs: str) -> None:
    figures = _figures('findings14', np.full(_IMAGES, label))
    expected = {name for name in figures if getattr(registry.METRICS[name], needs)}
    assert _undefined(figures) == expected


def test_metrics_that_need_metadata_are_undefined_without_them() -> None:
    figures = _figures('nih_triage', metadata=False)
    assert _undefined(figures) == {
        name for name in figures if registry.METRICS[name].needs_metadata
    }


@pytest.mark.parametrize(('group', 'value'), [(SEX, b'F'), (VIEW, b'AP'), (AGE_BAND, b'40-59')])
def test_the_gap_between_groups_is_undefined_for_one_group(group: str, value: bytes) -> None:
    figures = _figures('nih_triage', **{group: value})
    assert _undefined(figures) == {
        name for name in figures if registry.METRICS[name].group == group
    }


def test_a_metric_is_found_by_its_name_or_a_name_of_its_interval() -> None:
    auc = registry.METRICS['auc']
    assert [registry.find(name) for name in ('auc', 'auc_lower', 'auc_upper')] == [auc] * 3
    assert registry.find('auc_middle') is None
    assert registry.METRICS['calibration_ratio'].high == math.inf
    assert {metric.finding for metric in registry.METRICS.values()} == {None, *FINDINGS}


def test_titles_describe_metrics_and_their_intervals() -> None:
    assert registry.title('auc_lower') == 'AUC, lower end'
    assert registry.title('sensitivity_gap_sex') == 'Largest gap in sensitivity by sex'
    assert registry.title(registry.IMAGES) == 'Images'
    assert registry.title('something_new') == 'something_new'


def test_selections_contain_only_metrics_of_the_registry() -> None:
    assert {*registry.HEADLINE, *registry.OVERVIEW, *registry.PER_SLICE} <= set(registry.METRICS)
    kinds = ('discrimination', 'calibration', 'metadata', 'findings', 'gap')
    assert sorted(registry.of_kind(*kinds)) == sorted(registry.METRICS)
    assert [name for name, metric in registry.METRICS.items() if metric.is_gap] == [
        name for name, metric in registry.METRICS.items() if metric.group
    ]
