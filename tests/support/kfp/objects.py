"""Folders in place of buckets: gs://bucket/key is FOLDER/gs/bucket/key.

Like a bucket, they hold objects and no empty folders.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from pipeline.kubeflow.entrypoint import MOUNTS


class StoreError(Exception):
    """A bucket could not hold or return this object."""


class ObjectStore:
    """The buckets of all schemes that the launcher supports."""

    def __init__(self, folder: Path):
        self._folder = folder

    def path(self, uri: str) -> Path:
        """The local path of an object or of what looks like a folder.

        Raises:
          StoreError: the launcher does not support such a store
            (v2/component/launcher_v2.go:1239), or the key leads out of its bucket.
        """
        scheme = next((scheme for scheme in MOUNTS if uri.startswith(scheme)), None)
        if scheme is None:
            raise StoreError(f'{uri}: the launcher supports only {", ".join(MOUNTS)}')
        key = uri[len(scheme) :]
        if '..' in key.split('/') or not key.strip('/'):
            raise StoreError(f'{uri}: not the name of an object')
        return self._folder / scheme.rstrip(':/') / key

    def upload(self, source: Path, uri: str) -> bool:
        """Copies a file, or all files below a folder; an empty folder leaves nothing.

        v2/objectstore/object_store.go:111

        Returns:
          Whether `source` exists.

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
        """Copies the object of a key, or all objects below it, and returns their number.

        v2/objectstore/object_store.go:176
        """
        source = self.path(uri)
        count = 0
        for file in _files(source) if source.exists() else ():
            _copy(file, target / file.relative_to(source))
            count += 1
        return count


def make_folder(path: Path) -> None:
    """Makes a folder and its parents writable for everyone, as a pod's volumes are."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    for folder in reversed(missing):
        folder.mkdir()
        folder.chmod(0o777)


def _files(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    with os.scandir(path) as iterator:
        entries = sorted(iterator, key=lambda entry: entry.name)
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _files(Path(entry.path))
        else:
            yield Path(entry.path)


def _copy(source: Path, target: Path) -> None:
    make_folder(target.parent)
    # Only the bytes: an object has no file mode and no file time.
    shutil.copyfile(source, target)
    target.chmod(0o666)
