"""Records which files each step wrote, and compares them before another step reads them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence

from tfx import types
from tfx.types import standard_artifacts

import storage
from components.xray_example_gen.artifact import Quarantine
from pipeline.metadata_file import EXECUTIONS
from records import tfrecord

_LISTING = 'outputs.json'
# Compared by file size only: the records have checksums, and all images are many GB.
_RECORD_TYPES = (standard_artifacts.Examples.TYPE_NAME, Quarantine.TYPE_NAME)

Artifacts = Mapping[str, Sequence[types.Artifact]]


class DamagedArtifactError(RuntimeError):
    """An artifact is not what its step wrote; the text names file, problem and remedy."""


def record(outputs: Artifacts) -> None:
    """Writes the list of the files in the outputs of an execution."""
    content: dict[str, dict[str, dict[str, list]]] = {}
    for artifact in _step_artifacts(outputs):
        listing, key = _place(artifact)
        content.setdefault(listing, {})[key] = _files(artifact)
    for listing, keys in content.items():
        # TFX has created its folder.
        storage.replace_text(listing, json.dumps(keys, indent=1, sort_keys=True), f'{listing}.part')


def check(inputs: Artifacts) -> None:
    """Checks that the files of all inputs are exactly those that their steps wrote.

    Raises:
      DamagedArtifactError: a file is missing, has been added, or has other content.
    """
    for artifact in _step_artifacts(inputs):
        listing, key = _place(artifact)
        # Earlier releases wrote no listing.
        if not storage.exists(listing):
            continue
        try:
            expected = json.loads(storage.read_text(listing))[key]
        except (ValueError, KeyError) as error:
            raise _error(artifact, listing, f'not a list of files ({error!r})') from None
        files = _files(artifact)
        for name in sorted({*expected, *files}):
            path = storage.join(artifact.uri, name)
            if name not in files:
                raise _error(artifact, path, 'the file is missing')
            if name not in expected:
                raise _error(artifact, path, 'the step did not write this file')
            if expected[name] != files[name]:
                (size, _), (size_now, _) = expected[name], files[name]
                change = 'its content changed' if size == size_now else f'it has {size_now} bytes'
                raise _error(artifact, path, f'{change}, and the step wrote {size} bytes')


def check_records(inputs: Artifacts) -> None:
    """Reads all records of the inputs, to find a damaged one after a step failed.

    Raises:
      DamagedArtifactError: a record is damaged.
    """
    for artifact in _step_artifacts(inputs):
        if artifact.type_name != standard_artifacts.Examples.TYPE_NAME:
            continue
        for name in storage.files(artifact.uri):
            path = storage.join(artifact.uri, name)
            for item in tfrecord.read(path):
                if isinstance(item, tfrecord.Damage) and item.reason != tfrecord.EMPTY:
                    raise _error(
                        artifact, path, f'record {item.index} (byte {item.offset}): {item.reason}'
                    )


def _error(artifact: types.Artifact, path: str, problem: str) -> DamagedArtifactError:
    step = artifact.uri.rsplit('/', 3)[-3]
    return DamagedArtifactError(
        f'{path}: {problem}. Delete the folder {artifact.uri} and run the same command again: '
        f'{step} creates it again.'
    )


def _step_artifacts(artifacts: Artifacts) -> Iterable[types.Artifact]:
    """The artifacts that a step of a pipeline wrote as STEP/KEY/NUMBER."""
    for artifacts_of_key in artifacts.values():
        for artifact in artifacts_of_key:
            if not artifact.is_external and artifact.uri.rsplit('/', 1)[-1].isdecimal():
                yield artifact


def _place(artifact: types.Artifact) -> tuple[str, str]:
    """Where the listing of an artifact's execution is, and the key of the artifact in it."""
    step, key, number = artifact.uri.rsplit('/', 2)
    return storage.join(step, *EXECUTIONS, number, _LISTING), key


def _files(artifact: types.Artifact) -> dict[str, list]:
    """Relative file name -> [bytes, SHA-256]; the hash is '' where records have checksums."""
    files: dict[str, list] = {}
    for name in storage.files(artifact.uri):
        path = storage.join(artifact.uri, name)
        if artifact.type_name in _RECORD_TYPES:
            files[name] = [storage.stat(path).size, '']
            continue
        digest, size = hashlib.sha256(), 0
        for chunk in storage.chunks(path):
            digest.update(chunk)
            size += len(chunk)
        files[name] = [size, digest.hexdigest()]
    return files
