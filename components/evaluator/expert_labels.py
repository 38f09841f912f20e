"""Compares two sources of labels: those of the records, from reports, and those of experts.

Both judge the same predictions of the candidate on the same images. The result lies beside the
metrics, where no threshold of the quality gate sees it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel

import storage
from components.evaluator import bootstrap, changes, predictions, registry
from components.evaluator.bootstrap import Cases, Statistic
from components.evaluator.expert_results import FILE, Agreement, LabelSources, Row
from components.evaluator.figure import Figure
from records import expert_labels
from records.expert_labels import ExpertLabels
from records.spelling import ImageNames
from schemas.features import IMAGE_ID, PATIENT_ID
from schemas.signatures import FLAG, PROBABILITY

if TYPE_CHECKING:
    import pandas as pd

_LOGGER = logging.getLogger(__name__)


class ExpertComparison(BaseModel):
    """What to compare.

    Attributes:
      table, image, columns: see `records.expert_labels.read`.
      label: of the task.
      findings: that the model predicts too.
      replicates, level: see `bootstrap.figures`.
      digest: of the table, so that another one is compared again.
    """

    table: str
    image: str | None
    columns: dict[str, tuple[str, ...]]
    label: str
    findings: tuple[str, ...]
    replicates: int
    level: float
    digest: str


@dataclass(frozen=True)
class Comparer:
    """A table that was read, and what to compare."""

    comparison: ExpertComparison
    experts: ExpertLabels

    def write(self, folder: str) -> LabelSources:
        """Compares the sources on the predictions of an `evaluation` artifact; adds FILE to it."""
        sources = compare(predictions.read(folder), self.experts, self.comparison)
        _LOGGER.info(
            'Expert labels: %d of %d images of %s are in the test split',
            sources.tested,
            sources.images,
            sources.table,
        )
        storage.write_text(storage.join(folder, FILE), sources.model_dump_json(indent=2) + '\n')
        return sources


def load(comparison: str) -> Comparer:
    """Reads the table of an `ExpertComparison`, which is JSON.

    Raises:
      MetadataError: it cannot be used.
    """
    settings = ExpertComparison.model_validate_json(comparison)
    table = expert_labels.read(settings.table, settings.image, settings.columns)
    return Comparer(settings, table)


def compare(
    predicted: pd.DataFrame, experts: ExpertLabels, comparison: ExpertComparison
) -> LabelSources:
    """Compares both sources.

    Args:
      predicted: as `predictions.read` returns it.
      experts: the table.
      comparison: what to compare.
    """
    names = ImageNames(predicted[IMAGE_ID].dropna())
    tested = {name: names.spelled(name) for name in experts.images}
    seen = int(predicted[IMAGE_ID].isin([name for name in tested.values() if name]).sum())
    metrics: list[Row] = []
    agreement: list[Agreement] = []
    for label in experts.columns:
        report_column = predictions.LABEL if label == comparison.label else label
        if report_column not in predicted:
            continue
        values = {tested[name]: value for name, value in experts.labels.get(label, {}).items()}
        expert = predicted[IMAGE_ID].map({key: value for key, value in values.items() if key})
        in_both = expert.notna() & predicted[report_column].notna()
        rows, truth = predicted[in_both], expert[in_both].to_numpy(np.int64)
        report = rows[report_column].to_numpy(np.int64)
        agreement.append(_agreement(label, rows, report, truth, seen - len(rows)))
        if len(rows):
            metrics += _metrics(label, rows, report, truth, comparison)
    return LabelSources(
        table=experts.path,
        rows=experts.rows,
        images=len(experts.images),
        tested=sum(name is not None for name in tested.values()),
        columns=experts.columns,
        label=comparison.label,
        metrics=metrics,
        agreement=agreement,
    )


def _agreement(
    label: str, rows: pd.DataFrame, report: np.ndarray, expert: np.ndarray, undecided: int
) -> Agreement:
    return Agreement(
        label=label,
        patients=rows[PATIENT_ID].nunique(),
        both=int(np.sum((report == 1) & (expert == 1))),
        report_only=int(np.sum((report == 1) & (expert == 0))),
        expert_only=int(np.sum((report == 0) & (expert == 1))),
        neither=int(np.sum((report == 0) & (expert == 0))),
        undecided=undecided,
    )


def _metrics(
    label: str,
    rows: pd.DataFrame,
    report: np.ndarray,
    expert: np.ndarray,
    comparison: ExpertComparison,
) -> list[Row]:
    """The metrics of a label that the model predicts."""
    of: Callable[[Cases], dict[str, Statistic]]
    if label == comparison.label:
        flag = rows[FLAG].to_numpy(np.float64)
        scores, of = rows[PROBABILITY].to_numpy(np.float64), _of_task
    elif label in comparison.findings:
        scores = rows[predictions.probability_of(label)].to_numpy(np.float64)
        flag, of = np.zeros(len(rows)), _of_finding(label)
    else:
        return []
    if not (np.isfinite(scores).all() and np.isfinite(flag).all()):
        _LOGGER.warning('Expert labels: not all predictions of %s are finite; not compared', label)
        return []
    by_report, by_expert = of(Cases(scores, flag, report)), of(Cases(scores, flag, expert))
    statistics: dict[str, Statistic] = {}
    for name in by_report:
        statistics[f'{name} report'], statistics[f'{name} expert'] = (
            by_report[name],
            by_expert[name],
        )
        statistics[f'{name} difference'] = bootstrap.difference(by_expert[name], by_report[name])
    patient = rows[PATIENT_ID].to_numpy(str)
    figures = bootstrap.figures(statistics, patient, comparison.replicates, comparison.level)
    return [
        Row(
            metric=name,
            images=len(rows),
            report=_explained(figures[f'{name} report'], report),
            expert=_explained(figures[f'{name} expert'], expert),
            difference=figures[f'{name} difference'],
        )
        for name in by_report
    ]


def _explained(figure: Figure, truth: np.ndarray) -> Figure:
    """The figure; if it is not defined, with the reason."""
    if figure.value is not None:
        return figure
    if truth.all():
        return Figure(None, reason='no image is negative')
    reason = 'the model flags no image' if truth.any() else 'no image is positive'
    return Figure(None, reason=reason)


def _of_task(cases: Cases) -> dict[str, Statistic]:
    """The metrics of the task by their names in the registry."""
    return {
        **changes.headline(cases),
        'precision': bootstrap.precision(cases),
        'brier_score': bootstrap.brier_score(cases),
        'calibration_ratio': bootstrap.calibration_ratio(cases),
    }


def _of_finding(finding: str) -> Callable[[Cases], dict[str, Statistic]]:
    (name,) = (name for name, metric in registry.METRICS.items() if metric.finding == finding)
    return lambda cases: {name: bootstrap.auc(cases.probability, cases.label)}
