"""The Java libraries of the cluster, fetched once."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

POM = Path(__file__).with_name('pom.xml')
_DONE = 'complete'


class FlinkError(RuntimeError):
    """The cluster cannot be had here; the text says what is missing."""


def fetch(tools: Path) -> Path:
    """The folder with the libraries, some 160 MB, under `tools`; fetched by Maven where they are
    not there yet.

    Raises:
      FlinkError: there is no Maven, or it failed.
    """
    folder = tools / f'flink-{hashlib.sha256(POM.read_bytes()).hexdigest()[:12]}'
    if (folder / _DONE).exists():
        return folder
    maven = shutil.which('mvn')
    if not maven:
        raise FlinkError(
            'no mvn on PATH: install Maven (Debian, Ubuntu: the package maven), which fetches '
            'Flink and Beam’s job server'
        )
    folder.mkdir(parents=True, exist_ok=True)
    command = [maven, '--batch-mode', '--quiet', '-f', str(POM), 'dependency:copy-dependencies']
    command += [f'-DoutputDirectory={folder}', '-DincludeScope=runtime']
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise FlinkError(f'{" ".join(command)} failed:\n{(done.stdout + done.stderr)[-2000:]}')
    (folder / _DONE).touch()
    return folder
