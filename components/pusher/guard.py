"""Allows one push to a target at a time, and turns file system errors into helpful messages."""

from __future__ import annotations

import contextlib
import datetime
import errno
import logging
import os
import shutil
import socket
import time
import uuid
from collections.abc import Iterator

import filelock

import storage
from components.pusher.target import INCOMING, SAVED_MODEL, TargetError, read_manifest

_LOGGER = logging.getLogger(__name__)
_LOCK = '.push.lock'
EXPIRED = '.expired-'
_CLAIM = 'claim'
_LOCK_MODE = 0o644
# A shared disk may not show the locks of other machines, so their leftovers are removed only when
# they are so old that no push can still be running.
_FOREIGN_LEFTOVER_S = 24 * 3600.0
# An upload of some hundred MB takes minutes, so an older claim belongs to a killed push. If the
# push still runs, it fails when its files are gone, and leaves nothing.
_DEAD_CLAIM_S = 15 * 60.0

_ADVICE = {
    errno.ENOSPC: 'the disk is full: free space there or set keep_versions',
    errno.EDQUOT: 'the disk quota is used up: free space there or set keep_versions',
    errno.EROFS: 'the file system is read-only: mount it writable or name another target',
    errno.EACCES: 'no permission to write: give this user write access to the directory',
    errno.EPERM: 'no permission to write: give this user write access to the directory',
    errno.ENOTDIR: 'a part of the path is a file: name another target or move the file away',
    errno.EEXIST: (
        'a file is where a directory is needed: name another target or move the file away'
    ),
}


class PushError(RuntimeError):
    """A push failed; the text names the path, what went wrong and what to do."""


@contextlib.contextmanager
def locked(target: str, timeout_s: float) -> Iterator[str]:
    """Keeps other pushes out of `target` and yields the path of a staging folder of this push.

    The staging folder's name is not a number, so TF Serving ignores it. It is removed at the end.

    On a disk, this takes a lock, which the system releases when the process dies. An object store
    has no locks: there the push writes a claim and then looks for other claims. Listings of gs://
    and s3:// show every finished write, so of two simultaneous pushes, at least one sees the other
    and stops.

    Args:
      target: the directory that TF Serving watches.
      timeout_s: seconds to wait for the lock; an object store does not wait.

    Raises:
      PushError: another push is running, or the file system has no locks.
    """
    if storage.is_remote(target):
        with _claimed(target) as staging:
            yield staging
        return
    path = os.path.join(target, _LOCK)
    try:
        lock = filelock.FileLock(path, timeout=timeout_s, mode=_LOCK_MODE).acquire()
    except filelock.Timeout:
        raise PushError(
            f'{path} is held by another push for more than {timeout_s:g} s: wait for it to end, '
            'then run again'
        ) from None
    except NotImplementedError:
        raise PushError(
            f'{target} is on a file system without locks: push to a local disk, or to the object '
            'store by its URI (gs://…)'
        ) from None
    with lock:
        _remove_local_leftovers(target)
        staging = os.path.join(target, f'{INCOMING}{socket.gethostname()}-{uuid.uuid4().hex[:12]}')
        try:
            yield staging
        finally:
            shutil.rmtree(staging, ignore_errors=True)


@contextlib.contextmanager
def _claimed(target: str) -> Iterator[str]:
    name = f'{INCOMING}{int(time.time())}-{socket.gethostname()}-{uuid.uuid4().hex[:12]}'
    staging = storage.join(target, name)
    try:
        storage.write_text(storage.join(staging, _CLAIM), '')
        for other in storage.names(target):
            if other.startswith(INCOMING) and other != name:
                _remove_dead_claim(target, other)
        yield staging
    finally:
        with contextlib.suppress(OSError):
            storage.remove_tree(staging)


def _remove_dead_claim(target: str, name: str) -> None:
    """Removes the claim of a killed push, with its unfinished version.

    Raises:
      PushError: the push may still be running.
    """
    staging = storage.join(target, name)
    started = name.removeprefix(INCOMING).partition('-')[0]
    since = int(started) if started.isdecimal() else 0
    if time.time() - since < _DEAD_CLAIM_S:
        raise PushError(
            f'another push to {target} has been running since '
            f'{datetime.datetime.fromtimestamp(since, datetime.timezone.utc):%Y-%m-%d %H:%M:%S} '
            f'UTC ({staging}): '
            'wait for it to end, then run again. If it was killed, delete that folder and run again'
        )
    # Without a manifest, the push was killed before it wrote to the version.
    with contextlib.suppress(TargetError):
        path = storage.join(target, read_manifest(staging).version)
        if storage.is_dir(path) and not storage.exists(storage.join(path, SAVED_MODEL)):
            _LOGGER.info('Removing %s, the unfinished version of an interrupted push.', path)
            storage.remove_tree(path)
    _LOGGER.info('Removing %s, left by an interrupted push.', staging)
    storage.remove_tree(staging)


def _remove_local_leftovers(target: str) -> None:
    """Removes the files of killed pushes; call it with the lock, so that none of them is in use."""
    for name in storage.names(target):
        prefix = next((prefix for prefix in (INCOMING, EXPIRED) if name.startswith(prefix)), None)
        if prefix is None:
            continue
        path = os.path.join(target, name)
        own = name.startswith(f'{prefix}{socket.gethostname()}-')
        if own or time.time() - os.path.getmtime(path) > _FOREIGN_LEFTOVER_S:
            _LOGGER.info('Removing %s, left by an interrupted push.', path)
            shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)


@contextlib.contextmanager
def explained(target: str, size: int) -> Iterator[None]:
    """Turns errors of the file system into a PushError that names the target and what to do.

    Args:
      target: the push target.
      size: bytes of the model, for the message about a full disk.

    Raises:
      PushError: for any TargetError and OSError.
    """
    try:
        yield
    except TargetError as error:
        raise PushError(str(error)) from error
    except OSError as error:
        code = getattr(error, 'errno', None) or 0
        space = ''
        if code in (errno.ENOSPC, errno.EDQUOT):
            with contextlib.suppress(OSError):
                free = shutil.disk_usage(target).free
                space = f' (the model takes {size / 1e6:.1f} MB, {free / 1e6:.1f} MB are free)'
        reason = getattr(error, 'strerror', None) or str(error)
        path = getattr(error, 'filename', None) or target
        advice = _ADVICE.get(code, 'make the target writable or name another one')
        raise PushError(f'cannot push to {target}: {reason} at {path}{space}; {advice}') from error
