"""Data for TFMA's own elements, in the form that its notebook view hands to them, with names for
people.

They are read by tfma-nb-slicing-metrics, tfma-nb-plot and tfma-nb-time-series of
vulcanized_tfma.js.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from pages import names
from pages.measured import BASELINE, CANDIDATE, DIFFERENCE, Evaluation, Figure, Slice, shown_metrics

FILMS = names.METRICS['example_count']
# Of the films and not of a model: the same for both.
_OF_FILMS = ('example_count', 'metadata_auc', 'metadata_follow_up_auc')
_SUFFIXES = {CANDIDATE: '', BASELINE: ' (served)', DIFFERENCE: ' (difference)'}


def slicing_metrics(evaluation: Evaluation) -> list[dict[str, Any]]:
    """All slices with all metrics of the candidate and, beside them, those of the served model and
    the differences.
    """
    columns = [(model, name) for name in shown_metrics(evaluation) for model in _SUFFIXES]
    return [
        {'slice': each.title, 'metrics': {'': {'': _cells(each, columns)}}}
        for each in evaluation.slices
    ]


def _cells(each: Slice, columns: Iterable[tuple[str, str]]) -> dict[str, Any]:
    cells = {}
    for model, name in columns:
        figure = each.figures.get((model, name))
        if figure is None or figure.value is None or (name in _OF_FILMS and model != CANDIDATE):
            continue
        cells[names.metric(name) + _SUFFIXES[model]] = cell(figure)
    return cells


def cell(figure: Figure) -> dict[str, Any]:
    """A figure as TFMA's table knows it."""
    if figure.lower is None or figure.upper is None:
        return {'doubleValue': figure.value}
    return {
        'boundedValue': {
            'value': figure.value,
            'lowerBound': figure.lower,
            'upperBound': figure.upper,
        }
    }


def plot_file(number: int, each: Slice) -> str:
    """A script with the plots of a slice, which the page loads when the slice is chosen.

    Numbers go in rows and not in TFMA's named form, which the page makes of them: a quarter of the
    size.
    """
    curves = {
        f'{model}|{output}': {'matrices': one.matrices, 'buckets': one.buckets}
        for (model, output), one in each.curves.items()
    }
    return f'cxrPlots({number}, {json.dumps(_rounded(curves), separators=(",", ":"))});\n'


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return int(value) if value.is_integer() else float(f'{value:.6g}')
    if isinstance(value, dict):
        return {key: _rounded(content) for key, content in value.items()}
    return [_rounded(content) for content in value] if isinstance(value, list | tuple) else value


def time_series(
    runs: Iterable[tuple[str, str, dict[str, dict[str, list[float | None]]]]], slice_title: str
) -> list[dict[str, Any]]:
    """One slice over runs in the order of time.

    Args:
      runs: (name of the run, name of its data, slice -> metric -> [value, lower, upper]).
      slice_title: which slice.
    """
    series = []
    for name, data, slices in runs:
        cells = {
            metric: cell(Figure(*figure))
            for metric, figure in slices.get(slice_title, {}).items()
            if figure and figure[0] is not None
        }
        if cells:
            series.append(
                {
                    'metrics': {'': {'': cells}},
                    'config': {'modelIdentifier': name, 'dataIdentifier': data},
                }
            )
    return series
