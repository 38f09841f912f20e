"""The lock on a run root: one run at a time; it ends with its process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline import root_lock

_HOLD_LOCK = (
    'import sys, time; from pipeline import root_lock\n'
    'with root_lock.acquire(sys.argv[1]):\n    print("held", flush=True)\n    time.sleep(600)\n'
)


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, '-c', _HOLD_LOCK, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == 'held\n'
        yield process
        process.kill()


@pytest.mark.slow
def test_a_locked_root_names_its_process_and_is_free_after_a_kill(holder, tmp_path: Path) -> None:
    with (
        pytest.raises(
            root_lock.RootInUseError, match=rf'process {holder.pid} on .*give another --root'
        ) as caught,
        root_lock.acquire(str(tmp_path)),
    ):
        pass
    assert str(tmp_path) in str(caught.value)
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    with root_lock.acquire(str(tmp_path)):
        assert f'process {os.getpid()} on' in (tmp_path / '.lock-owner').read_text()


def test_the_lock_is_released_after_a_failure(tmp_path: Path) -> None:
    with (
        pytest.raises(RuntimeError, match='failed'),
        root_lock.acquire(str(tmp_path / 'new' / 'root')),
    ):
        raise RuntimeError('failed')
    with root_lock.acquire(str(tmp_path / 'new' / 'root')):
        pass


def test_a_process_cannot_lock_a_root_twice(tmp_path: Path) -> None:
    with (
        root_lock.acquire(str(tmp_path)),
        pytest.raises(root_lock.RootInUseError),
        root_lock.acquire(str(tmp_path)),
    ):
        pass


def test_locks_of_two_roots_are_independent(tmp_path: Path) -> None:
    with root_lock.acquire(str(tmp_path / 'a')), root_lock.acquire(str(tmp_path / 'b')):
        pass


def test_a_root_that_cannot_be_created_is_named(tmp_path: Path) -> None:
    (tmp_path / 'file').write_text('')
    with pytest.raises(OSError, match='file'), root_lock.acquire(str(tmp_path / 'file' / 'root')):
        pass
