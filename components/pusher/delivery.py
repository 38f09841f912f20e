"""Writes versions into a push target, repairs them and removes them."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket

import storage
from components.pusher import permissions
from components.pusher.guard import EXPIRED, PushError
from components.pusher.target import (
    SAVED_MODEL,
    FileDigest,
    Manifest,
    ServedVersion,
    differences,
    digests,
    listed_digests,
    write_manifest,
)


def deliver(model_dir: str, target: str, staging: str, manifest: Manifest) -> str:
    """Copies a model into `target` as the version of its manifest and returns the version's path.

    TF Serving tries to load a numeric folder as soon as it lists one; if that fails it tries five
    times again, one minute apart by default, and then never again until it is restarted. So all
    copying and checking happens in `staging`:

    - On a disk the finished folder is then renamed in one step.
    - An object store has no folders, and so none to rename. There each object is moved by itself,
      which gs:// and s3:// do without sending its bytes again, `saved_model.pb` last. Until then,
      for as long as a few requests take, TF Serving fails to load the version and tries again; it
      never serves one without its warm-up file.

    Raises:
      PushError: the copy is not equal to the model, or the version exists already.
    """
    path = storage.join(target, manifest.version)
    for name in manifest.files:
        storage.copy(storage.join(model_dir, name), storage.join(staging, name))
    copied = listed_digests(staging, manifest.files)
    _check_copy(copied, path, manifest.files)
    write_manifest(staging, manifest)
    if not storage.is_remote(target):
        permissions.open_to_readers(staging)
        storage.sync_dirs(staging)
        os.rename(staging, path)
        return path
    if storage.names(path):
        raise PushError(f'{path} is there already: two pushes at the same time; run again')
    try:
        for name in sorted(manifest.files, key=lambda name: name == SAVED_MODEL):
            if name == SAVED_MODEL:
                write_manifest(path, manifest)
            storage.move(storage.join(staging, name), storage.join(path, name))
        _check_copy(digests(path), path, manifest.files)
    except BaseException:
        with contextlib.suppress(OSError):
            remove_version(path)
        raise
    return path


def _check_copy(copied: dict[str, FileDigest], path: str, expected: dict[str, FileDigest]) -> None:
    problems = differences(expected, copied)
    if problems:
        raise PushError(
            f'the copy for {path} is not what was copied: {"; ".join(problems)}; check the disk '
            'and run again'
        )


def put_back(version: ServedVersion, staging: str, source: str) -> None:
    """Replaces the files of a version that are missing or changed by those of `source`, in place.

    In place, because labels in TF Serving's configuration name the version; and file by file,
    because a folder that is away for a moment would be unloaded.

    Args:
      version: with a manifest.
      staging: as `guard.locked` yields it.
      source: a folder with the very files that the manifest lists.
    """
    assert version.manifest is not None
    files = version.manifest.files
    now = listed_digests(version.path, files)
    for name in sorted(files, key=lambda name: name == SAVED_MODEL):
        if now.get(name) == files[name]:
            continue
        destination = storage.join(version.path, name)
        if storage.is_remote(destination):
            storage.copy(storage.join(source, name), destination)
            continue
        part = storage.join(staging, name)
        storage.copy(storage.join(source, name), part)
        permissions.open_to_readers(staging)
        storage.make_dirs(os.path.dirname(destination), permissions.DIRECTORY_MODE)
        os.replace(part, destination)
    storage.sync_dirs(version.path)


def remove_version(path: str) -> None:
    """Removes a version so that a reader never sees it half deleted as a whole one."""
    if not storage.is_remote(path):
        target, version = os.path.split(path)
        expired = os.path.join(target, f'{EXPIRED}{socket.gethostname()}-{version}')
        os.rename(path, expired)
        shutil.rmtree(expired)
        return
    # The file that TF Serving cannot do without goes first.
    saved_model = storage.join(path, SAVED_MODEL)
    if storage.exists(saved_model):
        storage.remove(saved_model)
    storage.remove_tree(path)
