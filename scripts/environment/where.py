"""Prints the folder that the Python of a version is installed in: `python -m
scripts.environment.where 3.11`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from scripts.environment.choose import Interpreter, candidates, probe
from scripts.environment.install import say


def installed_in(version: str) -> Path | None:
    """The prefix of the first CPython `version` found as the bootstrap would; not the
    distribution's own, which is all of /usr.
    """
    for _, path in candidates(version, os.environ):
        found = probe(path)
        if isinstance(found, Interpreter) and found.version_name.startswith(f'{version}.'):
            prefix = Path(found.base).resolve().parents[1]
            if prefix not in (Path('/usr'), Path('/')):
                return prefix
    return None


if __name__ == '__main__':
    folder = installed_in(sys.argv[1])
    if folder is None:
        say(
            f'no Python {sys.argv[1]} here: neither on PATH, nor under pyenv, nor fetched by uv '
            '(the one in /usr does not do)'
        )
        sys.exit(1)
    sys.stdout.write(f'{folder}\n')
