"""Performance of a version on what readers have judged since.

Readers see the answer before they judge, and choose what they read, so these figures are not those
of a blinded study. The share that was read of flagged and of other studies is part of the result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from components.evaluator import bootstrap
from components.evaluator.bootstrap import Cases, Statistic
from components.evaluator.figure import Figure
from monitoring.traffic import ReadStudy
from serving.sites import shown

NORMAL, ABNORMAL = 'normal', 'abnormal'
# Name -> metric; `agreement` is not one of the registry.
ALL = 'all'
METRICS = ('auc', 'sensitivity', 'specificity', 'precision', 'calibration_error')
AGREEMENT, KAPPA = 'agreement', 'kappa'
_LEVEL = 0.95
_MAX_SECOND_LOOKS = 10
# Fewer give intervals that say nothing.
_MIN_PERIOD = 20


@dataclass(frozen=True)
class Period:
    """The studies that arrived in a month or at a site, or all.

    Attributes:
      name: '2026-11', 'site North', or ALL.
      studies: assessed by the model, and normal or abnormal by the reader.
      abnormal: of them, by the reader.
      figures: name of METRICS, AGREEMENT or KAPPA -> value with interval by study.
      site: None for all.
    """

    name: str
    studies: int
    abnormal: int
    figures: dict[str, Figure]
    site: str | None = None


@dataclass(frozen=True)
class LateLabels:
    """The result.

    Attributes:
      periods: all, then each month and each site with enough studies, if there are several.
      left_out: studies that were read, without a normal or abnormal verdict or without a score.
      missed: read as abnormal although not flagged, the lowest probability first.
      overcalled: read as normal although flagged, the highest probability first.
    """

    periods: tuple[Period, ...]
    left_out: int
    missed: tuple[ReadStudy, ...]
    overcalled: tuple[ReadStudy, ...]


def measure(studies: Sequence[ReadStudy], replicates: int = 1000) -> LateLabels | None:
    """Compares answers with verdicts; None if no study has both."""
    usable = [
        study
        for study in studies
        if study.verdict in (NORMAL, ABNORMAL) and study.probability is not None
    ]
    if not usable:
        return None
    months: dict[str, list[ReadStudy]] = {}
    sites: dict[str, list[ReadStudy]] = {}
    for study in usable:
        months.setdefault(f'{study.arrived:%Y-%m}', []).append(study)
        sites.setdefault(study.site, []).append(study)
    periods = [_period(ALL, usable, replicates)]
    for name in sorted(months):
        if len(months) > 1 and len(months[name]) >= _MIN_PERIOD:
            periods.append(_period(name, months[name], replicates))
    for site in sorted(sites):
        if len(sites) > 1 and len(sites[site]) >= _MIN_PERIOD:
            name = f'site {shown(site)}'
            periods.append(_period(name, sites[site], replicates, site))
    return LateLabels(
        tuple(periods),
        len(studies) - len(usable),
        _second_look(usable, ABNORMAL),
        _second_look(usable, NORMAL),
    )


def _second_look(usable: Sequence[ReadStudy], verdict: str) -> tuple[ReadStudy, ...]:
    sign = 1 if verdict == ABNORMAL else -1
    cases = [
        study for study in usable if study.verdict == verdict and study.flag == (verdict == NORMAL)
    ]
    cases.sort(key=lambda study: sign * (study.probability or 0))
    return tuple(cases[:_MAX_SECOND_LOOKS])


def _period(
    name: str, studies: Sequence[ReadStudy], replicates: int, site: str | None = None
) -> Period:
    label = np.array([study.verdict == ABNORMAL for study in studies], int)
    cases = Cases(
        np.array([study.probability for study in studies], float),
        np.array([study.flag for study in studies], float),
        label,
    )
    statistics: dict[str, Statistic] = {
        'auc': bootstrap.auc(cases.probability, cases.label),
        'sensitivity': bootstrap.sensitivity(cases),
        'specificity': bootstrap.specificity(cases),
        'precision': bootstrap.precision(cases),
        'calibration_error': bootstrap.calibration_error(cases),
        AGREEMENT: bootstrap.accuracy(cases),
        KAPPA: _kappa(cases),
    }
    number = np.arange(len(studies))
    figures = bootstrap.figures(statistics, number, replicates, _LEVEL)
    return Period(name, len(studies), int(label.sum()), figures, site)


def _kappa(cases: Cases) -> Statistic:
    """Cohen's kappa of flag and verdict: 0 is chance, 1 is perfect."""
    both = (cases.flag == cases.label).astype(np.float64)
    flag, label = cases.flag.astype(np.float64), cases.label.astype(np.float64)

    def statistic(weights: np.ndarray) -> np.ndarray:
        total = weights.sum(axis=1)
        seen, flagged, abnormal = (weights @ values / total for values in (both, flag, label))
        chance = flagged * abnormal + (1 - flagged) * (1 - abnormal)
        return np.divide(
            seen - chance, 1 - chance, out=np.full(len(total), np.nan), where=chance < 1
        )

    return statistic
