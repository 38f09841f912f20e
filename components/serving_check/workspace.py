"""A private temporary folder that the next check removes if this one is killed: it holds films of
patients.
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
    """A new folder for this user alone; it is removed in the end, and so are those of checks that
    were killed.
    """
    _remove_abandoned()
    # It gets its name once it is locked, or another check might take it for abandoned.
    made = tempfile.mkdtemp(prefix=_UNFINISHED)
    with open(os.path.join(made, _LOCK), 'w', encoding='utf-8') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        path = os.path.join(os.path.dirname(made), os.path.basename(made).removeprefix('.'))
        os.rename(made, path)
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)


def _remove_abandoned() -> None:
    """Removes this user's folders that no process holds the lock of: it goes with its process,
    however that ends.
    """
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
            # Locked, so its check is running; or not one of ours; or removed in the meantime.
            continue
