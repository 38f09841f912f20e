"""The push target: the directory that TF Serving watches, its versions and their manifests.

Layout: `<target>/<version>/` has a SavedModel and `manifest.json`. A version is a positive integer,
and TF Serving serves the highest one. It ignores everything else in the target, whose names start
with a dot.

Any numeric folder that is not empty counts as a served version, even if it has lost a file: TF
Serving may have it in memory. A candidate that is compared with an older version, or with none,
could replace a better model.

For local paths, this module imports neither TensorFlow nor TFX.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
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
# Which versions TF Serving loads, and under which labels; `cxr-triage models` writes it.
MODEL_CONFIG = 'models.config'
SAVED_MODEL = 'saved_model.pb'
NO_VERSION = ''
# Prefix of the names of unfinished pushes; TF Serving ignores names that are not numbers.
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
    """A push target, version or manifest cannot be used; the text says why and what to do."""


class FileDigest(BaseModel):
    """One file of a version: its SHA-256 in hex, and its size in bytes."""

    model_config = ConfigDict(frozen=True)

    sha256: str
    size: int


class Confirmation(BaseModel):
    """A later run that produced the model of this version again, so that nothing was pushed.

    Attributes: see Manifest; `confirmed_at` is UTC, ISO 8601.
    """

    model_config = ConfigDict(frozen=True)

    candidate_key: str
    push_nonce: str
    baseline_version: str | None
    run_id: str
    confirmed_at: str


class Recalibration(BaseModel):
    """How a version was made from an older one: the same network, another calibration.

    Attributes:
      of_version: the older version.
      data: the data root.
      spans: its spans.
      fingerprint: of the data, see `records.data_root.fingerprint`.
      images, patients, positives: counts of the images that were used.
      prevalence: share of positives, 0..1; weighted, if the images are.
      left_out: why other records were not used -> their number.
      before, after: label -> `offset` and `temperature`.
      threshold_before, threshold_after: the operating points, probabilities.
      served_metrics: the metrics of the older version on these images, as `Manifest.metrics`.
      gate: the conditions that were met, in words.
      by: who ran it.
    """

    model_config = ConfigDict(frozen=True, extra='allow')

    of_version: str
    data: str
    spans: tuple[int, ...]
    fingerprint: str
    images: int
    patients: int
    positives: int
    prevalence: float
    left_out: dict[str, int]
    before: dict[str, dict[str, float]]
    after: dict[str, dict[str, float]]
    threshold_before: float
    threshold_after: float
    served_metrics: dict[str, float | None]
    gate: tuple[str, ...]
    by: str

    def text(self) -> str:
        """A sentence for people."""
        spans = f'span {", ".join(map(str, self.spans))} of {self.data}'
        return (
            f'recalibration of version {self.of_version} by {self.by}, on {self.images:,} images '
            f'of {self.patients:,} patients ({self.prevalence:.1%} positive), {spans}'
        )


class Manifest(BaseModel):
    """The manifest of a pushed version.

    Attributes:
      version: the number of the version, as in the folder's name.
      model_digest: SHA-256 in hex, see `model_digest`.
      files: relative path -> digest and size, of every file but the manifest.
      pipeline_name, run_id: the run that pushed.
      candidate_key: digest of everything that determines the candidate.
      model_uri: the Trainer's artifact.
      push_nonce: see `plan_push`.
      baseline_version: the version that the candidate was compared with; None without one.
      config: the run's configuration.
      metrics: the Evaluator's metrics over all images; None if undefined.
      sensitivity_groups: feature -> the groups behind its sensitivity gap, including those that the
        gap leaves out.
      paired: how the model differs from that of `baseline_version` on the same test images, see
        `components.evaluator.paired`; empty without one.
      pushed_at: UTC, ISO 8601.
      packages: package -> version.
      confirmed: later runs that produced the same model.
      recalibration: how the version was made from an older one; None for a trained one. Then
        `metrics` are of held-out images of the recalibration, and the fields about the run are
        those of the version that was trained.
    """

    # 'allow' keeps the fields of later releases when this one rewrites a manifest.
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
    paired: dict[str, dict[str, float]] = Field(default_factory=dict)
    pushed_at: str
    packages: dict[str, str] = Field(default_factory=dict)
    confirmed: tuple[Confirmation, ...] = ()
    recalibration: Recalibration | None = None

    @field_validator('files')
    @classmethod
    def _below_the_version(cls, files: dict[str, FileDigest]) -> dict[str, FileDigest]:
        # Baseline and repairs join these names with another folder: they must not leave it.
        if wrong := [name for name in files if os.path.isabs(name) or '..' in name.split('/')]:
            raise ValueError(f'{wrong[0]!r} is not a path below the version')
        return files

    def runs(self) -> tuple[Confirmation | Manifest, ...]:
        """All runs that produced this version, the latest first and the one that pushed it last."""
        return (*reversed(self.confirmed), self)


@dataclass(frozen=True)
class ServedVersion:
    """A version in a push target.

    Attributes:
      version: its number.
      path: its folder.
      manifest: None if it is missing or not valid.
      problem: the reason why there is no manifest; else ''.
    """

    version: str
    path: str
    manifest: Manifest | None
    problem: str = ''


@dataclass(frozen=True)
class PushPlan:
    """The decisions about a push that are made before a run.

    Attributes:
      baseline_version: the version that the candidate is compared with; '' for none.
      push_nonce: a text that changes if Pusher has to run although nothing else has changed.
    """

    baseline_version: str
    push_nonce: str


def plan_push(
    served: ServedVersion | None,
    candidate_key: str,
    model_uri_exists: Callable[[str], bool],
    new_nonce: str,
) -> PushPlan:
    """Decides before a run what its candidate is compared with, and whether to push it.

    If the run would produce the served candidate again, the plan repeats the decisions of the run
    that pushed it. Then all components are cached, and nothing is pushed; if files of the version
    are damaged, only Pusher runs, and repairs them. Any other run compares its candidate with the
    newest version and pushes it.

    Args:
      served: the newest version, with its manifest; None if no model is served.
      candidate_key: digest of everything that determines the candidate.
      model_uri_exists: whether the Trainer's artifact at a URI still exists; if not, the candidate
        has to be trained again.
      new_nonce: a nonce that was never used before.

    Raises:
      TargetError: the version to compare with is damaged.
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
    """The versions in `target`, oldest first, including damaged ones.

    The result is empty if the directory does not exist.

    Raises:
      TargetError: `target` is a file.
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
    """The newest version, with its manifest; None if no model is served.

    Raises:
      TargetError: its manifest is missing or not valid, so that no candidate can be compared with
        it; or `target` is a file.
    """
    served = versions(target)
    if not served:
        return None
    if served[-1].manifest is None:
        raise TargetError(_unusable(served[-1], served[-1].problem))
    return served[-1]


def _unusable(version: ServedVersion, problem: str) -> str:
    return (
        f'the newest version {version.version} in {os.path.dirname(version.path)} is damaged: '
        f'{problem}. No candidate can be compared with it, so nothing is pushed. Either restore '
        'its files: the run that pushed it has a copy in the artifact pushed_model of its '
        f'Pusher{_by(version)}, and `cxr-triage run` repairs the version if that copy is under '
        f'its --root. Or give up the version: move {version.path} out of the target; candidates '
        'are then compared with the next older version'
    )


def _by(version: ServedVersion) -> str:
    return (
        f' (pipeline {version.manifest.pipeline_name}, run {version.manifest.run_id})'
        if version.manifest
        else ''
    )


def configured_numbers(target: str) -> set[str]:
    """The numbers in the model config file of a push target, among them all released versions."""
    path = storage.join(target, MODEL_CONFIG)
    return set(re.findall(r'\b\d+\b', storage.read_text(path))) if storage.exists(path) else set()


def next_version(target: str) -> str:
    """A version number above all in use: the seconds since 1970, or the newest number plus 1.

    Raises:
      TargetError: `target` is a file.
    """
    return str(max([int(time.time()), *(number + 1 for number in _numbers(target))]))


def _numbers(target: str) -> list[int]:
    if storage.exists(target) and not storage.is_dir(target):
        raise TargetError(
            f'the push target {target} is a file: expected a directory; name another target or '
            'move the file away'
        )
    # TF Serving reads 007 as 7; only names without leading zeros are unique.
    return [
        int(name)
        for name in storage.names(target)
        if name.isascii() and name.isdigit() and str(int(name)) == name
    ]


def digests(directory: str) -> dict[str, FileDigest]:
    """Relative path -> digest, of every file in `directory` except the manifest."""
    files = {}
    for name in storage.files(directory):
        if name != MANIFEST:
            files[name] = _digest(storage.join(directory, name))
    return files


def _digest(path: str) -> FileDigest:
    digest, size = hashlib.sha256(), 0
    for chunk in storage.chunks(path):
        digest.update(chunk)
        size += len(chunk)
    return FileDigest(sha256=digest.hexdigest(), size=size)


def model_digest(files: Mapping[str, FileDigest]) -> str:
    """One SHA-256 in hex over the names and digests of files, in the order of the names."""
    lines = ''.join(f'{name}\0{files[name].sha256}\n' for name in sorted(files))
    return hashlib.sha256(lines.encode('utf-8')).hexdigest()


def differences(expected: Mapping[str, FileDigest], actual: Mapping[str, FileDigest]) -> list[str]:
    """One sentence for each file that is missing, extra or different."""
    problems = []
    for name in sorted({*expected, *actual}):
        if name not in actual:
            problems.append(f'{name} is missing')
        elif name not in expected:
            problems.append(f'{name} is extra')
        elif expected[name] != actual[name]:
            before, now = expected[name], actual[name]
            problems.append(
                f'{name} differs: {now.size} bytes with sha256 {now.sha256[:12]}…, expected '
                f'{before.size} with {before.sha256[:12]}…'
            )
    return problems


def verify(version_dir: str) -> list[str]:
    """Compares a version with its manifest.

    Returns:
      One sentence for each file that is missing, extra or different.

    Raises:
      TargetError: the manifest is missing or not valid.
    """
    manifest = read_manifest(version_dir)
    return differences(manifest.files, digests(version_dir)) or _wrong_record(manifest)


def damage(version: ServedVersion) -> list[str]:
    """One sentence for each file of a version that is missing or differs from what was pushed.

    Extra files do not count: other programs may have written them, and the model does not read
    them.
    """
    manifest = version.manifest
    if manifest is None:
        return [version.problem]
    return differences(
        manifest.files, listed_digests(version.path, manifest.files)
    ) or _wrong_record(manifest)


def incomplete(version: ServedVersion) -> list[str]:
    """One sentence for each file of a version that is missing or has another size.

    Unlike `damage`, it does not read the files.
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
    """Relative path -> digest, of those of `names` that exist in `directory`."""
    return {
        name: _digest(path)
        for name in names
        if storage.exists(path := storage.join(directory, name))
    }


def is_copy(version: ServedVersion, directory: str) -> bool:
    """Whether `directory` has an undamaged copy of what was pushed as `version`."""
    copy = _version(version.version, directory)
    if copy.manifest is None or copy.manifest.version != version.version:
        return False
    same = version.manifest is None or version.manifest.model_digest == copy.manifest.model_digest
    return same and not damage(copy)


def read_manifest(version_dir: str) -> Manifest:
    """Reads the manifest of a version.

    Raises:
      TargetError: it is missing or not valid.
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
        f'{".".join(map(str, detail["loc"]))} {detail["msg"]}'.strip()
        for detail in error.errors()[:3]
    )


def write_manifest(version_dir: str, manifest: Manifest) -> None:
    """Writes the manifest of a version in one step."""
    text = json.dumps(manifest.model_dump(mode='json'), indent=2, sort_keys=True, allow_nan=False)
    # The temporary file is beside the version: in it, a killed process would leave an extra file.
    part = storage.join(
        os.path.dirname(version_dir), f'{INCOMING}{socket.gethostname()}-{os.getpid()}.part'
    )
    storage.replace_text(
        storage.join(version_dir, MANIFEST), text + '\n', part, permissions.FILE_MODE
    )


def package_versions() -> dict[str, str]:
    """The versions of the installed packages that affect how a model behaves, by package."""
    installed = {}
    for package in _PACKAGES:
        try:
            installed[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return installed
