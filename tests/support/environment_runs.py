"""Starts commands of `run_artifacts`, in this environment or another one."""

from __future__ import annotations

import dataclasses
import functools
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_PROJECT = Path(__file__).resolve().parents[2]
PATIENCE_S = 1200.0


@dataclasses.dataclass(frozen=True)
class Started:
    """A command that runs, and the folder for its outputs."""

    process: subprocess.Popen
    folder: Path

    def facts(self) -> dict[str, Any]:
        """Waits for the end of the command and returns its facts; a failure shows its output."""
        output, _ = self.process.communicate(timeout=PATIENCE_S)
        assert self.process.returncode == 0, f'{self.process.args}\n{output[-5000:]}'
        return json.loads((self.folder / 'facts.json').read_text())


def start(
    command: str,
    subject: Path,
    folder: Path,
    *options: str,
    python: Sequence[str] = (sys.executable,),
) -> Started:
    """Starts a command of `run_artifacts`.

    Args:
      command: `make` or `judge`.
      subject: the data root to make a run from, or the folder of a run to judge.
      folder: for the outputs.
      options: more arguments of the command.
      python: starts the Python of an environment, by default of this one.
    """
    arguments = [
        *python,
        '-m',
        'tests.support.run_artifacts',
        command,
        str(subject),
        str(folder),
        *options,
    ]
    process = subprocess.Popen(
        arguments, cwd=_PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    return Started(process, folder)


class Direct:
    """The run of this environment in one process, which the tests compare others with.

    It starts when a test first needs it.
    """

    def __init__(self, data_root: Path, folder: Path):
        self.folder = folder / 'run'
        self._data_root, self._evaluation = data_root, folder / 'evaluation'

    @functools.cached_property
    def run_facts(self) -> dict[str, Any]:
        """The facts of the run in `folder`."""
        return start('make', self._data_root, self.folder).facts()

    @functools.cached_property
    def evaluation_facts(self) -> dict[str, Any]:
        """The facts of the run's transform graph and model."""
        _ = self.run_facts
        return start('judge', self.folder, self._evaluation).facts()
