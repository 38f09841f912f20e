"""The messages of `tests/support/debian13` when it cannot work.

.ci/run shows that it works: it uses it for the tests of the second environment.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A folder for PATH with only the tools that the script needs before its checks."""
    for tool in ('bash', 'dirname', 'env'):
        path = next(
            Path(folder) / tool
            for folder in os.environ['PATH'].split(os.pathsep)
            if (Path(folder) / tool).exists()
        )
        (tmp_path / tool).symlink_to(path)
    return tmp_path


def _error(path: Path, uid: int, *arguments: str) -> str:
    identity = path / 'id'
    identity.write_text(f'#!/bin/sh\necho {uid}\n')
    identity.chmod(0o755)
    result = subprocess.run(
        [str(PROJECT / 'tests/support/debian13'), *arguments],
        env={'PATH': str(path), 'HOME': '/'},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    return result.stderr


def test_a_missing_command_is_an_error(bare: Path) -> None:
    assert 'which command?' in _error(bare, 0)


def test_users_other_than_root_are_refused(bare: Path) -> None:
    assert 'needs root' in _error(bare, 1000, 'true')


def test_a_missing_debootstrap_is_an_error(bare: Path) -> None:
    assert 'debootstrap is not installed' in _error(bare, 0, 'true')
