"""Environments of tools that must not mix with the project's own packages: `.tools/NAME`, from
requirements/NAME.txt.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from scripts.environment import tools
from scripts.environment.choose import BootstrapError, FetchFailed, on_path
from scripts.environment.install import Project
from scripts.environment.pip_settings import uv_environment


def binaries(project: Project, name: str) -> Path:
    """The folder with the commands and the Python of a tool environment, which is made or brought
    up to date where its lock has changed.

    Raises:
        BootstrapError: there is no environment in .venv, or the tools cannot be had.
    """
    if not project.python.exists():
        raise BootstrapError('there is no environment in .venv: make one with `make environment`')
    folder = project.tools / name
    lock = project.requirements / f'{name}.txt'
    stamp = folder / 'lock.txt'
    if not stamp.is_file() or stamp.read_bytes() != lock.read_bytes():
        pythons = [str(project.python), sys.executable, *on_path(['python3'], os.environ)]
        uv = tools.find_uv(project.tools, os.environ) or tools.fetch_uv(
            project.tools, project.requirements, pythons
        )
        if isinstance(uv, FetchFailed):
            raise BootstrapError(f'there is no uv here, and {uv}')
        env = uv_environment(pythons, os.environ)
        run(
            [uv, 'venv', '--quiet', '--clear', '--python', str(project.python), str(folder)],
            'uv',
            env=env,
        )
        run(
            [
                uv,
                'pip',
                'sync',
                '--quiet',
                '--python',
                str(folder / 'bin/python'),
                '--require-hashes',
                str(lock),
            ],
            'uv',
            env=env,
        )
        stamp.write_bytes(lock.read_bytes())
    return folder / 'bin'


def run(
    command: list[str], what: str, text: str | None = None, env: Mapping[str, str] | None = None
) -> str:
    """Runs a tool on `text`; returns its standard output.

    Raises:
        BootstrapError: it failed; with the end of what it said.
    """
    done = subprocess.run(
        command,
        input=text,
        capture_output=True,
        text=True,
        env=None if env is None else dict(env),
        check=False,
    )
    if done.returncode != 0:
        raise BootstrapError(
            f'{what}: {done.stderr.strip()[-2000:] or f"exit code {done.returncode}"}'
        )
    return done.stdout
