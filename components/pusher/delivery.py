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
    """Copies a model into `target` as the version of its manifest.

    TF Serving loads a numeric folder as soon as it sees one. If that fails, it tries five more
    times, by default one minute apart, and then not again until it restarts. So the model is copied
    and checked in `staging` first:

    - On a disk, the finished folder is renamed in one step.
    - An object store cannot rename a folder. Each object is moved, `saved_model.pb` last; gs:// and
      s3:// do this without another transfer. Meanwhile, for the time of a few requests, TF Serving
      fails to load the version and tries again. It never serves a version without its warm-up file.

    Args:
      model_dir: the SavedModel, a local path or URI.
      target: the directory that TF Serving watches.
      staging: a folder in `target` from `guard.locked`.
      manifest: of the new version.

    Returns:
      The path of the version.

    Raises:
      PushError: the copy differs from the model, or the version exists already.
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
        raise PushError(f'{path} already exists: two pushes ran at the same time; run again')
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
            f'the copy for {path} differs from the model: {"; ".join(problems)}; check the disk '
            'and run again'
        )


def restore_files(version: ServedVersion, staging: str, source: str) -> None:
    """Replaces the missing or changed files of a version by those of `source`, in place.

    The version keeps its number, because labels in TF Serving's configuration refer to it. Files
    are replaced one by one, because TF Serving unloads a version whose folder disappears.

    Args:
      version: with a manifest.
      staging: a folder in the target from `guard.locked`.
      source: a folder with the files that the manifest lists, undamaged.
    """
    assert version.manifest is not None
    files = version.manifest.files
    current = listed_digests(version.path, files)
    for name in sorted(files, key=lambda name: name == SAVED_MODEL):
        if current.get(name) == files[name]:
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
    """Removes a version; TF Serving never loads a partly deleted one."""
    if not storage.is_remote(path):
        target, version = os.path.split(path)
        expired = os.path.join(target, f'{EXPIRED}{socket.gethostname()}-{version}')
        os.rename(path, expired)
        shutil.rmtree(expired)
        return
    # Remove this file first: TF Serving does not load a version without it.
    saved_model = storage.join(path, SAVED_MODEL)
    if storage.exists(saved_model):
        storage.remove(saved_model)
    storage.remove_tree(path)
