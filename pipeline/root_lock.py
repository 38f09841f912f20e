"""The lock on a run root: one run uses a root at a time, and other processes can see which."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from pipeline.run_root import RunRoot
from storage.folder_lock import FolderLock, HeldError

# `owner` locks for an instant; a run that starts at that moment tries again.
_TIMEOUT_S = 0.5


class RootInUseError(RuntimeError):
    """Another run uses the same root."""


@contextlib.contextmanager
def acquire(root: str) -> Iterator[None]:
    """Keeps other runs out of a root inside the context.

    Raises:
      RootInUseError: another run has the lock.
      OSError: the root cannot be written to.
    """
    os.makedirs(root, exist_ok=True)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(_lock(root).held(_TIMEOUT_S))
        except HeldError as error:
            raise RootInUseError(
                f'{root}: another run uses this root ({error}). Wait for it, or give another '
                '--root.'
            ) from None
        yield


def owner(root: str) -> str | None:
    """The run that uses a root now, as 'process N on HOST, since TIME'; None if there is none."""
    return _lock(root).holder()


def _lock(root: str) -> FolderLock:
    return FolderLock(RunRoot(root).lock, RunRoot(root).lock_owner)
