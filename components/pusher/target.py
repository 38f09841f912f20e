"""The push target: the directory that TF Serving watches, its versions and their manifests. No
TensorFlow or TFX for local paths.

Layout: `<target>/<version>/` holds a SavedModel and `manifest.json`; a version is a positive
integer, and TF Serving serves the highest one. Everything else in the target (names that start with
a dot) is of no interest to TF Serving.

Any numeric folder that is not empty counts as a served version, also one that has lost a file: TF
Serving may have it in memory, and a candidate that is compared with an older version, or with none,
could replace a better model.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

import storage
from components.pusher import permissions

MANIFEST = 'manifest.json'
SAVED_MODEL = 'saved_model.pb'
NO_VERSION = ''
# What a push under way or killed writes; TF Serving ignores names that are no numbers.
INCOMING = '.incoming-'
_PACKAGES = (
    'cxr-triage',
    'tensorflow',
    'tf-keras',
    'tfx',
    'tensorflow-transform',
    'tensorflow-model-analysis',
    'apache-beam',
)


class TargetError(RuntimeError):
    """A push target, a version or a manifest that cannot be used; the text says which, why and what
    to do.
    """


class FileDigest(BaseModel):
    """One file of a version: its sha256 (hex) and its size in bytes."""

    model_config = ConfigDict(frozen=True)

    sha256: str
    size: int


class Confirmation(BaseModel):
    """A later run which ended with the very model that this version serves already, so that nothing
    was pushed.
    """

    model_config = ConfigDict(frozen=True)

    candidate_key: str
    push_nonce: str
    baseline_version: str | None
    run_id: str
    confirmed_at: str


class Manifest(BaseModel):
    """What is on record about a pushed version.

    Attributes:
      version: the number of the version, as in the directory's name.
      model_digest: sha256 over the names and digests of all files, in the order of the names.
      files: relative path -> digest and size, of every file but the manifest.
      pipeline_name, run_id: the run that pushed.
      candidate_key: digest of everything that determined the candidate.
      model_uri: the Trainer's artifact.
      push_nonce: see `plan_push`.
      baseline_version: the version that the candidate was compared with; None when there was none.
      config: the run's configuration.
      metrics: of the Evaluator, over all examples.
      sensitivity_groups: the groups behind each sensitivity gap, by feature, with those that the
        gap leaves out.
      pushed_at: UTC, ISO 8601.
      packages: package -> version.
      confirmed: later runs that ended with this same model.
    """

    # Fields that a later release adds are kept when this one rewrites a manifest.
    model_config = ConfigDict(frozen=True, extra='allow', protected_namespaces=())

    version: str = Field(pattern=r'^\d+$')
    model_digest: str
    files: dict[str, FileDigest]
    pipeline_name: str
    run_id: str
    candidate_key: str
    model_uri: str
    push_nonce: str
    baseline_version: str | None = None
    config: dict[str, Any] = Field(default_factory=dict)
    metrics: dict[str, float | None] = Field(default_factory=dict)
    sensitivity_groups: dict[str, Any] = Field(default_factory=dict)
    pushed_at: str
    packages: dict[str, str] = Field(default_factory=dict)
    confirmed: tuple[Confirmation, ...] = ()

    @field_validator('files')
    @classmethod
    def _below_the_version(cls, files: dict[str, FileDigest]) -> dict[str, FileDigest]:
        # Baseline and repairs write files of these names below another folder.
        if wrong := [name for name in files if os.path.isabs(name) or '..' in name.split('/')]:
            raise ValueError(f'{wrong[0]!r} is not a path below the version')
        return files

    def runs(self) -> tuple[Confirmation | Manifest, ...]:
        """What is on record about each run that ended with this version, the latest first and the
        one that pushed it last.
        """
        return (*reversed(self.confirmed), self)


@dataclass(frozen=True)
class ServedVersion:
    """A version in a push target; `manifest` is None when it is missing or cannot be read, and
    `problem` says which.
    """

    version: str
    path: str
    manifest: Manifest | None
    problem: str = ''


@dataclass(frozen=True)
class PushPlan:
    """What a run compares its candidate with ('' for nothing), and the nonce it pushes under."""

    baseline_version: str
    push_nonce: str


def plan_push(
    served: ServedVersion | None,
    candidate_key: str,
    model_uri_exists: Callable[[str], bool],
    new_nonce: str,
) -> PushPlan:
    """Decides before a run what its candidate is compared with, and whether a push is wanted.

    A run that would make the candidate being served once more repeats the decisions of the run that
    pushed it, so that every component is found in the cache and nothing is pushed; where files of
    the version are damaged, Pusher alone runs and repairs them. Any other run compares with the
    newest version and pushes anew.

    Args:
      served: the newest version; None when nothing is served.
      candidate_key: digest of everything that determines the candidate.
      model_uri_exists: whether the Trainer's artifact at a URI is still there; if it is gone the
        candidate has to be trained again.
      new_nonce: a nonce never used before.

    Raises:
      TargetError: the candidate would be compared with a version that is damaged.
    """
    if served is None:
        return PushPlan(NO_VERSION, new_nonce)
    manifest = served.manifest
    assert manifest is not None
    problems = damage(served)
    if model_uri_exists(manifest.model_uri):
        for record in manifest.runs():
            if record.candidate_key == candidate_key:
                return PushPlan(
                    record.baseline_version or NO_VERSION,
                    new_nonce if problems else record.push_nonce,
                )
    if problems:
        raise TargetError(_unusable(served, '; '.join(problems)))
    return PushPlan(served.version, new_nonce)


def versions(target: str) -> list[ServedVersion]:
    """The versions in `target`, oldest first, also incomplete ones; none when the directory is not
    there.
    """
    paths = (
        (str(number), storage.join(target, str(number))) for number in sorted(_numbers(target))
    )
    return [_version(number, path) for number, path in paths if storage.names(path)]


def _version(number: str, path: str) -> ServedVersion:
    try:
        return ServedVersion(number, path, read_manifest(path))
    except TargetError as error:
        return ServedVersion(number, path, None, str(error))


def newest(target: str) -> ServedVersion | None:
    """The newest version, with its manifest; None when nothing is served.

    Raises:
      TargetError: its manifest is missing or cannot be read, so that no candidate can be compared
        with it.
    """
    found = versions(target)
    if not found:
        return None
    if found[-1].manifest is None:
        raise TargetError(_unusable(found[-1], found[-1].problem))
    return found[-1]


def _unusable(version: ServedVersion, problem: str) -> str:
    return (
        f'version {version.version} is the newest in {os.path.dirname(version.path)}, but it is '
        f'not what was pushed: {problem}. '
        'No candidate can be compared with it, so nothing is pushed. Either put its files back: '
        'the run that pushed it kept a copy, '
        f'pushed_model of its Pusher{_by(version)}; `cxr-triage run` repairs the version by '
        'itself where that copy lies under its --root. '
        f'Or give the version up: move {version.path} out of the target; then the next older '
        'version is compared with'
    )


def _by(version: ServedVersion) -> str:
    return (
        f' (pipeline {version.manifest.pipeline_name}, run {version.manifest.run_id})'
        if version.manifest
        else ''
    )


def next_version(target: str) -> str:
    """A version number above every number in use: seconds since 1970, or one above the newest where
    that is later.
    """
    return str(max([int(time.time()), *(number + 1 for number in _numbers(target))]))


def _numbers(target: str) -> list[int]:
    if storage.exists(target) and not storage.is_dir(target):
        raise TargetError(
            f'the push target {target} is a file: expected a directory; name another target or '
            'move the file away'
        )
    # TF Serving takes 007 for 7; only the plain form can be told apart from its neighbours by name.
    return [
        int(name)
        for name in storage.names(target)
        if name.isascii() and name.isdigit() and str(int(name)) == name
    ]


def digests(directory: str) -> dict[str, FileDigest]:
    """Relative path -> digest, of every file below `directory` but the manifest at its top."""
    found = {}
    for name in storage.files(directory):
        if name != MANIFEST:
            found[name] = _digest(storage.join(directory, name))
    return found


def _digest(path: str) -> FileDigest:
    digest, size = hashlib.sha256(), 0
    for chunk in storage.chunks(path):
        digest.update(chunk)
        size += len(chunk)
    return FileDigest(sha256=digest.hexdigest(), size=size)


def model_digest(files: Mapping[str, FileDigest]) -> str:
    """One sha256 (hex) for a set of files: over their names and digests, in the order of the
    names.
    """
    lines = ''.join(f'{name}\0{files[name].sha256}\n' for name in sorted(files))
    return hashlib.sha256(lines.encode('utf-8')).hexdigest()


def differences(expected: Mapping[str, FileDigest], found: Mapping[str, FileDigest]) -> list[str]:
    """One sentence for each file that is missing, extra or of other content; empty when all is as
    expected.
    """
    problems = []
    for name in sorted({*expected, *found}):
        if name not in found:
            problems.append(f'{name} is missing')
        elif name not in expected:
            problems.append(f'{name} is extra')
        elif expected[name] != found[name]:
            was, now = expected[name], found[name]
            problems.append(
                f'{name} differs: {now.size} bytes with sha256 {now.sha256[:12]}…, expected '
                f'{was.size} with {was.sha256[:12]}…'
            )
    return problems


def verify(version_dir: str) -> list[str]:
    """Compares a version with its manifest: a sentence for each file that differs, is missing or is
    extra; empty if all holds.

    Raises:
      TargetError: there is no manifest, or it cannot be read.
    """
    manifest = read_manifest(version_dir)
    return differences(manifest.files, digests(version_dir)) or _wrong_record(manifest)


def damage(version: ServedVersion) -> list[str]:
    """A sentence for each file of a version that is missing or not as it was pushed; empty if all
    are.

    Extra files do not count: they may be of other programs, and nothing that was pushed refers to
    them.
    """
    manifest = version.manifest
    if manifest is None:
        return [version.problem]
    return differences(
        manifest.files, listed_digests(version.path, manifest.files)
    ) or _wrong_record(manifest)


def incomplete(version: ServedVersion) -> list[str]:
    """What `damage` finds without reading the files: a sentence for each that is missing or has
    another size.
    """
    if version.manifest is None:
        return [version.problem]
    problems = []
    for name, digest in version.manifest.files.items():
        path = storage.join(version.path, name)
        if not storage.exists(path):
            problems.append(f'{name} is missing')
        elif (size := storage.stat(path).size) != digest.size:
            problems.append(f'{name} has {size} bytes, expected {digest.size}')
    return problems


def _wrong_record(manifest: Manifest) -> list[str]:
    if model_digest(manifest.files) == manifest.model_digest:
        return []
    return [f'{MANIFEST}: model_digest is not the digest of the files that it lists']


def listed_digests(directory: str, names: Iterable[str]) -> dict[str, FileDigest]:
    """Relative path -> digest, of those of the named files that are there."""
    return {
        name: _digest(path)
        for name in names
        if storage.exists(path := storage.join(directory, name))
    }


def is_copy(version: ServedVersion, directory: str) -> bool:
    """Whether a directory holds all that a version was pushed with, undamaged."""
    found = _version(version.version, directory)
    if found.manifest is None or found.manifest.version != version.version:
        return False
    same = version.manifest is None or version.manifest.model_digest == found.manifest.model_digest
    return same and not damage(found)


def read_manifest(version_dir: str) -> Manifest:
    """The manifest of a version.

    Raises:
      TargetError: it is missing, not valid JSON, or not of the form of `Manifest`.
    """
    path = storage.join(version_dir, MANIFEST)
    if not storage.exists(path):
        raise TargetError(f'{path} is missing: expected the manifest that a push writes')
    try:
        return Manifest.model_validate_json(storage.read_text(path))
    except (ValidationError, UnicodeDecodeError) as error:
        raise TargetError(f'{path} is not a valid manifest: {_one_line(error)}') from error


def _one_line(error: ValidationError | UnicodeDecodeError) -> str:
    if isinstance(error, UnicodeDecodeError):
        return str(error)
    return '; '.join(
        f'{".".join(map(str, each["loc"]))} {each["msg"]}'.strip() for each in error.errors()[:3]
    )


def write_manifest(version_dir: str, manifest: Manifest) -> None:
    """Writes the manifest of a version, in one step."""
    text = json.dumps(manifest.model_dump(mode='json'), indent=2, sort_keys=True, allow_nan=False)
    # Beside the version and not in it: what a killed process leaves there would be an extra file of
    # the version.
    part = storage.join(
        os.path.dirname(version_dir), f'{INCOMING}{socket.gethostname()}-{os.getpid()}.part'
    )
    storage.replace_text(
        storage.join(version_dir, MANIFEST), text + '\n', part, permissions.FILE_MODE
    )


def package_versions() -> dict[str, str]:
    """The versions of the packages that a model's behaviour depends on, as far as they are
    installed.
    """
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
