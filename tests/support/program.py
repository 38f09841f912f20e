"""Runs `cxr-triage` in a separate process and reads its screen and exit code."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.support.warm_start import WarmProcess

# Far more than any run here takes: only a run that hangs reaches it.
_PATIENCE_S = 900.0


@dataclasses.dataclass(frozen=True)
class Finished:
    """A finished run; `screen` is its standard output and standard error."""

    exit_code: int
    screen: str

    def has_traceback(self) -> bool:
        """Whether the screen shows a traceback."""
        return 'Traceback (most recent call last)' in self.screen


def start_fresh(
    command: list[str], cwd: Path, environment: dict[str, str], screen: Path
) -> subprocess.Popen:
    """Starts a command as a shell would, with its output in the file `screen`."""
    # A shell makes background processes and their children ignore Ctrl-C. This starts the program
    # as a foreground process.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with screen.open('wb') as file:
            # In a new session, a signal to the group reaches the workers too, as Ctrl-C in a
            # terminal does.
            return subprocess.Popen(
                command,
                cwd=cwd,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
    finally:
        signal.signal(signal.SIGINT, before)


class Running:
    """A running command; its screen is a file that can be read at any time."""

    def __init__(self, process: subprocess.Popen | WarmProcess, screen: Path):
        self._process, self._screen = process, screen

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid

    @property
    def screen(self) -> str:
        """The output so far."""
        return self._screen.read_text(encoding='utf-8', errors='replace')

    def wait_for(self, condition: Callable[[], object]) -> None:
        """Returns as soon as `condition` is true.

        Raises:
          AssertionError: the run ended before that, or hangs.
        """
        deadline = time.monotonic() + _PATIENCE_S
        while not condition():
            assert self._process.poll() is None, (
                f'the run ended too early, with {self._process.returncode}:\n{self.screen}'
            )
            assert time.monotonic() < deadline, f'the run hangs:\n{self.screen}'
            time.sleep(0.02)

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to the process and its workers."""
        os.killpg(self._process.pid, number)

    def finish(self, patience_s: float = _PATIENCE_S) -> Finished:
        """Waits for the end, and kills a run that hangs."""
        try:
            code = self._process.wait(patience_s)
        finally:
            self.stop()
        return Finished(code, self.screen)

    def stop(self) -> None:
        """Kills the process if it still runs."""
        if self._process.poll() is None:
            self.signal(signal.SIGKILL)
            self._process.wait()


class Program:
    """`cxr-triage` from a source tree, with a configuration and a data root for all its runs."""

    def __init__(self, source: Path, config: Path, data: Path, scratch: Path):
        self.source, self.config, self.data = source, config, data
        self._scratch, self._count = scratch, 0

    def start(self, *options: str | Path, fresh: bool = False) -> Running:
        """Starts `cxr-triage` in the source tree.

        Args:
          options: its arguments.
          fresh: whether to start a new interpreter; else a fork with TensorFlow loaded
            (`warm_start`).
        """
        self._count += 1
        # Without the settings of the tests and of the shell: the program itself has to be quiet.
        environment = {
            name: os.environ[name]
            for name in ('PATH', 'HOME', 'TMPDIR', 'LANG')
            if name in os.environ
        }
        environment |= {'PYTHONPATH': str(self.source), 'CUDA_VISIBLE_DEVICES': ''}
        screen = self._scratch / f'screen-{self._count}.txt'
        arguments = [str(option) for option in options]
        if fresh:
            process = start_fresh(
                [sys.executable, '-m', 'cxr_triage', *arguments], self.source, environment, screen
            )
            return Running(process, screen)
        return Running(WarmProcess(arguments, self.source, environment, screen), screen)

    def start_run(self, root: Path, *options: str | Path, fresh: bool = False) -> Running:
        """Starts `cxr-triage run` with the shared configuration and data."""
        shared = ('--config', self.config, '--data-root', self.data)
        return self.start('run', *shared, '--root', root, *options, fresh=fresh)

    def run(self, root: Path, *options: str | Path, fresh: bool = False) -> Finished:
        """Runs `cxr-triage run` to its end, with the shared configuration and data."""
        return self.start_run(root, *options, fresh=fresh).finish()
