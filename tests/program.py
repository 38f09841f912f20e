"""Runs `cxr-triage` as a person does, in a process of its own, with what it shows on the screen and what it exits with."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

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
        # What a shell starts in the background ignores Ctrl-C and hands that down: the program is started as in the foreground.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            # A session of its own: a signal to the group reaches its workers too, as Ctrl-C in a terminal does.
            self._process = subprocess.Popen(
                command,
                cwd=cwd,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=self._file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        finally:
            signal.signal(signal.SIGINT, before)

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

    def finish(self, patience_s: float = _PATIENCE_S) -> Finished:
        """Waits for the end; a run that hangs is killed."""
        try:
            code = self._process.wait(patience_s)
        finally:
            self.stop()
        return Finished(code, self.screen)

    def stop(self) -> None:
        """Kills it, if it is not over."""
        if self._process.poll() is None:
            self.signal(signal.SIGKILL)
            self._process.wait()
        self._file.close()


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
