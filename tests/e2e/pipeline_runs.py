"""Runs `cxr-triage` as a person does, in a process of its own, and reads what it left: screen, exit code, metadata store, served model."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from ml_metadata.proto import metadata_store_pb2

from pipeline import history

# In the order of the graph; Baseline and CuratedSchema have no inputs and may run earlier.
STEPS = (
    'XrayExampleGen',
    'CuratedSchema',
    'StatisticsGen',
    'ExampleValidator',
    'DataAudit',
    'DataGate',
    'Transform',
    'Trainer',
    'Baseline',
    'Evaluator',
    'ServingCheck',
    'Pusher',
)
COMPLETE, CACHED, FAILED = 'COMPLETE', 'CACHED', 'FAILED'
# What TensorFlow, absl, Beam and Python's warnings look like on a screen.
NOISE = re.compile(
    r'^[IWEF]\d{4} |^\d{4}-\d\d-\d\d \d\d:|absl|apache_beam|tensorflow/|computation_placer|oneDNN|Warning:|WARNING', re.MULTILINE
)
# Far above what any run here takes: only a run that hangs meets it.
_PATIENCE_S = 900.0


@dataclasses.dataclass(frozen=True)
class Finished:
    """A run that is over: `screen` is all that it wrote to standard output and standard error."""

    exit_code: int
    screen: str

    def has_traceback(self) -> bool:
        """Whether a person was shown a traceback."""
        return 'Traceback (most recent call last)' in self.screen


class Running:
    """A run under way; its screen goes to a file that can be read meanwhile."""

    def __init__(self, command: list[str], cwd: Path, environment: dict[str, str], screen: Path):
        self._screen = screen
        self._file = screen.open('wb')
        # A session of its own: a signal to the group reaches its workers too, as Ctrl-C in a terminal does.
        self._process = subprocess.Popen(
            command, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, stdout=self._file, stderr=subprocess.STDOUT, start_new_session=True
        )

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    @property
    def screen(self) -> str:
        """What it has written so far."""
        return self._screen.read_text(encoding='utf-8', errors='replace')

    def wait_for(self, condition: Callable[[], object]) -> None:
        """Returns as soon as `condition` holds.

        Raises:
          AssertionError: the run ended before.
        """
        deadline = time.monotonic() + _PATIENCE_S
        while not condition():
            assert self._process.poll() is None, f'ended with {self._process.returncode} before its time:\n{self.screen}'
            assert time.monotonic() < deadline, f'still not there:\n{self.screen}'
            time.sleep(0.02)

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to the process and its workers."""
        os.killpg(self._process.pid, number)

    def finish(self) -> Finished:
        """Waits for the end; a run that hangs is killed."""
        try:
            code = self._process.wait(_PATIENCE_S)
        finally:
            if self._process.poll() is None:
                self.signal(signal.SIGKILL)
                self._process.wait()
            self._file.close()
        return Finished(code, self.screen)


class Program:
    """`cxr-triage` out of a source tree, with a configuration and a data root that all of its runs share."""

    def __init__(self, source: Path, config: Path, data: Path, scratch: Path):
        self.source, self.config, self.data = source, config, data
        self._scratch, self._count = scratch, 0

    def start(self, *options: str | Path) -> Running:
        """Starts `cxr-triage` with `options` in the source tree."""
        self._count += 1
        # Neither what tests set for themselves nor a shell's settings: quiet has to be the program's own doing.
        environment = {name: os.environ[name] for name in ('PATH', 'HOME', 'TMPDIR', 'LANG') if name in os.environ}
        environment |= {'PYTHONPATH': str(self.source), 'CUDA_VISIBLE_DEVICES': ''}
        command = [sys.executable, '-m', 'pipeline', *map(str, options)]
        return Running(command, self.source, environment, self._scratch / f'screen-{self._count}.txt')

    def start_run(self, root: Path, *options: str | Path) -> Running:
        """Starts `cxr-triage run` with the shared configuration and data."""
        return self.start('run', '--config', self.config, '--data-root', self.data, '--root', root, *options)

    def run(self, root: Path, *options: str | Path) -> Finished:
        """The same to its end."""
        return self.start_run(root, *options).finish()


def states(root: Path) -> list[dict[str, str]]:
    """For each run on record, oldest first: component -> the state that its execution ended in."""
    name_of = metadata_store_pb2.Execution.State.Name
    return [{step: name_of(execution.last_known_state) for step, execution in run.items()} for run in history.runs(root)]


def that_ran(root: Path) -> set[str]:
    """The components that the last run executed; all the others came from the cache.

    Baseline is left out: it runs whenever another version is served, which is not what a change of code or data decides.
    """
    last = states(root)[-1]
    assert set(last) == set(STEPS), last
    assert set(last.values()) <= {COMPLETE, CACHED}, last
    return {name for name, state in last.items() if state == COMPLETE} - {'Baseline'}


def steps_from(first: str) -> set[str]:
    """A step and all that stand after it, without Baseline."""
    return set(STEPS[STEPS.index(first) :]) - {'Baseline'}


def served(directory: Path) -> dict[str, tuple[int, int]]:
    """Every file under a push target -> its size and time of modification; changes when anything is pushed."""
    files = (path for path in directory.rglob('*') if path.is_file() and not path.name.startswith('.'))
    return {str(path.relative_to(directory)): (path.stat().st_size, path.stat().st_mtime_ns) for path in files}


def newest_version(directory: Path) -> Path:
    """The version that TF Serving would serve."""
    return max((path for path in directory.iterdir() if path.name.isdigit()), key=lambda path: int(path.name))


def manifest(version: Path) -> dict:
    """The manifest of a version."""
    return json.loads((version / 'manifest.json').read_text())


def last_output(root: Path, component: str, output: str) -> Path:
    """The folder of an output of the latest execution of a component."""
    return max((root / 'artifacts' / component / output).iterdir(), key=lambda path: int(path.name))


def log_of(root: Path) -> str:
    """The log of the latest run."""
    return max((root / 'logs').iterdir(), key=lambda path: path.stat().st_mtime_ns).read_text(encoding='utf-8')
