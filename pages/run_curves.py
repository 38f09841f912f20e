"""The curves of a run, in a script that the comparison page loads when the run is selected.

A script, because a page that was opened from disk may not fetch JSON.
"""

from __future__ import annotations

import json
import math
from typing import Any

from components.evaluator import curves
from components.evaluator.results import CANDIDATE
from pages import names, training_page
from pages.measured import Evaluation
from pages.runs import Run

FILE = 'curves.js'
_DIGITS = 5


def content(run: Run, evaluation: Evaluation | None) -> dict[str, Any]:
    """The curves of a run; a part without any is empty.

    Args:
      run: the run.
      evaluation: None if the run did not finish its Evaluator.

    Returns:
      `roc`: output -> points (1 - specificity, sensitivity) over all test images; `reliability`:
      output -> bins (mean probability, share of positives, lower end, upper end, images);
      `training`: phase -> columns of the history, among them `epoch`, from 1.
    """
    roc, reliability = _measured(evaluation) if evaluation else ({}, {})
    return _rounded({'roc': roc, 'reliability': reliability, 'training': _training(run)})


def script(slug: str, curves_of_run: dict[str, Any]) -> str:
    """The script with `content`: it calls a function that the comparison page defines."""
    text = json.dumps(curves_of_run, separators=(',', ':')).replace('</', '<\\/')
    return f'cxrCurves({json.dumps(slug)}, {text});\n'


def _measured(evaluation: Evaluation) -> tuple[dict[str, Any], dict[str, Any]]:
    roc, reliability = {}, {}
    overall = evaluation.overall
    for output in evaluation.outputs:
        title = names.output(output)
        measured = overall.curves.get((CANDIDATE, output))
        if measured and (points := curves.roc(measured.matrices)):
            roc[title] = points
        if bins := overall.reliability.get((CANDIDATE, output)):
            reliability[title] = [
                (item.mean_probability, item.share, item.lower, item.upper, item.images)
                for item in bins
            ]
    return roc, reliability


def _training(run: Run) -> dict[str, dict[str, list[Any]]]:
    phases: dict[str, dict[str, list[Any]]] = {}
    for row in training_page.history(run):
        columns = phases.setdefault(str(row['phase']), {'epoch': []})
        columns['epoch'].append(int(row['epoch']) + 1)
        for _, *figures in training_page.CURVES:
            for name in figures:
                columns.setdefault(name, []).append(row.get(name))
    return phases


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        # JSON has no NaN.
        return round(value, _DIGITS) if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _rounded(part) for key, part in value.items()}
    return [_rounded(part) for part in value] if isinstance(value, list | tuple) else value
