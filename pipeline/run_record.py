"""The run record, `<root>/runs/<id>.json`: the state of a run, its steps, and why it ended.

The run writes the record when it starts, at each step, and when it ends. Pages read the record, so
they do not have to parse logs.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import importlib.metadata
import json
import logging
import os
import platform
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from pipeline import root_lock
from pipeline.run_root import RunRoot

RUNNING, PUSHED, SERVED, NOT_BLESSED, FAILED, INTERRUPTED, NOT_STARTED = (
    'running',
    'pushed',
    'served already',
    'not blessed',
    'failed',
    'interrupted',
    'did not start',
)
# The system computes start times from its clock, which can be adjusted while a process runs.
_CLOCK_TOLERANCE_S = 2.0
_PACKAGES = ('tfx', 'tensorflow', 'ml-metadata')

_log = logging.getLogger(__name__)


@dataclasses.dataclass
class RunRecord:
    """The record that a run writes.

    Attributes:
      name: name of the run in the metadata store, which is its start time.
      pipeline: name of the pipeline.
      log: path of the log file, relative to the root.
      host: name of the machine.
      pid: process number.
      process_started: start of the process, in seconds since 1970; the system reuses the numbers
        of dead processes.
      started: start time in ISO format.
      ended: end time in ISO format; '' for a run that is at work or was killed.
      state: one of the constants of this module.
      step: the current step, or the step in which the run ended.
      reasons: why no model was pushed, in sentences.
      version: the served version, if the run pushed its model or its model was already served.
      steps: step -> its state ('running', 'ran', 'cached' or 'failed') and its seconds.
      versions: package -> version.
      display_name: the name that a person gave the run; '' without one. Runs can share it.
      note: what that person wrote about the run; '' without a note.
      settings: the configuration, see `Config.settings`; {} in records of earlier versions.
      inputs: what the run depends on, see `run_inputs.read`; {} in records of earlier versions, and
        if the run could not read its data.
      why: why `--if-needed` ran, in sentences; [] without that option.
    """

    name: str
    pipeline: str
    log: str
    host: str
    pid: int
    process_started: float
    started: str
    ended: str = ''
    state: str = RUNNING
    step: str = ''
    reasons: list[str] = dataclasses.field(default_factory=list)
    version: str = ''
    steps: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    versions: dict[str, str] = dataclasses.field(default_factory=dict)
    display_name: str = ''
    note: str = ''
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    inputs: dict[str, str] = dataclasses.field(default_factory=dict)
    why: list[str] = dataclasses.field(default_factory=list)

    def is_running(self, root: str) -> bool:
        """Whether the run is still at work in `root`.

        On the machine of the run the process decides, on another machine the lock of the root.
        """
        if self.state != RUNNING:
            return False
        if self.host != socket.gethostname():
            return root_lock.owner(root) is not None
        try:
            process = psutil.Process(self.pid)
            started = process.create_time()
            is_zombie = process.status() == psutil.STATUS_ZOMBIE
        except psutil.Error:
            return False
        return not is_zombie and abs(started - self.process_started) <= _CLOCK_TOLERANCE_S


class Recorder:
    """Writes the record of this run; an error while writing does not end the run."""

    def __init__(self, root: str, name: str, pipeline: str, log: str, **described: Any):
        """Writes the record of a run that starts.

        Args:
          root: the run root.
          name: the name of the run in the metadata store.
          pipeline: the name of the pipeline.
          log: the path of the log file.
          described: `display_name`, `note`, `settings` and `why` of `RunRecord`.

        Raises:
          OSError: the root cannot be written to.
        """
        self.record = RunRecord(
            name=name,
            pipeline=pipeline,
            log=os.path.relpath(log, root),
            host=socket.gethostname(),
            pid=os.getpid(),
            process_started=psutil.Process().create_time(),
            started=_now(),
            versions=_versions(),
            **described,
        )
        self._path = RunRoot(Path(root)).records / f'{run_id(name)}.json'
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._write()

    def read_inputs(self, inputs: dict[str, str]) -> None:
        """Records what the run depends on."""
        self.record.inputs = inputs
        self._update()

    def begin_step(self, name: str) -> None:
        """Records that a step is about to run."""
        self.record.step = name
        self.record.steps[name] = {'state': RUNNING, 'seconds': 0.0}
        self._update()

    def end_step(self, name: str, state: str, seconds: float) -> None:
        """Records the end of a step; `state` is 'ran', 'cached' or 'failed'."""
        self.record.steps[name] = {'state': state, 'seconds': round(seconds, 3)}
        self._update()

    def end(self, state: str, reasons: list[str] | None = None, version: str = '') -> None:
        """Records the end of the run."""
        self.record.state, self.record.reasons = state, reasons or []
        self.record.version, self.record.ended = version, _now()
        self._update()

    def _update(self) -> None:
        try:
            self._write()
        except OSError:
            _log.warning('%s cannot be written', self._path, exc_info=True)

    def _write(self) -> None:
        # Replaced in one step, because pages can read it at any time.
        unfinished = self._path.with_suffix('.part')
        text = json.dumps(dataclasses.asdict(self.record), indent=1) + '\n'
        unfinished.write_text(text, encoding='utf-8')
        os.replace(unfinished, self._path)


@contextlib.contextmanager
def recording(
    root: str, name: str, pipeline: str, log: str, **described: Any
) -> Iterator[Recorder]:
    """Records a run; an exception that leaves the context ends it as interrupted or failed.

    The arguments are those of `Recorder`.

    Raises:
      OSError: the root cannot be written to.
    """
    recorder = Recorder(root, name, pipeline, log, **described)
    try:
        yield recorder
    except BaseException as error:
        if recorder.record.state == RUNNING:
            step = recorder.record.step
            if isinstance(error, KeyboardInterrupt):
                where = f'in {step}' if step else 'before its first step'
                recorder.end(
                    INTERRUPTED,
                    [f'it was interrupted {where}; run the same command again to resume'],
                )
            else:
                recorder.end(FAILED if step else NOT_STARTED, [str(error) or type(error).__name__])
        raise


def read_all(root: Path) -> dict[str, RunRecord]:
    """The records of a root by name of the run; a damaged record is skipped with a warning."""
    records = {}
    for path in sorted(RunRoot(root).records.glob('*.json')):
        try:
            record = RunRecord(**json.loads(path.read_text(encoding='utf-8')))
        except (OSError, ValueError, TypeError) as error:
            _log.warning('%s is not a valid run record: %s', path, error)
            continue
        records[record.name] = record
    return records


def run_id(name: str) -> str:
    """The name of a run as part of a path."""
    return re.sub(r'[^0-9A-Za-z]+', '-', name).strip('-') or 'run'


def _now() -> str:
    return datetime.datetime.now().isoformat(timespec='milliseconds')


def _versions() -> dict[str, str]:
    versions = {'python': platform.python_version()}
    for package in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return versions
