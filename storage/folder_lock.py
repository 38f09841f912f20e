"""A lock on a folder: one process holds it at a time, and others can see which."""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass

import filelock

_UNKNOWN = 'an unnamed process'


class HeldError(RuntimeError):
    """Another process holds the lock; the text is 'process N on HOST, since TIME'."""


@dataclass(frozen=True)
class FolderLock:
    """A lock, which the system releases when the process that holds it dies.

    Attributes:
      path: the file that is locked.
      owner_path: the file with the name of the process that holds it. A killed process leaves it
        behind, and the system uses process numbers again, so only the lock says who holds it.
    """

    path: str
    owner_path: str

    @contextlib.contextmanager
    def held(self, timeout_s: float = 0.0) -> Iterator[None]:
        """Keeps others from holding it inside the context.

        Args:
          timeout_s: how long it waits for another process.

        Raises:
          HeldError: another process holds it, or this one does already.
          OSError: the folder cannot be written to.
        """
        lock = filelock.FileLock(self.path)
        try:
            lock.acquire(timeout=timeout_s)
        except filelock.Timeout:
            raise HeldError(self._owner()) from None
        try:
            with open(self.owner_path, 'w', encoding='utf-8') as file:
                now, host = datetime.datetime.now(), socket.gethostname()
                file.write(f'process {os.getpid()} on {host}, since {now:%Y-%m-%d %H:%M:%S}')
            yield
        finally:
            with contextlib.suppress(OSError):
                os.remove(self.owner_path)
            lock.release()

    def holder(self) -> str | None:
        """The process that holds it, as 'process N on HOST, since TIME'; None if none does."""
        try:
            descriptor = os.open(self.path, os.O_RDONLY)
        except OSError:
            return None
        try:
            # A shared lock, so that two readers do not mistake each other for a holder.
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return self._owner()
        except OSError:
            return None  # a file system without locks
        finally:
            os.close(descriptor)
        return None

    def _owner(self) -> str:
        try:
            with open(self.owner_path, encoding='utf-8', errors='replace') as file:
                return file.read().strip() or _UNKNOWN
        except OSError:
            return _UNKNOWN
