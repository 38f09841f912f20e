"""Puts a model into a push target so that a reader sees a whole version or none."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import filelock

from components.pusher import storage
from components.pusher.target import (
    MANIFEST,
    SAVED_MODEL,
    Confirmation,
    FileDigest,
    Manifest,
    ServedVersion,
    TargetError,
    differences,
    digests,
    model_digest,
    newest,
    next_version,
    verify,
    versions,
    write_manifest,
)

_LOGGER = logging.getLogger(__name__)
_LOCK = '.push.lock'
_INCOMING = '.incoming-'
_EXPIRED = '.expired-'
# How long a push waits for another one; copying a model of some hundred MB takes seconds.
LOCK_TIMEOUT_S = 300.0
# Leftovers of other machines: their lock may not be visible here (a network file system), so only when a push cannot still be running.
_FOREIGN_LEFTOVER_S = 24 * 3600.0

_ADVICE = {
    errno.ENOSPC: 'the disk is full: free space there or set keep_versions',
    errno.EDQUOT: 'the disk quota is used up: free space there or set keep_versions',
    errno.EROFS: 'the file system is read-only: mount it writable or name another target',
    errno.EACCES: 'no permission to write: give this user write access to the directory',
    errno.EPERM: 'no permission to write: give this user write access to the directory',
    errno.ENOTDIR: 'a part of the path is a file: name another target or move the file away',
    errno.EEXIST: 'a file stands where a directory is needed: name another target or move the file away',
}


class PushError(RuntimeError):
    """A push that failed; the text names the path, what went wrong and what to do. Nothing of it is left in the target."""


@dataclass(frozen=True)
class Pushed:
    """Where the model is served from, and whether it was there before (`already_served`), so that nothing was copied."""

    version: str
    path: str
    already_served: bool


def publish(
    model_dir: str,
    target: str,
    make_manifest: Callable[[str, str, dict[str, FileDigest]], Manifest],
    *,
    expected_newest: str | None = None,
    keep_versions: int | None = None,
    lock_timeout_s: float = LOCK_TIMEOUT_S,
) -> Pushed:
    """Copies a SavedModel into `target` as its next version, or finds that the newest version is the same model already.

    Local targets: the copy is made beside the versions, brought to the disk and verified, then renamed in one step, under a lock
    of the target. Object stores have neither rename nor lock: there `saved_model.pb` goes last, without which TF Serving takes no
    notice of a version.

    Args:
      model_dir: the SavedModel to push, local path or URI.
      target: the directory that TF Serving watches; made if it is not there.
      make_manifest: (version, model_digest, files) -> the manifest to write.
      expected_newest: the version that the candidate was compared with, '' for none; the push is refused when a newer one has
        appeared since. None pushes whatever is there.
      keep_versions: how many versions stay after the push; None keeps all. Versions without manifest are never deleted.
      lock_timeout_s: how long to wait for another push to the same target.

    Raises:
      PushError: nothing was pushed, and nothing of the attempt is left.
    """
    source = digests(model_dir)
    if SAVED_MODEL not in source:
        raise PushError(f'{model_dir} holds no {SAVED_MODEL}: expected a SavedModel; look at the run that exported it')
    with _explained(target, sum(file.size for file in source.values())):
        storage.make_dirs(target)
        with _locked(target, lock_timeout_s):
            _remove_leftovers(target)
            served = newest(target)
            manifest = make_manifest(next_version(target), model_digest(source), source)
            if served is not None and served.manifest is not None and served.manifest.model_digest == manifest.model_digest:
                damage = verify(served.path)
                if not damage:
                    _confirm(served, manifest)
                    return Pushed(served.version, served.path, already_served=True)
                _LOGGER.warning('%s is damaged (%s): the same model is pushed again.', served.path, '; '.join(damage))
            else:
                _refuse_if_overtaken(target, served, expected_newest)
            path = storage.join(target, manifest.version)
            if storage.is_remote(target):
                _copy_remote(model_dir, path, manifest)
            else:
                _copy_local(model_dir, target, path, manifest)
            _LOGGER.info('Pushed version %s to %s.', manifest.version, path)
            if keep_versions is not None:
                _expire(target, keep_versions)
            return Pushed(manifest.version, path, already_served=False)


def _refuse_if_overtaken(target: str, served: ServedVersion | None, expected_newest: str | None) -> None:
    if expected_newest is None or served is None:
        return
    if int(served.version) > int(expected_newest or 0):
        compared = f'version {expected_newest}' if expected_newest else 'no version'
        raise PushError(
            f'{target} serves version {served.version}, pushed while this candidate was compared with {compared}: '
            'run again, so that it is compared with what is served now'
        )


def _confirm(served: ServedVersion, wanted: Manifest) -> None:
    """Notes in the manifest that this run ended with the model that is served already; a later equal run is then all cached."""
    known = served.manifest
    assert known is not None
    if (known.candidate_key, known.push_nonce) == (wanted.candidate_key, wanted.push_nonce):
        return
    confirmation = Confirmation(
        candidate_key=wanted.candidate_key,
        push_nonce=wanted.push_nonce,
        baseline_version=wanted.baseline_version,
        run_id=wanted.run_id,
        confirmed_at=wanted.pushed_at,
    )
    write_manifest(served.path, known.model_copy(update={'confirmed': (*known.confirmed, confirmation)}))


def _copy_local(model_dir: str, target: str, path: str, manifest: Manifest) -> None:
    incoming = os.path.join(target, f'{_INCOMING}{socket.gethostname()}-{manifest.push_nonce}')
    try:
        os.mkdir(incoming)
        for name in manifest.files:
            storage.copy(storage.join(model_dir, name), os.path.join(incoming, name))
        _check_copy(incoming, path, manifest.files)
        write_manifest(incoming, manifest)
        storage.sync_dirs(incoming)
        os.rename(incoming, path)
        storage.sync_dir(target)
    finally:
        # Still there only when the rename was not reached.
        shutil.rmtree(incoming, ignore_errors=True)


def _copy_remote(model_dir: str, path: str, manifest: Manifest) -> None:
    if storage.exists(path):
        raise PushError(f'{path} is there already: two pushes at the same time; run again')
    rest = {name: digest for name, digest in manifest.files.items() if name != SAVED_MODEL}
    try:
        for name in rest:
            storage.copy(storage.join(model_dir, name), storage.join(path, name))
        _check_copy(path, path, rest)
        write_manifest(path, manifest)
        storage.copy(storage.join(model_dir, SAVED_MODEL), storage.join(path, SAVED_MODEL))
        _check_copy(path, path, manifest.files)
    except BaseException:
        with contextlib.suppress(*storage.errors(path)):
            _remove_version(path)
        raise


def _check_copy(copied: str, path: str, expected: dict[str, FileDigest]) -> None:
    problems = differences(expected, digests(copied))
    if problems:
        raise PushError(f'the copy for {path} is not what was copied: {"; ".join(problems)}; check the disk and run again')


def _expire(target: str, keep: int) -> None:
    """Deletes the oldest versions with a manifest, so that `keep` versions stay; a reader never sees one half deleted."""
    found = versions(target)
    for version in found[: max(len(found) - keep, 0)]:
        if version.manifest is None:
            _LOGGER.warning('%s is older than the %d versions kept, but has no %s: left alone.', version.path, keep, MANIFEST)
            continue
        try:
            _remove_version(version.path)
        except storage.errors(target) as error:
            # The push itself is done; the next one tries again.
            _LOGGER.warning('%s is older than the %d versions kept, but cannot be deleted: %s', version.path, keep, error)
        else:
            _LOGGER.info('Deleted version %s: %d versions are kept.', version.path, keep)


def _remove_version(path: str) -> None:
    if not storage.is_remote(path):
        target, version = os.path.split(path)
        expired = os.path.join(target, f'{_EXPIRED}{socket.gethostname()}-{version}')
        os.rename(path, expired)
        shutil.rmtree(expired)
        return
    # The file that makes it a version goes first.
    saved_model = storage.join(path, SAVED_MODEL)
    if storage.exists(saved_model):
        storage.remove(saved_model)
    storage.remove_tree(path)


def _remove_leftovers(target: str) -> None:
    """Removes what killed pushes left. The lock is held, so none of this machine's is still being written."""
    if storage.is_remote(target):
        return
    for name in storage.names(target):
        prefix = next((prefix for prefix in (_INCOMING, _EXPIRED) if name.startswith(prefix)), None)
        path = os.path.join(target, name)
        if prefix is None or not os.path.isdir(path):
            continue
        own = name.startswith(f'{prefix}{socket.gethostname()}-')
        if own or time.time() - os.path.getmtime(path) > _FOREIGN_LEFTOVER_S:
            _LOGGER.info('Removing %s, left by a push that did not end.', path)
            shutil.rmtree(path)


@contextlib.contextmanager
def _locked(target: str, timeout_s: float) -> Iterator[None]:
    if storage.is_remote(target):
        yield
        return
    path = os.path.join(target, _LOCK)
    try:
        lock = filelock.FileLock(path, timeout=timeout_s).acquire()
    except filelock.Timeout:
        raise PushError(f'{path} is held by another push for more than {timeout_s:g} s: wait for it to end, then run again') from None
    except NotImplementedError:
        raise PushError(
            f'{target} is on a file system without locks: push to a local disk, or to the object store by its URI (gs://…)'
        ) from None
    with lock:
        yield


@contextlib.contextmanager
def _explained(target: str, needed: int) -> Iterator[None]:
    """Turns what the file system says into a PushError that names the target and what to do."""
    try:
        yield
    except TargetError as error:
        raise PushError(str(error)) from error
    except storage.errors(target) as error:
        code = getattr(error, 'errno', None) or 0
        space = ''
        if code in (errno.ENOSPC, errno.EDQUOT):
            with contextlib.suppress(OSError):
                space = f' (the model takes {needed / 1e6:.1f} MB, {shutil.disk_usage(target).free / 1e6:.1f} MB are free)'
        what = getattr(error, 'strerror', None) or str(error)
        where = getattr(error, 'filename', None) or target
        advice = _ADVICE.get(code, 'make the target writable or name another one')
        raise PushError(f'cannot push to {target}: {what} at {where}{space}; {advice}') from error
