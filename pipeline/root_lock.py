"""The lock on a run root: one run uses a root at a time, and other processes can see which."""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import os
import socket
from collections.abc import Iterator

import filelock

from pipeline.run_root import RunRoot

# `owner` locks for an instant; a run that starts at that moment tries again.
_TIMEOUT_S = 0.5


class RootInUseError(RuntimeError):
    """Another run uses the same root."""


@contextlib.contextmanager
def acquire(root: str) -> Iterator[None]:
    """Keeps other runs out of a root inside the context.

    The system releases the lock when the process dies.

    Raises:
      RootInUseError: another run has the lock.
      OSError: the root cannot be written to.
    """
    os.makedirs(root, exist_ok=True)
    path = RunRoot(root).lock_owner
    lock = filelock.FileLock(RunRoot(root).lock)
    try:
        lock.acquire(timeout=_TIMEOUT_S)
    except filelock.Timeout:
        other = _read(path)
        raise RootInUseError(
            f'{root}: another run uses this root{f" ({other})" if other else ""}. Wait for it, '
            'or give another --root.'
        ) from None
    try:
        with open(path, 'w', encoding='utf-8') as file:
            now = datetime.datetime.now()
            host = socket.gethostname()
            file.write(f'process {os.getpid()} on {host}, since {now:%Y-%m-%d %H:%M:%S}')
        yield
        os.remove(path)
    finally:
        lock.release()


def owner(root: str) -> str | None:
    """The run that uses a root now, as 'process N on HOST, since TIME'; None if there is none.

    The lock decides, not the file with the owner's name: a killed run leaves that file behind, and
    the system reuses its process number.
    """
    try:
        descriptor = os.open(RunRoot(root).lock, os.O_RDONLY)
    except OSError:
        return None
    try:
        # A shared lock, so that two readers do not mistake each other for a run.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read(RunRoot(root).lock_owner) or 'an unnamed process'
    except OSError:
        return None  # a file system without locks
    finally:
        os.close(descriptor)
    return None


def _read(path: str) -> str:
    with contextlib.suppress(OSError), open(path, encoding='utf-8', errors='replace') as file:
        return file.read().strip()
    return ''
