"""Publishes models in a push target, expires old versions and repairs damaged ones."""

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
    configured_numbers,
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
# Seconds that a push waits for another one; copying a model of some hundred MB takes seconds.
LOCK_TIMEOUT_S = 300.0


@dataclass(frozen=True)
class Pushed:
    """The result of `publish`.

    Attributes:
      version: the number of the served version.
      path: its folder.
      already_served: whether the model was served before, so that nothing was pushed.
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
    """Copies a SavedModel into `target` as its next version, unless it is already served.

    It is already served if the newest version holds the same model; if its files are damaged, they
    are repaired. It also counts as served if the newest version was pushed for the same data, code
    and configuration, and this run trained again only because artifacts of that push are gone.

    `delivery.deliver` describes how a version appears in the target. Once it is served, an error of
    the file system is only a warning.

    Args:
      model_dir: the SavedModel to push, a local path or URI.
      target: the directory that TF Serving watches; it is created if necessary.
      make_manifest: (version, model_digest, files) -> the manifest to write.
      expected_newest: the version that the candidate was compared with, '' for none; the push fails
        if there is a newer one by now. None skips this check.
      keep_versions: number of versions that remain after the push; None keeps all. Versions without
        a manifest are never deleted.
      lock_timeout_s: seconds to wait for another push to the same target.

    Raises:
      PushError: nothing was pushed, and no files of the attempt are left.
    """
    source = digests(model_dir)
    if SAVED_MODEL not in source:
        raise PushError(
            f'{model_dir} holds no {SAVED_MODEL}: expected a SavedModel; check the run that '
            'exported it'
        )
    with explained(target, sum(file.size for file in source.values())):
        storage.make_dirs(target, permissions.DIRECTORY_MODE)
        with locked(target, lock_timeout_s) as staging:
            served = newest(target)
            manifest = make_manifest(next_version(target), model_digest(source), source)
            if served is not None and _is_served(
                served, manifest, expected_newest, staging, model_dir
            ):
                _confirm(served, manifest)
                return Pushed(served.version, served.path, already_served=True)
            path = delivery.deliver(model_dir, target, staging, manifest)
            _LOGGER.info('Pushed version %s to %s.', manifest.version, path)
            _finish(target, path, keep_versions)
            return Pushed(manifest.version, path, already_served=False)


def _is_served(
    served: ServedVersion,
    candidate: Manifest,
    expected_newest: str | None,
    staging: str,
    model_dir: str,
) -> bool:
    """Whether the newest version already is the candidate; repairs it from the same model.

    Raises:
      PushError: another run has pushed a version meanwhile, and the candidate was not compared with
        it.
    """
    manifest = served.manifest
    assert manifest is not None
    overtaken = expected_newest is not None and int(served.version) > int(expected_newest or 0)
    problems = damage(served)
    if manifest.model_digest == candidate.model_digest:
        if problems:
            delivery.restore_files(served, staging, model_dir)
            _check_repair(served, problems)
        return True
    if not overtaken:
        return False
    if candidate.candidate_key not in {run.candidate_key for run in manifest.runs()}:
        compared = f'version {expected_newest}' if expected_newest else 'no version'
        raise PushError(
            f'{os.path.dirname(served.path)} serves version {served.version}, pushed while this '
            f'candidate was compared with {compared}: run again to compare it with the version '
            'that is served now'
        )
    if problems:
        _LOGGER.warning(
            '%s is damaged (%s): the candidate of this run is pushed instead.',
            served.path,
            '; '.join(problems),
        )
        return False
    _LOGGER.warning(
        'Version %s was pushed for the same data, code and configuration and stays served. This '
        'run trained again only because artifacts of that push are gone.',
        served.version,
    )
    return True


def _confirm(served: ServedVersion, candidate: Manifest) -> None:
    """Adds this run to the manifest of the served version, so that the same run is cached later."""
    manifest = served.manifest
    assert manifest is not None
    if (candidate.candidate_key, candidate.push_nonce) in {
        (run.candidate_key, run.push_nonce) for run in manifest.runs()
    }:
        return
    confirmation = Confirmation(
        candidate_key=candidate.candidate_key,
        push_nonce=candidate.push_nonce,
        baseline_version=candidate.baseline_version,
        run_id=candidate.run_id,
        confirmed_at=candidate.pushed_at,
    )
    write_manifest(
        served.path, manifest.model_copy(update={'confirmed': (*manifest.confirmed, confirmation)})
    )


def _finish(target: str, path: str, keep: int | None) -> None:
    """Syncs the target and deletes old versions; errors are warnings, as the version is served."""
    try:
        if not storage.is_remote(target):
            storage.sync_dir(target)
        if keep is not None:
            _expire(target, keep)
    except OSError as error:
        _LOGGER.warning('%s is served, but the push could not clean up afterwards: %s', path, error)


def _expire(target: str, keep: int) -> None:
    """Deletes all but the `keep` newest versions, except those without a manifest and those that
    the model config file names.
    """
    served, configured = versions(target), configured_numbers(target)
    for version in served[: max(len(served) - keep, 0)]:
        if version.version in configured:
            continue
        if version.manifest is None:
            _LOGGER.warning(
                '%s is older than the %d versions kept, but is not deleted: %s.',
                version.path,
                keep,
                version.problem,
            )
            continue
        try:
            delivery.remove_version(version.path)
        except OSError as error:
            # No error: the new version is served, and the next push tries again.
            _LOGGER.warning(
                '%s is older than the %d versions kept, but cannot be deleted: %s',
                version.path,
                keep,
                error,
            )
        else:
            _LOGGER.info('Deleted version %s: %d versions are kept.', version.path, keep)


def restore(target: str, copies: Iterable[str], lock_timeout_s: float = LOCK_TIMEOUT_S) -> None:
    """Repairs damaged versions of which `copies` has an intact copy.

    The newest version is checked by content. Older versions, which a label in TF Serving's
    configuration may refer to, are checked by the sizes of their files, because there may be many.

    Args:
      target: the directory that TF Serving watches.
      copies: folders with a `manifest.json` that may be copies of a version; they are read only if
        a version is damaged.
      lock_timeout_s: seconds to wait for a push to the same target.

    Raises:
      PushError: the repair failed.
    """
    with explained(target, 0):
        served = versions(target)
        last = served[-1] if served else None
        damaged = [
            version
            for version in served
            if (damage(version) if version is last else incomplete(version))
        ]
        candidates = list(copies) if damaged else []
        for version in damaged:
            copy = next((copy for copy in candidates if is_copy(version, copy)), None)
            if copy is not None:
                with locked(target, lock_timeout_s) as staging:
                    _repair(target, version.version, staging, copy)
            elif version is not last and version.manifest is not None:
                _LOGGER.warning(
                    '%s differs from what was pushed (%s): TF Serving cannot serve a label that '
                    'refers to it. Restore its files or delete it.',
                    version.path,
                    '; '.join(incomplete(version)),
                )


def _repair(target: str, number: str, staging: str, copy: str) -> None:
    damaged = next((version for version in versions(target) if version.version == number), None)
    # Check again under the lock: another push may have changed the version.
    if damaged is None or not is_copy(damaged, copy):
        return
    manifest = damaged.manifest or read_manifest(copy)
    version = ServedVersion(damaged.version, damaged.path, manifest)
    problems = damage(damaged)
    delivery.restore_files(version, staging, copy)
    if damaged.manifest is None:
        write_manifest(version.path, manifest)
    _check_repair(version, problems)


def _check_repair(version: ServedVersion, problems: list[str]) -> None:
    """Logs that a version with `problems` is repaired.

    Raises:
      PushError: it is still damaged.
    """
    remaining = damage(version)
    if remaining:
        raise PushError(
            f'{version.path} could not be repaired: {"; ".join(remaining)}; check the disk and run '
            'again'
        )
    _LOGGER.warning(
        '%s differed from what was pushed (%s). It is repaired. If a server failed to load it, '
        'restart the server.',
        version.path,
        '; '.join(problems),
    )
