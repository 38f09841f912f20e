"""The training page: the curves, and the folder that TensorBoard reads."""

from __future__ import annotations

import csv
import math
import os
from typing import Any

from pages import charts
from pages.runs import Run
from pages.store import CACHED
from pipeline.run_root import RunRoot
from pipeline.steps import TRAINER, TUNER
from trainer.artifacts import HISTORY_FILE, START

# The curves: (title, column for train, column for val) of the trainer's history.
CURVES = (('Loss', 'loss', 'val_loss'), ('AUC', 'auc', 'val_auc'))
_PHASE, _EPOCH = 'phase', 'epoch'


def context(run: Run) -> dict[str, Any]:
    """The values of the template training.html."""
    rows, own = history(run), folder(run)
    logs = os.path.join(own, 'logs') if own else ''
    return {
        'rows': rows,
        'is_finished': run.artifact(TRAINER.name, 'model_run') is not None,
        'plots': _plots(rows),
        'headings': [_PHASE, _EPOCH, *(f'>{name}' for name in _figures(rows))],
        'table': [
            [row[_PHASE], int(row[_EPOCH]) + 1, *(_cell(row.get(name)) for name in _figures(rows))]
            for row in rows
        ],
        'logs': os.path.relpath(logs, run.root) if os.path.exists(logs) else None,
        'is_cached': TRAINER.name in run.executions
        and run.executions[TRAINER.name].state == CACHED,
        'model': run.model_info,
        'tuner': run.json(TUNER.name, 'best_hyperparameters', 'best_hyperparameters.txt'),
    }


def history(run: Run) -> list[dict[str, Any]]:
    """The rows of the history, one per epoch; of a training that did not finish, those so far."""
    own = folder(run)
    path = os.path.join(own, HISTORY_FILE) if own else ''
    if not os.path.exists(path):
        return []
    with open(path, encoding='utf-8', newline='') as file:
        return [
            {key: value if key == _PHASE else _number(value) for key, value in row.items()}
            for row in csv.DictReader(file)
        ]


def folder(run: Run) -> str | None:
    """The folder with history and logs; None if the run did not reach training."""
    artifact = run.artifact(TRAINER.name, 'model_run')
    if artifact:
        return artifact.path
    if TRAINER.name not in run.executions:
        return None
    # The store has no outputs of a step that did not finish, but a kill leaves their folders.
    execution = run.executions[TRAINER.name].id
    return str(RunRoot(run.root).artifacts / TRAINER.name / 'model_run' / str(execution))


def _figures(rows: list[dict[str, Any]]) -> list[str]:
    return [
        name
        for name in dict.fromkeys(key for row in rows for key in row)
        if name not in (_PHASE, _EPOCH)
    ]


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _cell(value: Any) -> str:
    return '' if not isinstance(value, float) or math.isnan(value) else f'{value:.5g}'


def _plots(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    plots = []
    # The start of a warm start is one figure, no curve: the table has it.
    for phase in dict.fromkeys(row[_PHASE] for row in rows if row[_PHASE] != START):
        own = [row for row in rows if row[_PHASE] == phase]
        for title, train, val in CURVES:
            series: list[charts.Line | charts.Dots | charts.Mark] = []
            values: list[float] = []
            for number, (name, split) in enumerate(((train, 'train'), (val, 'val'))):
                points = [
                    (row[_EPOCH] + 1, row[name])
                    for row in own
                    if not math.isnan(row.get(name, math.nan))
                ]
                if points:
                    series.append(charts.Line(split, points, number))
                    values += [y for _, y in points]
            if series:
                last = max(row[_EPOCH] for row in own) + 1
                # The head has no epochs, but one regression for each penalty.
                x_title = 'penalty, strongest first' if phase == 'head' else 'epoch'
                svg = charts.plot(
                    f'{title} by {x_title}, phase {phase}',
                    (x_title, title),
                    series,
                    (0, max(last, 2)),
                    charts.nice_range(values, title == 'Loss'),
                    whole=True,
                )
                plots.append({'svg': svg, 'caption': f'{title}, phase "{phase}"'})
    return plots
