"""What `tests/support/debian13` says when it cannot work. That it works, .ci/run shows: it runs the
tests of the second environment with it.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A folder for PATH with nothing in it but what the script needs to get as far as its
    checks.
    """
    for tool in ('bash', 'dirname', 'env'):
        found = next(
            Path(folder) / tool
            for folder in os.environ['PATH'].split(os.pathsep)
            if (Path(folder) / tool).exists()
        )
        (tmp_path / tool).symlink_to(found)
    return tmp_path


def _said(path: Path, uid: int, *arguments: str) -> str:
    identity = path / 'id'
    identity.write_text(f'#!/bin/sh\necho {uid}\n')
    identity.chmod(0o755)
    done = subprocess.run(
        [str(PROJECT / 'tests/support/debian13'), *arguments],
        env={'PATH': str(path), 'HOME': '/'},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    return done.stderr


def test_without_a_command(bare: Path) -> None:
    assert 'which command?' in _said(bare, 0)


def test_without_the_rights(bare: Path) -> None:
    assert 'needs root' in _said(bare, 1000, 'true')


def test_without_debootstrap(bare: Path) -> None:
    assert 'debootstrap is not installed' in _said(bare, 0, 'true')
