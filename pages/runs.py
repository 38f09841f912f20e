"""The runs of a root as a person asks for them: when, what, how it ended and why."""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
import re
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
from pipeline import root_lock, steps
from trainer.tasks import TASKS, Task

PUSHED, SERVED, REFUSED, BROKEN, STOPPED, RUNNING, NOT_STARTED = (
    'pushed',
    'served already',
    'not blessed',
    'failed',
    'stopped half way',
    'running',
    'did not start',
)
# State -> (mark, kind): what is told by colour is told by mark and word too.
MARKS = {
    PUSHED: ('✓', 'good'),
    SERVED: ('✓', 'good'),
    REFUSED: ('✗', 'bad'),
    BROKEN: ('✗', 'bad'),
    STOPPED: ('■', 'soft'),
    RUNNING: ('…', 'soft'),
    NOT_STARTED: ('✗', 'bad'),
}
_DONE = (COMPLETE, CACHED)


@dataclasses.dataclass(frozen=True)
class Run:
    """A run.

    Attributes:
      name: as in the metadata store: the time at which it began.
      slug: names its folder.
      state: one of `MARKS`.
      reasons: why it was not pushed, in sentences; empty when it was.
      executions: step -> its execution, as far as it came.
      log: the file with all messages; None where it is gone.
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

    @property
    def began(self) -> datetime.datetime | None:
        """When it began; None for a name that is no time."""
        return _time(self.name)

    @property
    def title(self) -> str:
        """The run for people."""
        return f'{self.began:%Y-%m-%d %H:%M:%S}' if self.began else self.name

    @property
    def seconds(self) -> float | None:
        """From its beginning to the end of its last step."""
        ended = [one.ended for one in self.executions.values()]
        began = self.began or min((one.started for one in self.executions.values()), default=None)
        return (max(ended) - began).total_seconds() if ended and began else None

    @property
    def missing(self) -> list[str]:
        """Steps that it did not come to."""
        return [step for step in steps.REQUIRED if step not in self.executions]

    def failed_at(self, step: str) -> bool:
        """Whether it ended in a step that failed."""
        return step in self.executions and self.executions[step].state == FAILED

    @property
    def task(self) -> Task | None:
        """What it learns; None where it did not come so far as to say."""
        parameters = self.parameters('XrayExampleGen')
        return TASKS.get(str(parameters.get('task', '')))

    @property
    def config(self) -> dict[str, Any]:
        """Its configuration; {} when it did not come to the Pusher, which has it on record."""
        try:
            return json.loads(self.parameters('Pusher')['push'])['config']
        except (KeyError, ValueError):
            return {}

    def parameters(self, step: str) -> dict[str, Any]:
        """The exec properties of a step; {} where it did not come to it."""
        return self.executions[step].parameters if step in self.executions else {}

    def artifact(self, step: str, key: str) -> Artifact | None:
        """An output of a step that is done; None where there is none."""
        execution = self.executions.get(step)
        if execution is None or execution.state not in _DONE:
            return None
        return next(iter(self.store.outputs(execution, key)), None)

    def path(self, step: str, key: str, *parts: str) -> str | None:
        """Where an output, or a file in it, lies; None where it is not there."""
        artifact = self.artifact(step, key)
        path = os.path.join(artifact.path, *parts) if artifact else None
        return path if path and os.path.exists(path) else None

    def json(self, step: str, key: str, *parts: str) -> Any:
        """The content of a JSON file of an output; None where it is not there."""
        path = self.path(step, key, *parts)
        if path is None:
            return None
        with open(path, encoding='utf-8') as file:
            return json.load(file)


def all_runs(store: Store) -> list[Run]:
    """The runs of a root, newest first, with those that ended before anything came into the
    store.
    """
    logs = {path.stem: path for path in sorted((store.root / 'logs').glob('*.log'))}
    owner = root_lock.owner(str(store.root))
    found = []
    for number, stored in enumerate(store.runs):
        log = logs.pop(stamp, None) if (stamp := _stamp(stored.name)) else None
        found.append(_run(store, stored, log, owner if number == len(store.runs) - 1 else None))
    for stamp, log in logs.items():
        reason = failure(_tail(log))
        began = _from_stamp(stamp)
        # A log of a run that is about to begin says nothing yet.
        if reason and began:
            name = began.isoformat()
            found.append(
                Run(store.root, store, name, _slug(name), '', NOT_STARTED, (reason,), {}, log)
            )
    return sorted(
        found, key=lambda run: (run.began or datetime.datetime.min, run.name), reverse=True
    )


def _run(store: Store, stored: StoredRun, log: Path | None, owner: str | None) -> Run:
    run = Run(
        store.root,
        store,
        stored.name,
        _slug(stored.name),
        stored.pipeline,
        STOPPED,
        (),
        stored.executions,
        log,
    )
    state, reasons = _ending(run, log, owner)
    return dataclasses.replace(run, state=state, reasons=tuple(reasons))


def _ending(run: Run, log: Path | None, owner: str | None) -> tuple[str, list[str]]:
    broken = [
        step for step, one in run.executions.items() if one.state not in (*_DONE, 'RUNNING', 'NEW')
    ]
    if broken:
        reason = failure(_tail(log)) if log else ''
        return BROKEN, [f'{broken[-1]} failed' + (f': {reason}' if reason else '; its log is gone')]
    pushed = run.artifact('Pusher', 'pushed_model')
    if pushed is None:
        if owner is not None:
            last = next(
                (step for step, one in run.executions.items() if one.state not in _DONE), ''
            )
            return RUNNING, [f'{owner}, is at {last or "work"}']
        reason = failure(_tail(log)) if log else ''
        done = [step for step, one in run.executions.items() if one.state in _DONE]
        at = next((step for step, one in run.executions.items() if one.state not in _DONE), None)
        where = f'in {at}' if at else f'after {done[-1]}' if done else 'before its first step'
        return STOPPED, [
            f'it ended {where}'
            + (
                f': {reason}'
                if reason
                else ', killed or interrupted; the same command goes on from there'
            )
        ]
    if not pushed.properties.get('pushed'):
        return REFUSED, []
    cached = run.executions['Pusher'].state == CACHED or pushed.properties.get('already_served')
    return (SERVED if cached else PUSHED), []


def failure(log: str) -> str:
    """What ended a run, out of its log; '' where it says nothing of the kind."""
    _, found, text = log.rpartition('cxr_triage: run failed')
    if not found:
        return ''
    parts = re.split(
        r'\n+The above exception was the direct cause of the following exception:\n+', text
    )
    # The last one says which step it was, which is known.
    part = parts[-2] if len(parts) > 1 and 'StepError: step ' in parts[-1] else parts[-1]
    _, _, trace = part.rpartition('Traceback (most recent call last):')
    lines = trace.strip('\n').splitlines()
    while lines and lines[0].startswith(' '):
        del lines[0]
    kept = []
    for line in lines:
        # The next record of the log.
        if re.match(r'\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d+ [A-Z] ', line):
            break
        kept.append(line)
    return re.sub(
        r'^[A-Za-z_][\w.]*(?:Error|Exception|Interrupt)\w*: ', '', '\n'.join(kept).strip()
    )


def _tail(path: Path, size: int = 1 << 18) -> str:
    with path.open('rb') as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(0, file.tell() - size))
        return file.read().decode('utf-8', 'replace')


def _slug(name: str) -> str:
    return re.sub(r'[^0-9A-Za-z]+', '-', name).strip('-') or 'run'


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
