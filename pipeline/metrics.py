"""Compares a candidate with the quality gate, and makes the tables of its metrics."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

from rich.table import Table

from components.evaluator import registry
from components.evaluator.groups import Groups
from components.evaluator.results import (
    BASELINE,
    CANDIDATE,
    DIFFERENCE,
    Evaluation,
    Slice,
    SliceKey,
)
from pipeline.evaluation_parameters import Threshold
from pipeline.tables import plain_table
from schemas.features import VIEW, VIEWS


@dataclasses.dataclass(frozen=True)
class Verdict:
    """Whether the candidate passes one condition of the gate, which is one bound of a threshold.

    Attributes:
      threshold: the threshold with the bound; each of its bounds is a condition.
      bound: the bound as text.
      value: the candidate's metric; None if it is not defined.
      margin: distance from the bound, negative if the value fails; None if there is nothing to
        compare.
      passed: whether the candidate passes this condition.
      note: why there is no margin; '' if there is one.
      covers: of a gap, the groups that it compares and those that it leaves out.
    """

    threshold: Threshold
    bound: str
    value: float | None
    margin: float | None
    passed: bool
    note: str = ''
    covers: str = ''

    def sentence(self) -> str:
        """The required bound and the measured value, e.g. as a reason for not blessing."""
        value = 'has no value' if self.value is None else f'is {self.value:.4f}'
        remark = self.note if self.margin is None else f'{self.margin:+.4f}'
        groups = f'; {self.covers}' if self.covers else ''
        return (
            f'{self.threshold.metric} on {self.threshold.name()} {value}, required {self.bound} '
            f'({remark}){groups}'
        )


def verdict_table(verdicts: Iterable[Verdict]) -> Table:
    """The conditions of the gate, one per row: the value, the bound and the margin."""
    table = plain_table('metric', 'slice', '>value', 'required', '>margin', 'verdict')
    for verdict in verdicts:
        value = 'no value' if verdict.value is None else f'{verdict.value:.4f}'
        margin = '' if verdict.margin is None else f'{verdict.margin:+.4f}'
        mark = '[green]pass[/]' if verdict.passed else '[bold red]FAIL[/]'
        note = f', {verdict.note}' if verdict.note else ''
        groups = f'; {verdict.covers}' if verdict.covers else ''
        table.add_row(
            verdict.threshold.metric,
            verdict.threshold.name(),
            value,
            verdict.bound,
            margin,
            mark + note + groups,
        )
    return table


def metrics_table(evaluation: Evaluation) -> Table:
    """The candidate's metrics with their intervals by patient, or why there is no value.

    Below a gap are the groups that it compares and those that it leaves out.
    """
    table = plain_table('metric', '>value', '>interval', '')
    for title, key, name in _rows():
        measured = evaluation.slice(key)
        if measured is None or not measured.is_measured(name):
            continue
        figure, groups = measured.figure(name), None
        if registry.METRICS[name].is_gap:
            groups = measured.groups.get((CANDIDATE, str(registry.METRICS[name].group)))
        note = figure.reason or ('' if groups else measured.covers(name))
        table.add_row(title, figure.value_text(), figure.interval(), note)
        if groups:
            _add_groups(table, groups)
    return table


def _rows() -> Iterator[tuple[str, SliceKey, str]]:
    """(title, slice, metric) of each row; metrics of findings and slices are indented."""
    for name, metric in registry.METRICS.items():
        if metric.in_summary:
            yield f'  {metric.title}' if metric.finding else metric.title, (), name
        if name == registry.HEADLINE[0]:
            for view in VIEWS:
                yield f'  {metric.title} within {view} images', ((VIEW, view),), name


def _add_groups(table: Table, groups: Groups) -> None:
    """The group with the lowest sensitivity, the groups of the gap, and those it leaves out."""
    worst = groups.worst()
    if worst is not None:
        missed = f'{worst.missed} of {worst.positives} positives missed'
        figure = worst.figure
        table.add_row(f'  lowest: {worst.name}', figure.value_text(), figure.interval(), missed)
    table.add_row('  in this gap', '', '', groups.compared_text())
    if text := groups.left_out_text():
        table.add_row('  not in this gap', '', '', text)


def verdicts(thresholds: Iterable[Threshold], evaluation: Evaluation) -> list[Verdict]:
    """The verdict for each condition of the gate, in the order of the thresholds.

    TFMA makes the same comparisons: the candidate is blessed exactly if all conditions pass.
    """
    return [verdict for threshold in thresholds for verdict in conditions(threshold, evaluation)]


def conditions(threshold: Threshold, evaluation: Evaluation) -> list[Verdict]:
    """The verdicts for one threshold: one each for min, max and max_worse, if set."""
    measured = evaluation.slice(tuple(sorted(threshold.slice.items())))
    value = measured.value(threshold.metric) if measured else None
    undefined = ''
    if value is None:
        reason = measured.why_undefined(threshold.metric) if measured else ''
        undefined = f'not defined: {reason}' if reason else 'no test image in this slice'
    covers = measured.covers(threshold.metric) if measured and threshold.registered.is_gap else ''

    def verdict(bound: str, margin: float | None, note: str) -> Verdict:
        # An undefined metric never passes. While no model is served, there is no margin and any
        # value passes `max_worse`.
        passed = value is not None and (
            margin >= 0 if margin is not None else note == _NOTHING_SERVED
        )
        return Verdict(threshold, bound, value, margin, passed, undefined or note, covers)

    results = []
    if threshold.min is not None:
        margin = None if value is None else value - threshold.min
        results.append(verdict(f'>= {threshold.min:g}', margin, ''))
    if threshold.max is not None:
        margin = None if value is None else threshold.max - value
        results.append(verdict(f'<= {threshold.max:g}', margin, ''))
    if threshold.max_worse is not None:
        against_served = _against_served(threshold, threshold.max_worse, measured, evaluation)
        results.append(verdict(*against_served))
    return results


_NOTHING_SERVED = 'no served model to compare with'


def _against_served(
    threshold: Threshold, max_worse: float, measured: Slice | None, evaluation: Evaluation
) -> tuple[str, float | None, str]:
    """(bound, margin, note) for `max_worse`."""
    change, served = (
        measured.value(threshold.metric, model) if measured else None
        for model in (DIFFERENCE, BASELINE)
    )
    if change is None or served is None:
        note = 'not defined for the served model' if evaluation.has_baseline else _NOTHING_SERVED
        return f'at most {max_worse:g} worse than served', None, note
    if threshold.registered.better == 'higher':
        bound = f'>= {served - max_worse:.4f} (served {served:.4f} - {max_worse:g})'
        return bound, change + max_worse, ''
    bound = f'<= {served + max_worse:.4f} (served {served:.4f} + {max_worse:g})'
    return bound, max_worse - change, ''
