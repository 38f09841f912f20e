"""The uploaded files on disk: written once, read for scoring and display, removed by age."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

_UNFINISHED = '.new'


class ImageFiles:
    """Files named by random ids below a folder that only this user may read.

    Args:
      folder: made if it is missing.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        # Folders below it whose names are on the disk.
        self._kept: set[Path] = set()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def write(self, id: str, content: bytes) -> None:
        """Stores a file; it is on the disk when this returns.

        Raises:
          OSError: e.g. the disk is full; nothing is left then.
        """
        path = self.path(id)
        path.parent.mkdir(exist_ok=True, mode=0o700)
        unfinished = path.with_suffix(_UNFINISHED)
        try:
            descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, 'wb') as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(unfinished, path)
        except OSError:
            unfinished.unlink(missing_ok=True)
            raise
        _sync(path.parent)
        if path.parent not in self._kept:
            _sync(self.folder)
            self._kept.add(path.parent)

    def read(self, id: str) -> bytes:
        """The content of a file.

        Raises:
          OSError: it cannot be read.
        """
        return self.path(id).read_bytes()

    def path(self, id: str) -> Path:
        """Where a file is."""
        if not id.isalnum():
            raise ValueError(f'{id!r} is not an id')
        return self.folder / id[:2] / id

    def remove(self, id: str) -> None:
        """Removes a file, if it is there."""
        self.path(id).unlink(missing_ok=True)

    def written_before(self, time: float) -> Iterator[str]:
        """The ids of the files that were written before a time (seconds since 1970)."""
        for path in self._older(time):
            if not path.suffix:
                yield path.name

    def remove_unfinished(self, before: float) -> int:
        """Removes what a killed `write` left before a time, and returns how many files."""
        paths = [path for path in self._older(before) if path.suffix == _UNFINISHED]
        for path in paths:
            path.unlink(missing_ok=True)
        return len(paths)

    def free_bytes(self) -> int:
        """The space that is left for files.

        Raises:
          OSError: the folder is gone.
        """
        return shutil.disk_usage(self.folder).free

    def _older(self, time: float) -> Iterator[Path]:
        for path in self.folder.glob('??/*'):
            # Another gateway may remove it meanwhile.
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < time:
                    yield path


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
