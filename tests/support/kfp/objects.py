"""Folders in the place of buckets: gs://bucket/key is FOLDER/gs/bucket/key. Like a bucket they know
objects, and no empty folders.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from pipeline.kubeflow.entrypoint import MOUNTS


class StoreError(Exception):
    """An object that no bucket would take or give."""


class ObjectStore:
    """All buckets of all schemes that the launcher knows."""

    def __init__(self, folder: Path):
        self._folder = folder

    def path(self, uri: str) -> Path:
        """Where an object or what looks like a folder lies.

        Raises:
          StoreError: the launcher knows no such store (v2/component/launcher_v2.go:1239), or the
            key climbs out of its bucket.
        """
        scheme = next((scheme for scheme in MOUNTS if uri.startswith(scheme)), None)
        if scheme is None:
            raise StoreError(f'{uri}: no store of the launcher; expected {", ".join(MOUNTS)}')
        key = uri[len(scheme) :]
        if '..' in key.split('/') or not key.strip('/'):
            raise StoreError(f'{uri}: names no object')
        return self._folder / scheme.rstrip(':/') / key

    def upload(self, source: Path, uri: str) -> bool:
        """Copies a file, or all files below a folder; what is empty leaves nothing
        (v2/objectstore/object_store.go:111).

        Returns:
          Whether there was anything at `source`.

        Raises:
          StoreError: see `path`; or a link below `source` leads to a folder, which the launcher
            takes for a file.
        """
        target = self.path(uri)
        if not source.exists():
            return False
        for file in _files(source):
            if file.is_dir():
                raise StoreError(
                    f'{file} is a link to a folder: the launcher cannot upload that; copy the '
                    'folder'
                )
            _copy(file, target / file.relative_to(source))
        return True

    def download(self, uri: str, target: Path) -> int:
        """Copies the object of a key, or all objects below it (v2/objectstore/object_store.go:176).
        Returns how many; none is no error.
        """
        source = self.path(uri)
        count = 0
        for file in _files(source) if source.exists() else ():
            _copy(file, target / file.relative_to(source))
            count += 1
        return count


def make_folder(path: Path) -> None:
    """A folder with all above it that the user of a container may write to, as that of a pod's
    volume.
    """
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    for folder in reversed(missing):
        folder.mkdir()
        folder.chmod(0o777)


def _files(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    with os.scandir(path) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _files(Path(entry.path))
        else:
            yield Path(entry.path)


def _copy(source: Path, target: Path) -> None:
    make_folder(target.parent)
    # Bytes alone: an object has no mode and no time of a file.
    shutil.copyfile(source, target)
    target.chmod(0o666)
