"""Combines run records, logs and the metadata store into the runs of a root and their states."""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
from pathlib import Path
from typing import Any

from pages.store import (
    CACHED,
    COMPLETE,
    FAILED,
    Artifact,
    Execution,
    Store,
    StoredRun,
)
from pipeline import run_record, steps
from pipeline.run_record import (
    INTERRUPTED,
    NOT_BLESSED,
    NOT_STARTED,
    PUSHED,
    RUNNING,
    SERVED,
    RunRecord,
)
from pipeline.run_root import RunRoot
from pipeline.steps import INGESTION, PUSHER, TRAINER
from trainer.artifacts import MODEL_INFO_FILE
from trainer.tasks import TASKS, Task

BROKEN = run_record.FAILED
# Not in run records: a killed run could not record this.
KILLED = 'killed'
# A run without a record that did not finish.
STOPPED = 'stopped half way'
# State -> (mark, style): marks, so that colour alone never carries information.
MARKS = {
    PUSHED: ('✓', 'good'),
    SERVED: ('✓', 'good'),
    NOT_BLESSED: ('✗', 'bad'),
    BROKEN: ('✗', 'bad'),
    KILLED: ('■', 'soft'),
    INTERRUPTED: ('■', 'soft'),
    STOPPED: ('■', 'soft'),
    RUNNING: ('…', 'soft'),
    NOT_STARTED: ('✗', 'bad'),
}
_NO_RECORD = 'this run has no record'
_DONE = (COMPLETE, CACHED)


@dataclasses.dataclass(frozen=True)
class Run:
    """A run.

    Attributes:
      root: the run root.
      store: the metadata store of the root.
      name: the name in the metadata store, which is the start time.
      slug: the name of the folder with its pages.
      pipeline: the name of the pipeline.
      state: a key of `MARKS`.
      reasons: why no model was pushed, in sentences; empty if one was.
      executions: step -> its execution, for the steps that started.
      log: the log file; None if it no longer exists.
      versions: package -> version in this run; empty without a record.
      display_name: the name that a person gave the run, or ''.
      note: what that person wrote about it, or ''.
      settings: the configuration in the record; empty without one.
    """

    root: Path
    store: Store
    name: str
    slug: str
    pipeline: str
    state: str
    reasons: tuple[str, ...]
    executions: dict[str, Execution]
    log: Path | None
    versions: dict[str, str] = dataclasses.field(default_factory=dict)
    display_name: str = ''
    note: str = ''
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def began(self) -> datetime.datetime | None:
        """The start time; None if the name of the run is not a time."""
        return _time(self.name)

    @property
    def title(self) -> str:
        """The start time as text, or the name."""
        return f'{self.began:%Y-%m-%d %H:%M:%S}' if self.began else self.name

    @property
    def label(self) -> str:
        """The given name, if any, and the start time: runs can share a name."""
        return f'{self.display_name} {self.title}'.strip()

    @property
    def seconds(self) -> float | None:
        """The time from the start of the run to the end of its last step."""
        executions = self.executions.values()
        ended = [execution.ended for execution in executions]
        began = self.began or min((execution.started for execution in executions), default=None)
        return (max(ended) - began).total_seconds() if ended and began else None

    @property
    def missing(self) -> list[str]:
        """The steps that the run did not reach."""
        return [step for step in steps.REQUIRED if step not in self.executions]

    def failed_at(self, step: str) -> bool:
        """Whether the run reached a step and the step failed."""
        return step in self.executions and self.executions[step].state == FAILED

    @property
    def task(self) -> Task | None:
        """The task; None if the run did not reach ingestion, which records the task."""
        parameters = self.parameters(INGESTION.name)
        return TASKS.get(str(parameters.get('task', '')))

    @property
    def class_names(self) -> dict[str, str]:
        """What the task calls the classes `positive` and `negative`."""
        positive, negative = (
            (self.task.positive, self.task.negative) if self.task else ('positive', 'negative')
        )
        return {'positive': positive, 'negative': negative}

    @property
    def model_info(self) -> dict[str, Any] | None:
        """What the Trainer recorded of its model; None if there is no such file."""
        return self.json(TRAINER.name, 'model', 'Format-Serving', MODEL_INFO_FILE)

    @property
    def config(self) -> dict[str, Any]:
        """The configuration, from the record or the Pusher; {} if neither has it."""
        if self.settings:
            return self.settings
        try:
            return json.loads(self.parameters(PUSHER.name)['push'])['config']
        except (KeyError, ValueError):
            return {}

    def parameters(self, step: str) -> dict[str, Any]:
        """The exec properties of a step; {} if the run did not reach it."""
        return self.executions[step].parameters if step in self.executions else {}

    def artifact(self, step: str, key: str) -> Artifact | None:
        """An output of a finished step; None if there is none."""
        execution = self.executions.get(step)
        if execution is None or execution.state not in _DONE:
            return None
        return next(iter(self.store.outputs(execution, key)), None)

    def path(self, step: str, key: str, *parts: str) -> str | None:
        """The path of an output or of a file in it; None if it does not exist."""
        artifact = self.artifact(step, key)
        path = os.path.join(artifact.path, *parts) if artifact else None
        return path if path and os.path.exists(path) else None

    def json(self, step: str, key: str, *parts: str) -> Any:
        """The content of a JSON file of an output; None if it does not exist."""
        path = self.path(step, key, *parts)
        if path is None:
            return None
        with open(path, encoding='utf-8') as file:
            return json.load(file)


def all_runs(store: Store) -> list[Run]:
    """The runs of a root, newest first.

    A run has a record, or executions in the metadata store, or both. An earlier version wrote no
    records: its runs are read from the store. Runs of that version that are not in the store have
    only a log.
    """
    records = run_record.read_all(store.root)
    logs = {path.stem: path for path in sorted(RunRoot(store.root).logs.glob('*.log'))}
    stored = {run.name: run for run in store.runs}
    runs, stamps = [], set()
    for name in [*stored, *(name for name in records if name not in stored)]:
        record = records.get(name)
        stamp = Path(record.log).stem if record else _stamp(name)
        log = logs.get(stamp)
        stamps.add(stamp)
        runs.append(_run(store, name, stored.get(name), record, log))
    for stamp, log in logs.items():
        if stamp not in stamps and (began := _from_stamp(stamp)):
            run = _run(store, began.isoformat(), None, None, log)
            reason = f'{_NO_RECORD} and is not in the metadata store; see its log {log}'
            runs.append(dataclasses.replace(run, state=NOT_STARTED, reasons=(reason,)))
    return sorted(
        runs, key=lambda run: (run.began or datetime.datetime.min, run.name), reverse=True
    )


def _run(
    store: Store, name: str, stored: StoredRun | None, record: RunRecord | None, log: Path | None
) -> Run:
    run = Run(
        store.root,
        store,
        name,
        run_record.run_id(name),
        stored.pipeline if stored else '',
        STOPPED,
        (),
        stored.executions if stored else {},
        log,
    )
    if record:
        recorded = ('pipeline', 'versions', 'display_name', 'note', 'settings')
        run = dataclasses.replace(run, **{field: getattr(record, field) for field in recorded})
    state, reasons = _recorded_ending(run, record) if record else _stored_ending(run)
    return dataclasses.replace(run, state=state, reasons=tuple(reasons))


def _recorded_ending(run: Run, record: RunRecord) -> tuple[str, list[str]]:
    if record.state != RUNNING:
        return record.state, record.reasons
    if record.is_running(str(run.root)):
        since = record.started.replace('T', ' ').partition('.')[0]
        return RUNNING, [
            f'process {record.pid} on {record.host}, since {since}, is at {record.step or "work"}'
        ]
    is_over = record.steps.get(record.step, {}).get('state') in ('ran', 'cached')
    where = (
        'before its first step'
        if not record.step
        else f'{"after" if is_over else "in"} {record.step}'
    )
    return KILLED, [
        f'it ended {where}: it was killed, or memory ran out. Run the same command again to resume.'
    ]


def _stored_ending(run: Run) -> tuple[str, list[str]]:
    """The state of a run without a record, from its executions."""
    failed = [
        step
        for step, execution in run.executions.items()
        if execution.state not in (*_DONE, 'RUNNING', 'NEW')
    ]
    if failed:
        return BROKEN, [f'{failed[-1]} failed; {_NO_RECORD}, its log says why']
    pushed = run.artifact(PUSHER.name, 'pushed_model')
    if pushed is None:
        states = {step: execution.state for step, execution in run.executions.items()}
        finished = [step for step, state in states.items() if state in _DONE]
        last = next((step for step, state in states.items() if state not in _DONE), None)
        where = (
            f'in {last}'
            if last
            else f'after {finished[-1]}'
            if finished
            else 'before its first step'
        )
        return STOPPED, [f'it ended {where}; {_NO_RECORD}, its log may say why']
    if not pushed.properties.get('pushed'):
        return NOT_BLESSED, [f'{_NO_RECORD}; its evaluation page shows the gate']
    cached = run.executions[PUSHER.name].state == CACHED or pushed.properties.get('already_served')
    return (SERVED if cached else PUSHED), []


def _time(name: str) -> datetime.datetime | None:
    try:
        return datetime.datetime.fromisoformat(name)
    except ValueError:
        return None


def _stamp(name: str) -> str:
    began = _time(name)
    return f'{began:%Y%m%d-%H%M%S}' if began else ''


def _from_stamp(stamp: str) -> datetime.datetime | None:
    try:
        return datetime.datetime.strptime(stamp, '%Y%m%d-%H%M%S')
    except ValueError:
        return None
