"""The page on what the Evaluator measured: the gate, figures with intervals, curves, and TFMA's own
elements.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

from markupsafe import Markup

from pages import charts, names, tfma_ui
from pages.measured import (
    BASELINE,
    CANDIDATE,
    DIFFERENCE,
    Bin,
    Evaluation,
    Figure,
    Slice,
    parameters,
)
from pages.runs import Run
from pages.store import CACHED
from pipeline import metrics as gate_metrics
from pipeline.evaluation_parameters import METRICS
from schemas.features import UNKNOWN
from schemas.signatures import PROBABILITY

GAP = 'sensitivity_gap_'
# Beside the number of films, what the table of slices shows.
_SLICE_COLUMNS = ('auc', 'pr_auc', 'sensitivity', 'specificity', 'precision', 'calibration_error')
_MODELS = ((CANDIDATE, 'this model', 0), (BASELINE, 'served model', 1))


@dataclasses.dataclass(frozen=True)
class Condition:
    """A condition of the gate and how the model stands to it; `note` says why there is no
    margin.
    """

    metric: str
    slice: str
    value: str
    asked: str
    passed: bool
    margin: str
    note: str


def conditions(evaluation: Evaluation) -> list[Condition]:
    """The conditions of the gate with what was measured, those that failed in front."""
    rows = []
    for verdict in gate_metrics.verdicts(parameters(evaluation), evaluation.folder):
        title = names.slice_title(tuple(sorted(verdict.threshold.slice.items())))
        value = 'not defined' if verdict.value is None else f'{verdict.value:.4f}'
        margin = '' if verdict.margin is None else f'{verdict.margin:+.4f}'
        metric = names.metric(verdict.threshold.metric)
        rows.append(
            Condition(metric, title, value, verdict.bound, verdict.passed, margin, verdict.note)
        )
    return sorted(rows, key=lambda row: row.passed)


def refusals(evaluation: Evaluation) -> list[str]:
    """Why the gate did not bless the model, in sentences."""
    rows = [row for row in conditions(evaluation) if not row.passed]
    return [
        f'{row.metric} of {row.slice[0].lower()}{row.slice[1:]} is {row.value}, asked {row.asked}'
        + (f' ({row.margin or row.note})' if row.margin or row.note else '')
        for row in rows
    ]


def context(run: Run, evaluation: Evaluation) -> dict[str, Any]:
    """What the template evaluation.html shows."""
    task = run.task
    return {
        'conditions': conditions(evaluation),
        'has_baseline': evaluation.has_baseline,
        'baseline': baseline_words(run),
        'figures': _figures(evaluation),
        'slice_headings': [
            'Slice',
            '>Films',
            *(f'>{names.metric(name)}' for name in _SLICE_COLUMNS),
        ],
        'slices': [_slice_row(each) for each in evaluation.slices],
        'matrix_headings': [
            'Slice',
            '>True positives',
            '>False negatives',
            '>False positives',
            '>True negatives',
        ],
        'matrices': [
            _matrix_row(each) for each in evaluation.slices if CANDIDATE in each.confusion
        ],
        'group_headings': [
            'By',
            'Group',
            '>Positives',
            '>Of patients',
            '>Missed',
            '>Sensitivity',
            'In the gap',
        ],
        'groups': list(_group_rows(evaluation)),
        'confusion': evaluation.overall.confusion.get(CANDIDATE),
        'positive': task.positive if task else 'positive',
        'negative': task.negative if task else 'negative',
        'outputs': [_output(evaluation, output) for output in evaluation.outputs],
        'points': tfma_points(evaluation),
        'level': f'{100 * evaluation.level:.4g} %',
        'tfma': _tfma(evaluation),
    }


def baseline_words(run: Run) -> str:
    """What the candidate was compared with."""
    model = run.artifact('Baseline', 'model')
    if model is None:
        return 'It is not on record what was served when this run began.'
    version = model.properties.get('served_version')
    # A run that finds its evaluation in the cache began later.
    cached = run.executions['Baseline'].state == CACHED
    when = 'when the model was evaluated, in an earlier run' if cached else 'when this run began'
    if not version:
        return (
            f'Nothing was served {when}: there is no baseline, and what the gate asks of a '
            'comparison did not count.'
        )
    return (
        f'The baseline is the model that was served {when}, version {version}, on the same films.'
    )


def tfma_points(evaluation: Evaluation) -> int:
    """Films that the evaluation counted."""
    return round(evaluation.overall.figure('example_count').value or 0)


def plot_files(evaluation: Evaluation) -> dict[str, str]:
    """Name -> content of the scripts that the page loads when a slice is chosen."""
    return {
        f'{number}.js': tfma_ui.plot_file(number, each)
        for number, each in enumerate(evaluation.slices)
        if each.curves
    }


def _figures(evaluation: Evaluation) -> list[list[str]]:
    rows = []
    measured = {name for model, name in evaluation.overall.figures if model == CANDIDATE}
    for name in [
        *(name for name in names.METRICS if name in measured),
        *sorted(measured - set(names.METRICS)),
    ]:
        if name == 'example_count':
            continue
        found = [
            evaluation.overall.figures.get((model, name))
            for model in (CANDIDATE, BASELINE, DIFFERENCE)
        ]
        difference = found[2]
        cells = [figure.text() if figure else '–' for figure in found[:2]]
        cells.append(
            '–' if difference is None or difference.value is None else f'{difference.value:+.3f}'
        )
        better = {'higher': 'more', 'lower': 'less', 'one': 'at 1'}.get(METRICS.get(name, ''), '')
        note = left_out(evaluation, name)
        title = (
            Markup('{}<small>{}</small>').format(names.metric(name), note)
            if note
            else names.metric(name)
        )
        rows.append([title, *(cells if evaluation.has_baseline else cells[:1]), better])
    return rows


def left_out(evaluation: Evaluation, metric: str) -> str:
    """What a figure over all films leaves out, for people; '' when it leaves nothing out."""
    overall = evaluation.overall
    groups = overall.groups.get((CANDIDATE, metric.removeprefix(GAP)))
    if metric.startswith(GAP) and groups:
        return f'left out: {words}' if (words := groups.left_out_words()) else ''
    if metric == 'macro_auc':
        figures = {
            ((), name, ''): figure.value
            for (model, name), figure in overall.figures.items()
            if model == CANDIDATE
        }
        return gate_metrics.left_out_findings(
            {key: math.nan if value is None else value for key, value in figures.items()}
        )
    return ''


def _group_rows(evaluation: Evaluation) -> Iterator[list[str]]:
    for (model, by), groups in evaluation.overall.groups.items():
        for group in groups.groups if model == CANDIDATE else ():
            figure = Figure(group.sensitivity, group.lower, group.upper)
            counts = (f'{count:,}' for count in (group.positives, group.patients, group.missed))
            marked = ' (lowest)' if group == groups.worst() else ''
            inside = (
                'yes'
                if group.compared
                else 'no: not known'
                if group.name == UNKNOWN
                else f'no: fewer than {groups.min_positives}'
            )
            yield [names.group(by), group.name + marked, *counts, figure.text(), inside]


def _slice_row(each: Slice) -> list[str]:
    films = each.figure('example_count').value
    return [
        each.title,
        '–' if films is None else f'{round(films):,}',
        *(_cell(each.figure(name)) for name in _SLICE_COLUMNS),
    ]


def _cell(figure: Figure) -> str:
    """A figure in a table of many columns: the interval stands below."""
    interval = figure.interval()
    return (
        figure.text()
        if figure.value is None or not interval
        else Markup('{:.3f}<small>{}</small>').format(figure.value, interval)
    )


def _matrix_row(each: Slice) -> list[str]:
    one = each.confusion[CANDIDATE]
    return [
        each.title,
        *(
            f'{n:,}'
            for n in (
                one.true_positives,
                one.false_negatives,
                one.false_positives,
                one.true_negatives,
            )
        ),
    ]


def _output(evaluation: Evaluation, output: str) -> dict[str, Any]:
    overall = evaluation.overall
    title = 'Probability of the task' if output == PROBABILITY else names.label(output)
    roc: list[charts.Line | charts.Dots | charts.Mark] = []
    recall: list[charts.Line | charts.Dots | charts.Mark] = []
    dots: list[charts.Line | charts.Dots | charts.Mark] = []
    for model, words, number in _MODELS:
        curves = overall.curves.get((model, output))
        if curves is None:
            continue
        if points := charts.roc(curves.matrices):
            roc.append(charts.Line(words, points, number))
        if points := charts.precision_recall(curves.matrices):
            recall.append(charts.Line(words, points, number))
        if bins := overall.reliability.get((model, output)):
            dots.append(charts.Dots(words, [_dot(one) for one in bins], number))
    confusion = overall.confusion.get(CANDIDATE)
    if output == PROBABILITY and confusion and confusion.positives and confusion.negatives and roc:
        sensitivity = confusion.true_positives / confusion.positives
        roc.append(
            charts.Mark(
                'operating point', confusion.false_positives / confusion.negatives, sensitivity
            )
        )
        if flagged := confusion.true_positives + confusion.false_positives:
            recall.append(
                charts.Mark('operating point', sensitivity, confusion.true_positives / flagged)
            )
    return {
        'title': title,
        'roc': charts.plot(
            f'ROC of {title}', ('1 − specificity', 'sensitivity'), roc, diagonal=True
        )
        if roc
        else Markup(''),
        'recall': charts.plot(f'Precision and recall of {title}', ('recall', 'precision'), recall)
        if recall
        else Markup(''),
        'reliability': charts.plot(
            f'Reliability of {title}', ('probability', 'share of positives'), dots, diagonal=True
        )
        if dots
        else Markup(''),
        'auc': overall.figure('auc' if output == PROBABILITY else f'{output}_auc').text(),
    }


def _dot(one: Bin) -> tuple[float, float, float, float, str]:
    words = f'{one.films:,} films: {one.share:.3f} ({one.lower:.3f} – {one.upper:.3f})'
    return one.mean_probability, one.share, one.lower, one.upper, words


def _tfma(evaluation: Evaluation) -> dict[str, Any]:
    """What tfma_page.js reads."""
    slices = [
        {'title': each.title, 'number': number}
        for number, each in enumerate(evaluation.slices)
        if each.curves
    ]
    keys = dict.fromkeys(
        f'{model}|{output}' for each in evaluation.slices for model, output in each.curves
    )
    models = {model: words for model, words, _ in _MODELS}
    ordered = sorted(
        keys,
        key=lambda key: (
            evaluation.outputs.index(key.partition('|')[2]),
            key.partition('|')[0] != CANDIDATE,
        ),
    )
    plots = [
        {
            'key': key,
            'title': f'{names.label(key.partition("|")[2])}, {models.get(key.partition("|")[0], "")}',
        }
        for key in ordered
    ]
    return {
        'config': {'weightedExamplesColumn': tfma_ui.FILMS},
        'data': tfma_ui.slicing_metrics(evaluation),
        'slices': slices,
        'plots': plots,
    }
