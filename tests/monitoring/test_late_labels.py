"""Performance on what readers judged."""

from __future__ import annotations

import dataclasses
import datetime

import pytest
from sklearn import metrics

from monitoring import late_labels
from monitoring.traffic import ReadStudy


def _study(number: int, probability: float | None, verdict: str, month: int = 11) -> ReadStudy:
    flag = probability is None or probability >= 0.5
    arrived = datetime.datetime(2026, month, 1, tzinfo=datetime.timezone.utc)
    return ReadStudy(f'study {number}', arrived, probability, flag, verdict, 'reader')


def _studies(count: int, month: int = 11) -> list[ReadStudy]:
    """Every second is abnormal; every fifth answer is on the wrong side."""
    result = []
    for number in range(count):
        is_abnormal, is_wrong = number % 2 == 1, number % 5 == 0
        probability = (0.6 if is_abnormal != is_wrong else 0.1) + number / 1000
        result.append(_study(number, probability, 'abnormal' if is_abnormal else 'normal', month))
    return result


def test_figures_are_those_of_scikit_learn() -> None:
    studies = _studies(50)
    result = late_labels.measure(studies, replicates=100)
    assert result is not None
    label = [study.verdict == 'abnormal' for study in studies]
    flag = [study.flag for study in studies]
    probability = [study.probability for study in studies]
    figures = result.periods[0].figures
    for name, expected in {
        'auc': metrics.roc_auc_score(label, probability),
        'sensitivity': metrics.recall_score(label, flag),
        'specificity': metrics.recall_score(label, flag, pos_label=False),
        'precision': metrics.precision_score(label, flag),
        'agreement': metrics.accuracy_score(label, flag),
        'kappa': metrics.cohen_kappa_score(label, flag),
    }.items():
        assert figures[name].value == pytest.approx(expected), name
        assert figures[name].lower <= expected <= figures[name].upper, name


def test_cases_for_a_second_look_begin_with_the_most_surprising() -> None:
    result = late_labels.measure(_studies(50), replicates=10)
    assert result is not None
    missed = [study.probability for study in result.missed]
    overcalled = [study.probability for study in result.overcalled]
    assert missed == sorted(missed)
    assert len(missed) == 5
    assert overcalled == sorted(overcalled, reverse=True)
    assert len(overcalled) == 5


def test_months_with_few_studies_have_no_figures_of_their_own() -> None:
    studies = _studies(30, 9) + _studies(4, 10) + _studies(30, 11)
    result = late_labels.measure(studies, replicates=10)
    assert result is not None
    assert [(period.name, period.studies) for period in result.periods] == [
        ('all', 64),
        ('2026-09', 30),
        ('2026-11', 30),
    ]


def test_sites_have_figures_of_their_own() -> None:
    north = [dataclasses.replace(study, site='North') for study in _studies(30)]
    result = late_labels.measure([*_studies(40), *north, *_studies(10, 12)], replicates=50)
    assert result is not None
    assert [(period.name, period.site, period.studies) for period in result.periods] == [
        ('all', None, 80),
        ('2026-11', None, 70),
        ('site without a name', '', 50),
        ('site North', 'North', 30),
    ]


def test_what_cannot_be_compared_is_counted() -> None:
    studies = [
        *_studies(20),
        _study(20, None, 'abnormal'),
        _study(21, 0.2, 'not_assessable'),
    ]
    result = late_labels.measure(studies, replicates=10)
    assert result is not None
    assert (result.periods[0].studies, result.left_out) == (20, 2)
    assert late_labels.measure(studies[20:]) is None
