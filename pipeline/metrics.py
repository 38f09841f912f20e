"""What the Evaluator measured: its figures with their intervals, and what the gate says of them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable

from rich.table import Table

from components.evaluator.groups import Groups
from components.evaluator.groups import read as read_items
from pipeline.evaluation_parameters import GROUPS, METRICS, SHOWN, EvaluationParameters, Threshold
from pipeline.tables import plain_table
from schemas.features import VIEW
from schemas.labels import FINDINGS


@dataclasses.dataclass(frozen=True)
class Verdict:
    """One condition of the gate: a single bound of a threshold, and how the candidate stands to it.

    Attributes:
      threshold: the threshold that the bound is part of; one with several bounds makes several
        conditions.
      bound: the bound in words.
      value: the candidate's metric; None when it is not defined.
      margin: how far the value is on the right side of the bound, negative when it fails; None when
        there is nothing to compare.
      passed: whether the gate lets the candidate pass this condition.
      note: why there is no margin; '' when there is one.
    """

    threshold: Threshold
    bound: str
    value: float | None
    margin: float | None
    passed: bool
    note: str = ''

    def sentence(self) -> str:
        """What was asked and what was measured, e.g. for the reasons of a refusal."""
        value = 'has no value' if self.value is None else f'is {self.value:.4f}'
        remark = self.note if self.margin is None else f'{self.margin:+.4f}'
        return (
            f'{self.threshold.metric} on {self.threshold.name()} {value}, asked {self.bound} '
            f'({remark})'
        )


def verdict_table(verdicts: Iterable[Verdict]) -> Table:
    """The gate's conditions, one a line: the value, the bound and the margin between them."""
    table = plain_table('metric', 'slice', '>value', 'asked', '>margin', 'verdict')
    for verdict in verdicts:
        value = 'no value' if verdict.value is None else f'{verdict.value:.4f}'
        margin = '' if verdict.margin is None else f'{verdict.margin:+.4f}'
        mark = '[green]pass[/]' if verdict.passed else '[bold red]FAIL[/]'
        note = f', {verdict.note}' if verdict.note else ''
        table.add_row(
            verdict.threshold.metric,
            verdict.threshold.name(),
            value,
            verdict.bound,
            margin,
            mark + note,
        )
    return table


def figures_table(evaluation_uri: str) -> Table:
    """What a reader asks of the candidate first, each figure with its interval by patient, and with
    what it leaves out.
    """
    measured = _read_all(evaluation_uri)
    groups = read_groups(evaluation_uri)
    table = plain_table('figure', '>value', '>interval', '')
    for title, slice_key, name in _FIGURES:
        value, lower, upper = (
            measured.get((slice_key, f'{name}{end}', '')) for end in ('', '_lower', '_upper')
        )
        if value is not None:
            shown = f'{value:.3f}' if math.isfinite(value) else 'not defined'
            note = left_out_findings(measured) if name == 'macro_auc' else ''
            table.add_row(title, shown, _interval(lower, upper), note)
        by = name.removeprefix(_GAP)
        if name.startswith(_GAP) and by in groups:
            _add_groups(table, groups[by])
    return table


_GAP = 'sensitivity_gap_'


def _add_groups(table: Table, groups: Groups) -> None:
    """The worst group, and below it the groups that the gap leaves out."""
    worst = groups.worst()
    if worst is not None:
        missed = f'{worst.missed} of {worst.positives} positives missed'
        table.add_row(
            f'  lowest: {worst.name}',
            f'{worst.sensitivity:.3f}',
            _interval(worst.lower, worst.upper),
            missed,
        )
    if groups.left_out():
        table.add_row('  not in this gap', '', '', groups.left_out_words())


def left_out_findings(metrics: dict[tuple[tuple, str, str], float]) -> str:
    """Which findings the mean AUC leaves out, for people; '' when it covers all.

    Args:
      metrics: over all films, NaN where a metric is not defined.
    """
    measured = {
        name: metrics[(), f'{name}_auc', '']
        for name in FINDINGS
        if ((), f'{name}_auc', '') in metrics
    }
    undefined = [name for name, value in measured.items() if not math.isfinite(value)]
    if not undefined:
        return ''
    return (
        f'of {len(measured) - len(undefined)} findings; too few films of a class: '
        f'{", ".join(undefined)}'
    )


_READ = {*METRICS, *SHOWN}
_FIGURES = (
    ('AUC', (), 'auc'),
    ('  within PA films', ((VIEW, 'PA'),), 'auc'),
    ('  within AP films', ((VIEW, 'AP'),), 'auc'),
    ('  of age, sex and view alone', (), 'metadata_auc'),
    ('  of these and the follow-up number', (), 'metadata_follow_up_auc'),
    ('mean AUC of findings', (), 'macro_auc'),
    *((f'  {finding}', (), f'{finding}_auc') for finding in FINDINGS),
    ('sensitivity', (), 'sensitivity'),
    ('specificity', (), 'specificity'),
    ('expected calibration error', (), 'calibration_error'),
    *(
        (f'largest gap in sensitivity by {group}', (), f'sensitivity_gap_{group}')
        for group in GROUPS
    ),
)


def overall_metrics(evaluation_uri: str) -> dict[str, float]:
    """The metrics of METRICS over all examples of the candidate."""
    metrics = read(evaluation_uri)
    return {name: metrics[(), name, ''] for name in METRICS if ((), name, '') in metrics}


def verdicts(parameters: EvaluationParameters, evaluation_uri: str) -> list[Verdict]:
    """How the candidate stands to each condition of the gate, in the order of the thresholds.

    The comparisons are those that TFMA makes: the candidate is blessed exactly when all conditions
    pass.
    """
    metrics = read(evaluation_uri)
    return [
        verdict for threshold in parameters.thresholds for verdict in conditions(threshold, metrics)
    ]


def conditions(threshold: Threshold, metrics: dict[tuple[tuple, str, str], float]) -> list[Verdict]:
    """The conditions of one threshold: min, max and max_worse, as far as they are set.

    Args:
      threshold: of the gate.
      metrics: from `read`.
    """
    key, name = tuple(sorted(threshold.slice.items())), threshold.metric
    value = metrics.get((key, name, ''))
    undefined = ''
    if value is None:
        there = any(slice_key == key for slice_key, _, _ in metrics)
        undefined = _why_undefined(name) if there else 'no test film in this slice'

    def verdict(bound: str, margin: float | None, note: str) -> Verdict:
        # An undefined metric never passes. While nothing is served there is no margin, and any
        # value will do.
        passed = value is not None and (
            margin >= 0 if margin is not None else note == _NOTHING_SERVED
        )
        return Verdict(threshold, bound, value, margin, passed, undefined or note)

    found = []
    if threshold.min is not None:
        found.append(
            verdict(f'>= {threshold.min:g}', None if value is None else value - threshold.min, '')
        )
    if threshold.max is not None:
        found.append(
            verdict(f'<= {threshold.max:g}', None if value is None else threshold.max - value, '')
        )
    if threshold.max_worse is not None:
        found.append(verdict(*_against_served(threshold, metrics, key)))
    return found


_NOTHING_SERVED = 'no served model to compare with'


def _against_served(
    threshold: Threshold, metrics: dict, key: tuple
) -> tuple[str, float | None, str]:
    """(bound, margin, note) of `max_worse`."""
    name = threshold.metric
    assert threshold.max_worse is not None
    words = f'at most {threshold.max_worse:g} worse than served'
    change, served = metrics.get((key, name, 'diff')), metrics.get((key, name, 'baseline'))
    if change is None or served is None:
        compared = any(kind == 'baseline' for _, _, kind in metrics)
        return words, None, 'not defined for the served model' if compared else _NOTHING_SERVED
    if METRICS[name] == 'higher':
        return (
            f'>= {served - threshold.max_worse:.4f} (served {served:.4f} - '
            f'{threshold.max_worse:g})',
            change + threshold.max_worse,
            '',
        )
    return (
        f'<= {served + threshold.max_worse:.4f} (served {served:.4f} + {threshold.max_worse:g})',
        threshold.max_worse - change,
        '',
    )


def _why_undefined(metric: str) -> str:
    if metric.startswith('sensitivity_gap_'):
        return 'not defined: fewer than two groups with enough positive films'
    return 'not defined: too few test films of a class'


def read(evaluation_uri: str) -> dict[tuple[tuple, str, str], float]:
    """(slice, metric, '' | 'diff' | 'baseline') -> value, of all that are defined; 'diff' is
    candidate minus baseline.
    """
    return {key: value for key, value in _read_all(evaluation_uri).items() if math.isfinite(value)}


def read_groups(evaluation_uri: str) -> dict[str, Groups]:
    """Feature -> the groups by it, of the candidate over all films."""
    import tensorflow_model_analysis as tfma

    found = {}
    for of_slice in tfma.load_metrics(evaluation_uri):
        if not of_slice.slice_key.single_slice_keys:
            for model, by, groups in read_items(of_slice.metric_keys_and_values):
                if model != 'baseline':
                    found[by] = groups
    return found


def _read_all(evaluation_uri: str) -> dict[tuple[tuple, str, str], float]:
    """As `read`, with NaN for a metric that is not defined."""
    import tensorflow_model_analysis as tfma

    found = {}
    for of_slice in tfma.load_metrics(evaluation_uri):
        key = _slice_key(of_slice.slice_key)
        for item in of_slice.metric_keys_and_values:
            name = item.key.name
            if name in _READ and not item.key.output_name:
                kind = (
                    'diff'
                    if item.key.is_diff
                    else 'baseline'
                    if item.key.model_name == 'baseline'
                    else ''
                )
                found[key, name, kind] = item.value.double_value.value
    return found


def _interval(lower: float | None, upper: float | None) -> str:
    if lower is None or upper is None or not (math.isfinite(lower) and math.isfinite(upper)):
        return ''
    return f'{lower:.3f} – {upper:.3f}'


def _slice_key(slice_key) -> tuple[tuple[str, str], ...]:
    pairs = []
    for single in slice_key.single_slice_keys:
        kind = single.WhichOneof('kind')
        value = getattr(single, kind)
        pairs.append((single.column, value.decode() if isinstance(value, bytes) else str(value)))
    return tuple(sorted(pairs))
