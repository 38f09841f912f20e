"""Puts a model into a push target so that a reader of a disk sees a whole version or none."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import storage
from components.pusher import delivery, permissions
from components.pusher.guard import PushError, explained, locked
from components.pusher.target import (
    SAVED_MODEL,
    Confirmation,
    FileDigest,
    Manifest,
    ServedVersion,
    damage,
    digests,
    incomplete,
    is_copy,
    model_digest,
    newest,
    next_version,
    read_manifest,
    versions,
    write_manifest,
)

__all__ = ['LOCK_TIMEOUT_S', 'PushError', 'Pushed', 'publish', 'restore']

_LOGGER = logging.getLogger(__name__)
# How long a push waits for another one; copying a model of some hundred MB takes seconds.
LOCK_TIMEOUT_S = 300.0


@dataclass(frozen=True)
class Pushed:
    """Where the model is served from, and whether it was there before, so that nothing was
    pushed.
    """

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
    """Copies a SavedModel into `target` as its next version, unless the newest version is this
    candidate.

    The newest version is this candidate when it holds the same model (it is repaired if its files
    are damaged), or when it was pushed for the same data, code and configuration, and this run
    trained again only because artifacts of that push are gone: what is served then stays.

    `delivery.deliver` says how a version appears in the target. A full disk or a file system that
    fails after that is a warning and no error: the version is served.

    Args:
      model_dir: the SavedModel to push, local path or URI.
      target: the directory that TF Serving watches; made if it is not there.
      make_manifest: (version, model_digest, files) -> the manifest to write.
      expected_newest: the version that the candidate was compared with, '' for none; the push is
        refused when a newer one has appeared since. None pushes whatever is there.
      keep_versions: how many versions stay after the push; None keeps all. Versions without
        manifest are never deleted.
      lock_timeout_s: how long to wait for another push to the same target.

    Raises:
      PushError: nothing was pushed, and nothing of the attempt is left.
    """
    source = digests(model_dir)
    if SAVED_MODEL not in source:
        raise PushError(
            f'{model_dir} holds no {SAVED_MODEL}: expected a SavedModel; look at the run that '
            'exported it'
        )
    with explained(target, sum(file.size for file in source.values())):
        storage.make_dirs(target, permissions.DIRECTORY_MODE)
        with locked(target, lock_timeout_s) as staging:
            served = newest(target)
            manifest = make_manifest(next_version(target), model_digest(source), source)
            if served is not None and _stays(served, manifest, expected_newest, staging, model_dir):
                _confirm(served, manifest)
                return Pushed(served.version, served.path, already_served=True)
            path = delivery.deliver(model_dir, target, staging, manifest)
            _LOGGER.info('Pushed version %s to %s.', manifest.version, path)
            _finish(target, path, keep_versions)
            return Pushed(manifest.version, path, already_served=False)


def _stays(
    served: ServedVersion,
    candidate: Manifest,
    expected_newest: str | None,
    staging: str,
    model_dir: str,
) -> bool:
    """Whether the newest version is the candidate already; it is repaired where the candidate's
    files allow.

    Raises:
      PushError: the newest version is a candidate of another run, which this one was not compared
        with.
    """
    known = served.manifest
    assert known is not None
    overtaken = expected_newest is not None and int(served.version) > int(expected_newest or 0)
    problems = damage(served)
    if known.model_digest == candidate.model_digest:
        if problems:
            delivery.put_back(served, staging, model_dir)
            _tell_repaired(served, problems)
        return True
    if not overtaken:
        return False
    if candidate.candidate_key not in {run.candidate_key for run in known.runs()}:
        compared = f'version {expected_newest}' if expected_newest else 'no version'
        raise PushError(
            f'{os.path.dirname(served.path)} serves version {served.version}, pushed while this '
            f'candidate was compared with {compared}: '
            'run again, so that it is compared with what is served now'
        )
    if problems:
        _LOGGER.warning(
            '%s is damaged (%s): the same candidate, trained again, is pushed.',
            served.path,
            '; '.join(problems),
        )
        return False
    _LOGGER.warning(
        'Version %s was pushed for the same data, code and configuration. It stays: this run '
        'trained again only because '
        'artifacts of that push are gone.',
        served.version,
    )
    return True


def _confirm(served: ServedVersion, wanted: Manifest) -> None:
    """Notes in the manifest that this run ended with what is served already; a later equal run is
    then all cached.
    """
    known = served.manifest
    assert known is not None
    if (wanted.candidate_key, wanted.push_nonce) in {
        (run.candidate_key, run.push_nonce) for run in known.runs()
    }:
        return
    confirmation = Confirmation(
        candidate_key=wanted.candidate_key,
        push_nonce=wanted.push_nonce,
        baseline_version=wanted.baseline_version,
        run_id=wanted.run_id,
        confirmed_at=wanted.pushed_at,
    )
    write_manifest(
        served.path, known.model_copy(update={'confirmed': (*known.confirmed, confirmation)})
    )


def _finish(target: str, path: str, keep: int | None) -> None:
    """What can wait until the next push where it fails: the version is in the target and served."""
    try:
        if not storage.is_remote(target):
            storage.sync_dir(target)
        if keep is not None:
            _expire(target, keep)
    except OSError as error:
        _LOGGER.warning(
            '%s is served, but the push could not tidy up after itself: %s', path, error
        )


def _expire(target: str, keep: int) -> None:
    """Deletes the oldest versions with a manifest, so that `keep` versions stay; a reader never
    sees one half deleted.
    """
    found = versions(target)
    for version in found[: max(len(found) - keep, 0)]:
        if version.manifest is None:
            _LOGGER.warning(
                '%s is older than the %d versions kept, but %s: left alone.',
                version.path,
                keep,
                version.problem,
            )
            continue
        try:
            delivery.remove_version(version.path)
        except OSError as error:
            # The push itself is done; the next one tries again.
            _LOGGER.warning(
                '%s is older than the %d versions kept, but cannot be deleted: %s',
                version.path,
                keep,
                error,
            )
        else:
            _LOGGER.info('Deleted version %s: %d versions are kept.', version.path, keep)


def restore(target: str, copies: Iterable[str], lock_timeout_s: float = LOCK_TIMEOUT_S) -> None:
    """Repairs versions whose files are not those that were pushed, as far as one of `copies` is an
    intact copy.

    The newest version is compared by content. Older ones, which a label in TF Serving's
    configuration may stand for, by the sizes of their files alone: there may be many.

    Args:
      target: the directory that TF Serving watches.
      copies: folders with a `manifest.json` that may hold a copy of a version; only looked at when
        one is damaged.
      lock_timeout_s: how long to wait for a push to the same target.

    Raises:
      PushError: the repair failed.
    """
    with explained(target, 0):
        found = versions(target)
        last = found[-1] if found else None
        damaged = [
            version
            for version in found
            if (damage(version) if version is last else incomplete(version))
        ]
        known = list(copies) if damaged else []
        for version in damaged:
            copy = next((copy for copy in known if is_copy(version, copy)), None)
            if copy is not None:
                with locked(target, lock_timeout_s) as staging:
                    _repair(target, version.version, staging, copy)
            elif version is not last and version.manifest is not None:
                _LOGGER.warning(
                    '%s is not what was pushed (%s): a label that stands for it cannot be served. '
                    'Put its files back or delete it.',
                    version.path,
                    '; '.join(incomplete(version)),
                )


def _repair(target: str, number: str, staging: str, copy: str) -> None:
    found = next((version for version in versions(target) if version.version == number), None)
    if found is None or not is_copy(found, copy):  # Another push came first.
        return
    manifest = found.manifest or read_manifest(copy)
    version = ServedVersion(found.version, found.path, manifest)
    problems = damage(found)
    delivery.put_back(version, staging, copy)
    if found.manifest is None:
        write_manifest(version.path, manifest)
    _tell_repaired(version, problems)


def _tell_repaired(version: ServedVersion, problems: list[str]) -> None:
    left = damage(version)
    if left:
        raise PushError(
            f'{version.path} could not be repaired: {"; ".join(left)}; check the disk and run again'
        )
    _LOGGER.warning(
        '%s was not what had been pushed (%s). It is repaired. A server that failed to load it '
        'tries again when it is restarted.',
        version.path,
        '; '.join(problems),
    )
