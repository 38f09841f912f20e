"""Which files each step wrote: noted when it is done, and compared before another step reads
them.
"""

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
# Their records carry checksums of their own, and all films are many GB: their files are compared by
# size.
_RECORD_TYPES = (standard_artifacts.Examples.TYPE_NAME, Quarantine.TYPE_NAME)

Artifacts = Mapping[str, Sequence[types.Artifact]]


class DamagedArtifactError(RuntimeError):
    """An artifact is not what its step wrote; the text names the file, what is wrong and what to
    do.
    """


def note(outputs: Artifacts) -> None:
    """Writes down the files of the outputs of an execution, beside them."""
    content: dict[str, dict[str, dict[str, list]]] = {}
    for artifact in _each(outputs):
        listing, key = _place(artifact)
        content.setdefault(listing, {})[key] = _files(artifact)
    for listing, keys in content.items():
        # TFX has made its folder.
        storage.replace_text(listing, json.dumps(keys, indent=1, sort_keys=True), f'{listing}.part')


def check(inputs: Artifacts) -> None:
    """Checks that the files of all inputs are those which their steps wrote, no more and no less.

    Raises:
      DamagedArtifactError: a file is missing, is there in addition, or has other content.
    """
    for artifact in _each(inputs):
        listing, key = _place(artifact)
        # Artifacts of a release that kept no listing have none.
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
                what = 'its content changed' if size == size_now else f'it has {size_now} bytes'
                raise _error(artifact, path, f'{what}, and the step wrote {size} bytes')


def check_records(inputs: Artifacts) -> None:
    """Reads all records of the inputs, to find the damaged one after a step failed.

    Raises:
      DamagedArtifactError: a record is damaged.
    """
    for artifact in _each(inputs):
        if artifact.type_name != standard_artifacts.Examples.TYPE_NAME:
            continue
        for name in storage.files(artifact.uri):
            path = storage.join(artifact.uri, name)
            for item in tfrecord.read(path):
                if isinstance(item, tfrecord.Damage) and item.reason != tfrecord.EMPTY:
                    raise _error(
                        artifact, path, f'record {item.index} (byte {item.offset}): {item.reason}'
                    )


def _error(artifact: types.Artifact, path: str, what: str) -> DamagedArtifactError:
    step = artifact.uri.rsplit('/', 3)[-3]
    return DamagedArtifactError(
        f'{path}: {what}. Delete the folder {artifact.uri} and run the same command again: {step} '
        'makes it anew.'
    )


def _each(artifacts: Artifacts) -> Iterable[types.Artifact]:
    """The artifacts that a step of a pipeline wrote as STEP/KEY/NUMBER."""
    for several in artifacts.values():
        for artifact in several:
            if not artifact.is_external and artifact.uri.rsplit('/', 1)[-1].isdecimal():
                yield artifact


def _place(artifact: types.Artifact) -> tuple[str, str]:
    """Where the listing of an artifact's execution is, and the key of the artifact in it."""
    step, key, number = artifact.uri.rsplit('/', 2)
    return storage.join(step, *EXECUTIONS, number, _LISTING), key


def _files(artifact: types.Artifact) -> dict[str, list]:
    """File name relative to the artifact -> [bytes, SHA-256 or '' where records carry
    checksums].
    """
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
