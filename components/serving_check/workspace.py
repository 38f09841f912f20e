"""A private temporary folder for a check, which has images of patients in it.

If a check is killed, the next one removes its folder.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator

_PREFIX, _UNFINISHED = 'serving_check_', '.serving_check_'
_LOCK = 'lock'


@contextlib.contextmanager
def folder() -> Iterator[str]:
    """Yields a new folder that only this user can read, and removes it at the end.

    It first removes the folders of killed checks.
    """
    _remove_abandoned()
    # The folder gets its final name when it is locked: before, another check would remove it.
    unlocked = tempfile.mkdtemp(prefix=_UNFINISHED)
    with open(os.path.join(unlocked, _LOCK), 'w', encoding='utf-8') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        path = os.path.join(os.path.dirname(unlocked), os.path.basename(unlocked).removeprefix('.'))
        os.rename(unlocked, path)
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)


def _remove_abandoned() -> None:
    """Removes this user's folders whose lock is free; a lock is released when its process ends."""
    with os.scandir(tempfile.gettempdir()) as entries:
        folders = [
            entry.path
            for entry in entries
            if entry.name.startswith(_PREFIX) and entry.is_dir(follow_symlinks=False)
        ]
    for path in folders:
        try:
            if os.lstat(path).st_uid != os.getuid():
                continue
            with open(os.path.join(path, _LOCK), encoding='utf-8') as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
        except OSError:
            # The folder is locked by a running check, belongs to another program, or is gone.
            continue
