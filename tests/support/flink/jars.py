"""Fetches the Java libraries of the cluster."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

POM = Path(__file__).with_name('pom.xml')
_DONE = 'complete'


class FlinkError(RuntimeError):
    """The cluster cannot run here; the message says what is missing."""


def fetch(tools: Path) -> Path:
    """Fetches the libraries with Maven, unless they exist, and returns their folder.

    They take about 160 MB under `tools`.

    Raises:
      FlinkError: there is no Maven, or it failed.
    """
    folder = tools / f'flink-{hashlib.sha256(POM.read_bytes()).hexdigest()[:12]}'
    if (folder / _DONE).exists():
        return folder
    maven = shutil.which('mvn')
    if not maven:
        raise FlinkError(
            'no mvn on PATH: install Maven (Debian, Ubuntu: the package maven) to fetch Flink and '
            'the job server of Beam'
        )
    folder.mkdir(parents=True, exist_ok=True)
    command = [maven, '--batch-mode', '--quiet', '-f', str(POM), 'dependency:copy-dependencies']
    command += [f'-DoutputDirectory={folder}', '-DincludeScope=runtime']
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if result.returncode:
        raise FlinkError(f'{" ".join(command)} failed:\n{(result.stdout + result.stderr)[-2000:]}')
    (folder / _DONE).touch()
    return folder
