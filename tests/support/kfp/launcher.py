"""What Kubeflow's launcher does inside a pod: brings the inputs, runs the command, takes the
outputs away and publishes them.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from google.protobuf import json_format

from kfp.pipeline_spec import pipeline_spec_pb2
from pipeline.kubeflow.entrypoint import MOUNTS, local_path
from tests.support.kfp.driver import LOGS
from tests.support.kfp.metadata import Artifact, Metadata, MetadataError
from tests.support.kfp.objects import ObjectStore, StoreError, make_folder
from tests.support.kfp.pods import Pod, PodRunner

# Folders that every pod has as empty volumes (v2/compiler/argocompiler/container.go:543). HOME of
# an unknown user is /.
_SCRATCH = (*(mount.rstrip('/') for mount in MOUNTS.values()), '/.local', '/.cache', '/.config')


class AttemptError(Exception):
    """An attempt at a step failed; the text says how. `outputs` are what was published all the
    same.
    """

    def __init__(self, message: str, outputs: dict[str, Artifact]):
        super().__init__(message)
        self.outputs = outputs


@dataclasses.dataclass(frozen=True)
class Attempt:
    """One attempt at a step.

    Attributes:
      pod: its name.
      number: from 0.
      container: of the specification.
      component: of the specification.
      given: the driver's executor input.
      session: how to reach the store.
      volumes: folder in the pod -> folder here, of mounted claims.
      folder: scratch of its own, for its volumes.
      log: the file for all that the command says.
    """

    pod: str
    number: int
    container: dict[str, Any]
    component: dict[str, Any]
    given: dict[str, Any]
    session: str
    volumes: Mapping[str, Path]
    folder: Path
    log: Path

    def here(self, path: str) -> Path:
        """Where a path in the pod's scratch volumes lies here.

        Raises:
          StoreError: it is in none of them.
        """
        for mount in _SCRATCH:
            if path.startswith(f'{mount}/'):
                return self.folder / mount.lstrip('/') / path[len(mount) + 1 :]
        raise StoreError(
            f'{path}: in none of the volumes that the launcher copies, '
            f'{", ".join(_SCRATCH[: len(MOUNTS)])}'
        )


def launch(
    attempt: Attempt, runner: PodRunner, store: ObjectStore, metadata: Metadata
) -> dict[str, Artifact]:
    """Runs a step once (v2/component/launcher_v2.go:405). Returns output -> artifact.

    Raises:
      AttemptError: the command failed, or reported something that Kubeflow does not take.
    """
    given = copy.deepcopy(attempt.given)
    # Each attempt has a log of its own (v2/component/launcher_v2.go:538).
    given['outputs']['artifacts'][LOGS]['artifacts'][0]['uri'] += f'-{attempt.number}'
    for mount in _SCRATCH:
        make_folder(attempt.folder / mount.lstrip('/'))
    _download(attempt, given, store)
    for _, artifact in _listed(given['outputs']):
        make_folder(attempt.here(local_path(artifact['uri'])).parent)
    code = runner.run(_pod(attempt, given))
    logs = attempt.here(local_path(given['outputs']['artifacts'][LOGS]['artifacts'][0]['uri']))
    shutil.copyfile(attempt.log, logs)
    if code != 0:
        only_logs = {
            **given,
            'outputs': {
                **given['outputs'],
                'artifacts': {LOGS: given['outputs']['artifacts'][LOGS]},
            },
        }
        raise AttemptError(f'exit code {code}', _publish(attempt, only_logs, {}, store, metadata))
    try:
        return _publish(attempt, given, _report(attempt, given), store, metadata)
    except (MetadataError, StoreError, json_format.ParseError) as error:
        raise AttemptError(f'what it left cannot be published: {error}', {}) from error


def command(
    container: Mapping[str, Any], component: Mapping[str, Any], given: Mapping[str, Any]
) -> list[str]:
    """The command with its placeholders replaced (v2/component/launcher_v2.go:1051). A program is
    not searched for any.
    """
    given = copy.deepcopy(dict(given))
    parameters = given['inputs'].setdefault('parameterValues', {})
    for name, definition in component.get('inputDefinitions', {}).get('parameters', {}).items():
        if 'defaultValue' in definition:
            parameters.setdefault(name, definition['defaultValue'])
    replaced = {'{{$}}': json.dumps(given)}
    for group in ('inputs', 'outputs'):
        for key, artifact in _listed(given[group]):
            replaced[f"{{{{$.{group}.artifacts['{key}'].uri}}}}"] = artifact['uri']
            replaced[f"{{{{$.{group}.artifacts['{key}'].path}}}}"] = local_path(artifact['uri'])
    for name, value in parameters.items():
        replaced[f"{{{{$.inputs.parameters['{name}']}}}}"] = (
            value if isinstance(value, str) else json.dumps(value)
        )
    words: list[str] = [*container.get('command', ()), *container.get('args', ())]
    for placeholder, value in replaced.items():
        words[1:] = [word.replace(placeholder, value) for word in words[1:]]
    return words


def _pod(attempt: Attempt, given: Mapping[str, Any]) -> Pod:
    resources = attempt.container.get('resources', {})
    return Pod(
        name=attempt.pod,
        image=attempt.container['image'],
        command=command(attempt.container, attempt.component, given),
        folders={
            **{mount: attempt.folder / mount.lstrip('/') for mount in _SCRATCH},
            **attempt.volumes,
        },
        environment={each['name']: each['value'] for each in attempt.container.get('env', ())},
        memory_gb=resources.get('memoryLimit'),
        gpus=int(resources.get('accelerator', {}).get('count', 0)),
        log=attempt.log,
    )


def _download(attempt: Attempt, given: Mapping[str, Any], store: ObjectStore) -> None:
    """v2/component/launcher_v2.go:927. An input without a store stays where it is, which the pod
    does not see.
    """
    for _, artifact in _listed(given['inputs']):
        if artifact['uri'].startswith(tuple(MOUNTS)):
            store.download(artifact['uri'], attempt.here(local_path(artifact['uri'])))


def _report(attempt: Attempt, given: Mapping[str, Any]) -> dict[str, Any]:
    """What the command reported; nothing is no error, a field that Kubeflow does not know is one
    (v2/component/launcher_v2.go:1208).
    """
    path = attempt.here(given['outputs']['outputFile'])
    if not path.exists():
        return {}
    message = json_format.Parse(
        path.read_text(encoding='utf-8'), pipeline_spec_pb2.ExecutorOutput()
    )
    return json_format.MessageToDict(message)


def _publish(
    attempt: Attempt,
    given: Mapping[str, Any],
    reported: Mapping[str, Any],
    store: ObjectStore,
    metadata: Metadata,
) -> dict[str, Artifact]:
    """Uploads the outputs and records them, with what was reported of them
    (v2/component/launcher_v2.go:778 and 1188).
    """
    published = {}
    for key, artifact in sorted(_listed(given['outputs'])):
        told = (
            reported.get('artifacts', {}).get(key, {}).get('artifacts', [{}])[0]
            if key != LOGS
            else {}
        )
        uri = told.get('uri') or artifact['uri']
        # One that names no store is recorded and not uploaded: the next step finds nothing.
        if uri.startswith(tuple(MOUNTS)):
            store.upload(attempt.here(local_path(uri)), uri)
        published[key] = metadata.record(
            key, uri, {**artifact.get('metadata', {}), **told.get('metadata', {})}, attempt.session
        )
    return published


def _listed(group: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The artifacts of inputs or outputs; TFX and this project have one to a key."""
    return (
        (key, entry['artifacts'][0])
        for key, entry in group.get('artifacts', {}).items()
        if entry.get('artifacts')
    )
