"""Makes the data for TFMA's own elements, in the form of its notebook view, with readable titles.

The elements are tfma-nb-slicing-metrics, tfma-nb-plot and tfma-nb-time-series of
vulcanized_tfma.js.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from components.evaluator import registry
from components.evaluator.figure import Figure
from components.evaluator.results import BASELINE, CANDIDATE, DIFFERENCE, Slice
from pages import names
from pages.measured import Evaluation

_SUFFIXES = {CANDIDATE: '', BASELINE: ' (served)', DIFFERENCE: ' (difference)'}


def slicing_metrics(evaluation: Evaluation) -> list[dict[str, Any]]:
    """All slices with the metrics of the candidate, of the served model, and their differences."""
    defined = {
        name: None
        for measured in evaluation.slices
        for name in measured.names()
        if measured.value(name) is not None
    }
    order = [*registry.METRICS, *registry.COUNTS]
    ordered = sorted(defined, key=lambda name: order.index(name) if name in order else len(order))
    columns = [(model, name) for name in ordered for model in _SUFFIXES]
    return [
        {
            'slice': names.slice_title(measured.key),
            'metrics': {'': {'': _cells(measured, columns)}},
        }
        for measured in evaluation.slices
    ]


def _cells(measured: Slice, columns: Iterable[tuple[str, str]]) -> dict[str, Any]:
    cells = {}
    for model, name in columns:
        metric = registry.METRICS.get(name)
        # Metrics of the images alone are the same for both models.
        same_for_models = name == registry.IMAGES or (metric and metric.of_images)
        figure = measured.figure(name, model)
        if measured.says_nothing(name):
            continue
        if figure.value is not None and (model == CANDIDATE or not same_for_models):
            cells[registry.title(name) + _SUFFIXES[model]] = cell(figure)
    return cells


def cell(figure: Figure) -> dict[str, Any]:
    """A metric in the form of TFMA's table."""
    if figure.lower is None or figure.upper is None:
        return {'doubleValue': figure.value}
    return {
        'boundedValue': {
            'value': figure.value,
            'lowerBound': figure.lower,
            'upperBound': figure.upper,
        }
    }


def plot_file(number: int, measured: Slice) -> str:
    """A script with the plots of a slice, which the page loads when a user selects the slice.

    It has rows of numbers, a quarter of the size of TFMA's form with names, which the page builds.
    """
    curves = {
        f'{model}|{output}': {'matrices': curve.matrices, 'buckets': curve.buckets}
        for (model, output), curve in measured.curves.items()
    }
    return f'cxrPlots({number}, {json.dumps(_rounded(curves), separators=(",", ":"))});\n'


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return int(value) if value.is_integer() else float(f'{value:.6g}')
    if isinstance(value, dict):
        return {key: _rounded(content) for key, content in value.items()}
    return [_rounded(content) for content in value] if isinstance(value, list | tuple) else value


def time_series(
    runs: Iterable[tuple[str, str, dict[str, dict[str, list[Any]]]]], slice_title: str
) -> list[dict[str, Any]]:
    """The metrics of one slice in several runs, over time.

    Args:
      runs: (name of the run, name of its data, slices of `overview.summary`), oldest first.
      slice_title: title of the slice.
    """
    series = []
    for name, data, slices in runs:
        cells = {
            metric: cell(Figure(*figure[:3]))
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
