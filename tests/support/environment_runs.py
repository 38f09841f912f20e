"""Starts commands of `leavings`, in this environment or another one."""

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
class Leavings:
    """A command that was started, and the folder that it leaves its facts in."""

    process: subprocess.Popen
    folder: Path

    def facts(self) -> dict[str, Any]:
        """Waits for its end; a failure shows what it said at last."""
        said, _ = self.process.communicate(timeout=PATIENCE_S)
        assert self.process.returncode == 0, f'{self.process.args}\n{said[-5000:]}'
        return json.loads((self.folder / 'facts.json').read_text())


def start(
    command: str,
    subject: Path,
    folder: Path,
    *options: str,
    python: Sequence[str] = (sys.executable,),
) -> Leavings:
    """Starts a command on films, or on what was made of them, with the Python of an environment;
    without one, with this one.
    """
    line = [
        *python,
        '-m',
        'tests.support.run_artifacts',
        command,
        str(subject),
        str(folder),
        *options,
    ]
    process = subprocess.Popen(
        line, cwd=_PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    return Leavings(process, folder)


class Direct:
    """The run that others are compared with, made when it is asked for: the films through the
    pipeline, here and in one process.
    """

    def __init__(self, films: Path, folder: Path):
        self.folder = folder / 'made'
        self._films, self._judged = films, folder / 'judged'

    @functools.cached_property
    def made(self) -> dict[str, Any]:
        """The facts of what it made in `folder`."""
        return start('make', self._films, self.folder).facts()

    @functools.cached_property
    def judged(self) -> dict[str, Any]:
        """Those of its graph and its model."""
        _ = self.made
        return start('judge', self.folder, self._judged).facts()
