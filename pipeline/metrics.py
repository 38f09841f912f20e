"""What the Evaluator measured: its figures with their intervals, and what the gate says of them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable

from rich.table import Table

from pipeline.evaluation_parameters import GROUPS, METRICS, SHOWN, EvaluationParameters, Threshold
from pipeline.tables import plain_table
from trainer.features import VIEW
from trainer.labels import FINDINGS


@dataclasses.dataclass(frozen=True)
class Verdict:
    """A threshold of the gate, what was measured (None: the slice does not define it), and whether the gate let it pass.

    `bound` is the value that was asked for, in words; `by` how far the value is from the bound, negative when it fails.
    """

    threshold: Threshold
    bound: str
    value: float | None
    passed: bool
    by: float | None


def verdict_table(verdicts: Iterable[Verdict]) -> Table:
    """The gate's thresholds with what was measured."""
    table = plain_table('metric', 'slice', '>value', 'asked', 'verdict')
    for verdict in verdicts:
        value = 'no value' if verdict.value is None else f'{verdict.value:.4f}'
        mark = '[green]pass[/]' if verdict.passed else '[bold red]FAIL[/]'
        margin = '' if verdict.by is None else f' by {abs(verdict.by):.4f}'
        table.add_row(verdict.threshold.metric, verdict.threshold.name(), value, verdict.bound, mark + margin)
    return table


def figures_table(evaluation_uri: str) -> Table:
    """What a reader asks of the candidate first, each figure with its interval by patient."""
    found = read(evaluation_uri)
    table = plain_table('figure', '>value', '>interval')
    for title, slice_key, name in _FIGURES:
        value, lower, upper = (found.get((slice_key, f'{name}{end}', '')) for end in ('', '_lower', '_upper'))
        if value is not None:
            interval = '' if lower is None or upper is None else f'{lower:.3f} – {upper:.3f}'
            table.add_row(title, f'{value:.3f}', interval)
    return table


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
    *((f'largest gap in sensitivity by {group}', (), f'sensitivity_gap_{group}') for group in GROUPS),
)


def overall_metrics(evaluation_uri: str) -> dict[str, float]:
    """The metrics of METRICS over all examples of the candidate."""
    metrics = read(evaluation_uri)
    return {name: metrics[(), name, ''] for name in METRICS if ((), name, '') in metrics}


def verdicts(parameters: EvaluationParameters, evaluation_uri: str) -> list[Verdict]:
    """What the gate says on each threshold. Whether it passed is TFMA's word; the margin is worked out here."""
    import tensorflow_model_analysis as tfma

    result = tfma.load_validation_result(evaluation_uri)
    failed = {
        (_slice_key(of_slice.slice_key), failure.metric_key.name)
        for of_slice in result.metric_validations_per_slice
        for failure in of_slice.failures
    }
    metrics = read(evaluation_uri)
    return [_verdict(threshold, metrics, failed) for threshold in parameters.thresholds]


def _verdict(threshold: Threshold, metrics: dict, failed: set) -> Verdict:
    key = tuple(sorted(threshold.slice.items()))
    value = metrics.get((key, threshold.metric, ''))
    worse = metrics.get((key, threshold.metric, 'diff'))
    bounds, margins = [], []
    if threshold.min is not None:
        bounds.append(f'>= {threshold.min:g}')
        margins.append(None if value is None else value - threshold.min)
    if threshold.max is not None:
        bounds.append(f'<= {threshold.max:g}')
        margins.append(None if value is None else threshold.max - value)
    if threshold.max_worse is not None:
        if worse is None:
            bounds.append(f'at most {threshold.max_worse:g} worse than served (nothing served)')
        else:
            bounds.append(f'at most {threshold.max_worse:g} worse than served ({worse:+.4f})')
            margins.append((worse if METRICS[threshold.metric] == 'higher' else -worse) + threshold.max_worse)
    known = [margin for margin in margins if margin is not None]
    passed = (key, threshold.metric) not in failed and value is not None
    return Verdict(threshold, ', '.join(bounds), value, passed, min(known) if known else None)


def read(evaluation_uri: str) -> dict[tuple[tuple, str, str], float]:
    """(slice, metric, '' | 'diff' | 'baseline') -> value; 'diff' is candidate minus baseline."""
    import tensorflow_model_analysis as tfma

    found = {}
    for of_slice in tfma.load_metrics(evaluation_uri):
        key = _slice_key(of_slice.slice_key)
        for item in of_slice.metric_keys_and_values:
            name = item.key.name
            if name not in _READ or item.key.output_name:
                continue
            kind = 'diff' if item.key.is_diff else 'baseline' if item.key.model_name == 'baseline' else ''
            value = item.value.double_value.value
            if math.isfinite(value):
                found[key, name, kind] = value
    return found


def _slice_key(slice_key) -> tuple[tuple[str, str], ...]:
    pairs = []
    for single in slice_key.single_slice_keys:
        kind = single.WhichOneof('kind')
        value = getattr(single, kind)
        pairs.append((single.column, value.decode() if isinstance(value, bytes) else str(value)))
    return tuple(sorted(pairs))
