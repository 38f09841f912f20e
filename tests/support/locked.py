"""Reads the package versions in uv.lock."""

from __future__ import annotations

import subprocess
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

_PROJECT = Path(__file__).resolve().parents[2]


def locked(python: str, *options: str) -> dict[str, str]:
    """Name -> version of the locked packages.

    Args:
      python: the version of Python, such as '3.11'.
      options: of `uv export`, such as dependency groups.
    """
    command = [str(_PROJECT / 'scripts/with-uv'), 'uv', 'export', '--quiet', '--frozen']
    command += ['--project', str(_PROJECT), '--no-emit-project', '--no-hashes', '--no-annotate']
    result = subprocess.run([*command, '--no-header', *options], stdout=-1, text=True, check=True)
    system = {'python_version': python, 'python_full_version': f'{python}.0', 'extra': ''}
    requirements = [Requirement(line) for line in result.stdout.splitlines()]
    return {
        canonicalize_name(requirement.name): str(requirement.specifier).removeprefix('==')
        for requirement in requirements
        if requirement.marker is None or requirement.marker.evaluate(system)
    }
