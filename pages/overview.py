"""The overview page of a run (steps, outputs, gates) and its summary for the front page."""

from __future__ import annotations

import dataclasses
import json
from typing import Any, cast

import tensorflow as tf

from components.evaluator import registry
from components.serving_check.executor import REPORT
from pages import data_page, lineage, names, verdict
from pages.measured import Evaluation
from pages.runs import Run
from pages.store import CACHED, COMPLETE, FAILED, Artifact
from pipeline import summary as step_summary
from pipeline.local_runner import Step
from pipeline.steps import DATA_GATE, EVALUATOR, INGESTION, SERVING_CHECK, TRAINER

_STATES = {COMPLETE: 'ran', CACHED: 'cached', FAILED: 'failed', 'RUNNING': 'began'}


@dataclasses.dataclass(frozen=True)
class _Output:
    """An artifact with the methods that `pipeline.summary` calls."""

    artifact: Artifact

    @property
    def uri(self) -> str:
        return self.artifact.path

    @property
    def split_names(self) -> str:
        return str(self.artifact.properties.get('split_names', '[]'))

    def get_int_custom_property(self, name: str) -> int:
        return int(self.artifact.properties.get(name, 0))

    def get_string_custom_property(self, name: str) -> str:
        return str(self.artifact.properties.get(name, ''))


def context(run: Run, evaluation: Evaluation | None, previous: Run | None) -> dict[str, Any]:
    """The values of the template run.html.

    Args:
      run: the run.
      evaluation: None if the run did not finish its Evaluator.
      previous: the run to compare settings with, see `verdict.previous`.
    """
    return {
        'verdict': verdict.context(run, evaluation, previous),
        'steps': [_step(run, name) for name in run.executions],
        'not_reached': run.missing,
        'gates': gates(run),
        'version': lineage.served_version(run),
        'duration': _duration(run.seconds),
        'log': str(run.log) if run.log else None,
        'backbone': _backbone(run),
        'task': run.task,
        'parameters': run.parameters(INGESTION.name),
    }


def gates(run: Run) -> list[dict[str, Any]]:
    """The three gates, each with its page and `passed` (None if the run did not reach the gate)."""
    data = data_page.gate(run)
    served = run.json(SERVING_CHECK.name, 'blessing', REPORT)
    return [
        {
            'name': 'Data gate',
            'passed': data['blessed'] if data else False if run.failed_at(DATA_GATE.name) else None,
            'page': 'data.html#gate',
        },
        {'name': EVALUATOR.name, 'passed': verdict.blessed(run), 'page': 'evaluation.html#gate'},
        {
            'name': 'Serving check',
            'passed': served['blessed'] if served else None,
            'page': 'lineage.html#steps',
        },
    ]


def summary(run: Run, evaluation: Evaluation | None) -> dict[str, Any]:
    """The values of a run for the front page and the comparison, as JSON values."""
    version = lineage.served_version(run)
    return {
        'slug': run.slug,
        'name': run.name,
        'title': run.title,
        'label': run.label,
        'display_name': run.display_name,
        'note': run.note,
        'pipeline': run.pipeline,
        'task': run.task.name if run.task else '',
        'backbone': _backbone(run),
        'state': run.state,
        'reasons': list(run.reasons),
        'version': version.version if version else '',
        'duration': _duration(run.seconds),
        'seconds': run.seconds,
        'gates': gates(run),
        'figures': _figures(evaluation),
        'evaluation': evaluation.folder if evaluation else '',
        'slices': _slices(evaluation),
        'facts': {},
    }


def _figures(evaluation: Evaluation | None) -> dict[str, list[str]]:
    """Metric -> [value, interval] over all images."""
    rows: dict[str, list[str]] = {}
    for name in registry.OVERVIEW:
        figure = evaluation.overall.figure(name) if evaluation else None
        if figure and figure.value is not None:
            rows[registry.title(name)] = [figure.value_text(), figure.interval()]
    return rows


def _slices(evaluation: Evaluation | None) -> dict[str, dict[str, list[Any]]]:
    """Slice -> metric -> [value, lower end, upper end, why there is no value]."""
    metrics = registry.of_kind('discrimination', 'calibration')
    slices = {}
    for measured in evaluation.slices if evaluation else ():
        figures = {
            name: measured.figure(name)
            for name in metrics
            if measured.is_measured(name) and not measured.says_nothing(name)
        }
        slices[names.slice_title(measured.key)] = {
            registry.title(name): [
                *map(_short, (figure.value, figure.lower, figure.upper)),
                figure.reason,
            ]
            for name, figure in figures.items()
        }
    return slices


def _short(value: float | None) -> float | None:
    return None if value is None else round(value, 5)


def _backbone(run: Run) -> str:
    try:
        return json.loads(json.loads(run.parameters(TRAINER.name)['custom_config'])['parameters'])[
            'model'
        ]['backbone']
    except (KeyError, ValueError):
        return str(run.config.get('model', {}).get('backbone', ''))


def _step(run: Run, name: str) -> dict[str, Any]:
    execution = run.executions[name]
    outputs = {
        key: [_Output(artifact) for artifact in run.store.outputs(execution, key)]
        for key in execution.outputs
    }
    output = ''
    if execution.state in (COMPLETE, CACHED):
        step = Step(name, _STATES[execution.state], execution.seconds, cast(Any, outputs))
        try:
            output = step_summary.result(step)
        except (OSError, ValueError, KeyError, tf.errors.OpError):
            output = 'its output no longer exists'
    duration = '' if execution.state == CACHED else f'{execution.seconds:.1f} s'
    return {
        'name': name,
        'state': _STATES.get(execution.state, execution.state.lower()),
        'duration': duration,
        'output': output,
    }


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return ''
    return (
        f'{seconds:.0f} s'
        if seconds < 120
        else f'{seconds / 60:.0f} min'
        if seconds < 7200
        else f'{seconds / 3600:.1f} h'
    )
