"""The evaluation page: the gate, metrics with intervals, curves, and TFMA's own views."""

from __future__ import annotations

import dataclasses
from typing import Any

from markupsafe import Markup

from components.evaluator import curves as curves_lib
from components.evaluator import predictions, registry
from components.evaluator.figure import Figure
from components.evaluator.results import BASELINE, CANDIDATE, DIFFERENCE, NO_NUMBERS, Bin, Slice
from pages import charts, group_plots, label_sources, names, tfma_ui
from pages.measured import Evaluation
from pages.runs import Run
from pages.store import CACHED
from pipeline import metrics as gate_metrics
from pipeline import steps
from schemas.signatures import PROBABILITY

_MODELS = ((CANDIDATE, 'this model', 0), (BASELINE, 'served model', 1))
_Series = list[charts.Line | charts.Dots | charts.Mark]


@dataclasses.dataclass(frozen=True)
class Condition:
    """A condition of the gate and its verdict, as text.

    `note` says why there is no margin, `covers` which groups a gap compares.
    """

    metric: str
    slice: str
    value: str
    required: str
    passed: bool
    margin: str
    note: str
    covers: str


def conditions(evaluation: Evaluation) -> list[Condition]:
    """The conditions of the gate with the measured values, failed ones first."""
    rows = []
    for verdict in gate_metrics.verdicts(evaluation.thresholds, evaluation):
        slice_title = names.slice_title(tuple(sorted(verdict.threshold.slice.items())))
        value = Figure(verdict.value).value_text(4)
        margin = '' if verdict.margin is None else f'{verdict.margin:+.4f}'
        metric = registry.title(verdict.threshold.metric)
        rows.append(
            Condition(
                metric,
                slice_title,
                value,
                verdict.bound,
                verdict.passed,
                margin,
                verdict.note,
                verdict.covers,
            )
        )
    return sorted(rows, key=lambda row: row.passed)


def context(run: Run, evaluation: Evaluation) -> dict[str, Any]:
    """The values of the template evaluation.html."""
    overall = evaluation.overall
    return {
        'conditions': conditions(evaluation),
        'has_baseline': evaluation.has_baseline,
        'baseline': baseline_text(run),
        'has_predictions': bool(predictions.paths(evaluation.folder)),
        'metrics': _metric_rows(evaluation),
        'slice_headings': [
            'Slice',
            '>Images',
            *(f'>{registry.title(name)}' for name in registry.PER_SLICE),
        ],
        'slices': [_slice_row(measured) for measured in evaluation.slices],
        'forests': group_plots.forests(evaluation),
        'few': group_plots.min_positives(overall),
        'no_figures': '' if overall.gives_numbers() else f'No figures: {NO_NUMBERS}.',
        'confusion': overall.confusion.get(CANDIDATE) if overall.gives_numbers() else None,
        **run.class_names,
        'outputs': [output(evaluation, name) for name in evaluation.outputs]
        if overall.gives_numbers()
        else [],
        'images': count(overall, registry.IMAGES),
        'not_assessed': count(overall, registry.NOT_ASSESSED),
        'level': f'{100 * evaluation.level:.4g} %',
        'sources': label_sources.context(evaluation),
        'tfma': _tfma(evaluation),
    }


def baseline_text(run: Run) -> str:
    """A sentence about the baseline of a run."""
    model = run.artifact(steps.BASELINE.name, 'model')
    if model is None:
        return 'There is no record of the version that was served when this run began.'
    version = model.properties.get('served_version')
    # A run with a cached evaluation began after that evaluation.
    cached = run.executions[steps.BASELINE.name].state == CACHED
    when = 'when the model was evaluated, in an earlier run' if cached else 'when this run began'
    if not version:
        return (
            f'No model was served {when}, so there is no baseline, and conditions on a comparison '
            'do not count.'
        )
    return (
        f'The baseline is version {version}, which was served {when}; it was evaluated on the same '
        'images.'
    )


def count(measured: Slice, name: str) -> int | None:
    """A count of images; None if the evaluation does not have it."""
    value = measured.value(name)
    return None if value is None else round(value)


def plot_files(evaluation: Evaluation) -> dict[str, str]:
    """File name -> content, for the scripts that the page loads when a user selects a slice."""
    return {
        f'{number}.js': tfma_ui.plot_file(number, measured)
        for number, measured in enumerate(evaluation.slices)
        if measured.curves
    }


def _metric_rows(evaluation: Evaluation) -> list[list[str]]:
    overall, rows = evaluation.overall, []
    for name in overall.names():
        if name in registry.COUNTS:
            continue
        metric = registry.METRICS.get(name)
        title: str = registry.title(name)
        is_gap = metric is not None and metric.is_gap
        if note := group_plots.gap_text(overall, name) if is_gap else overall.covers(name):
            title = Markup('{}<small class="wrap">{}</small>').format(title, note)
        if reason := overall.says_nothing(name):
            rows.append([title, *_left_out(reason, evaluation), metric.better if metric else ''])
            continue
        cells = [overall.figure(name).text()]
        if evaluation.has_baseline:
            difference = overall.value(name, DIFFERENCE)
            cells += [
                overall.figure(name, BASELINE).text()
                if overall.is_measured(name, BASELINE)
                else '–',
                '–' if difference is None else f'{difference:+.3f}',
            ]
        rows.append([title, *cells, metric.better if metric else ''])
    return rows


def _left_out(reason: str, evaluation: Evaluation) -> list[str]:
    """The cells of a metric that says nothing."""
    return [f'– ({reason})', *(['–', '–'] if evaluation.has_baseline else [])]


def _slice_row(measured: Slice) -> list[str]:
    title, images = names.slice_title(measured.key), count(measured, registry.IMAGES)
    if only := measured.only_class():
        title = Markup('{}<small>all {}</small>').format(title, only)
    cells = (_cell(measured, name) for name in registry.PER_SLICE)
    return [title, '–' if images is None else f'{images:,}', *cells]


def _cell(measured: Slice, name: str) -> str:
    """A metric for a table with many columns: below the value its interval and its counts."""
    figure, counts = measured.figure(name), measured.confusion.get(CANDIDATE)
    if measured.says_nothing(name) or (figure.value is None and measured.only_class()):
        # The first cell of the row gives the reason, and a sentence above the table.
        return '–'
    if figure.value is None:
        return Markup('–<small class="wrap">{}</small>').format(figure.text())
    lines = [figure.interval()]
    if counts and name == 'sensitivity':
        lines.append(f'{counts.false_negatives:,} of {counts.positives:,} missed')
    if counts and name == 'specificity':
        lines.append(f'{counts.false_positives:,} of {counts.negatives:,} flagged')
    smalls = (Markup('<small>{}</small>').format(line) for line in lines if line)
    return Markup('{}{}').format(figure.value_text(), Markup('').join(smalls))


def output(evaluation: Evaluation, name: str) -> dict[str, Any]:
    """The plots of an output of the model over all images; empty where there is no curve."""
    overall, is_task = evaluation.overall, name == PROBABILITY
    title = names.output(name)
    roc: _Series = []
    recall: _Series = []
    dots: _Series = []
    for model, series, number in _MODELS:
        curves = overall.curves.get((model, name))
        if curves is None:
            continue
        if points := curves_lib.roc(curves.matrices):
            roc.append(charts.Line(series, points, number))
        if points := curves_lib.precision_recall(curves.matrices):
            recall.append(charts.Line(series, points, number))
        if bins := overall.reliability.get((model, name)):
            dots.append(charts.Dots(series, [_dot(item) for item in bins], number))
    if is_task and roc:
        _add_operating_point(overall, roc, recall)
    return {
        'title': title,
        'roc': _plot(f'ROC of {title}', ('1 − specificity', 'sensitivity'), roc, diagonal=True),
        'recall': _plot(f'Precision and recall of {title}', ('recall', 'precision'), recall),
        'reliability': _plot(
            f'Reliability of {title}', ('probability', 'share of positives'), dots, diagonal=True
        ),
        'auc': overall.figure('auc' if is_task else f'{name}_auc').text(),
    }


def _plot(title: str, axes: tuple[str, str], series: _Series, diagonal: bool = False) -> Markup:
    return charts.plot(title, axes, series, diagonal=diagonal) if series else Markup('')


def _add_operating_point(overall: Slice, roc: _Series, recall: _Series) -> None:
    confusion = overall.confusion.get(CANDIDATE)
    if not confusion or not confusion.positives or not confusion.negatives:
        return
    sensitivity = confusion.true_positives / confusion.positives
    false_alarms = confusion.false_positives / confusion.negatives
    roc.append(charts.Mark('operating point', false_alarms, sensitivity))
    if confusion.flagged:
        precision = confusion.true_positives / confusion.flagged
        recall.append(charts.Mark('operating point', sensitivity, precision))


def _dot(item: Bin) -> tuple[float, float, float, float, str]:
    tooltip = f'{item.images:,} images: {Figure(item.share, item.lower, item.upper).text()}'
    return item.mean_probability, item.share, item.lower, item.upper, tooltip


def _tfma(evaluation: Evaluation) -> dict[str, Any]:
    """The data for tfma_page.js."""
    models = {model: name for model, name, _ in _MODELS}
    plots = dict.fromkeys(plot for measured in evaluation.slices for plot in measured.curves)
    ordered = sorted(
        plots,
        key=lambda plot: (evaluation.outputs.index(plot[1]), plot[0] != CANDIDATE),
    )
    return {
        'config': {'weightedExamplesColumn': registry.title(registry.IMAGES)},
        'data': tfma_ui.slicing_metrics(evaluation),
        'slices': [
            {'title': names.slice_title(measured.key), 'number': number}
            for number, measured in enumerate(evaluation.slices)
            if measured.curves
        ],
        'plots': [
            {
                'key': f'{model}|{output}',
                'title': f'{names.label(output)}, {models.get(model, "")}',
            }
            for model, output in ordered
        ],
    }
