"""The work of Kubeflow's launcher in a pod: copies inputs, runs the command, publishes outputs."""

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

# Folders that are empty volumes in every pod (v2/compiler/argocompiler/container.go:543). The HOME
# of an unknown user is /.
_SCRATCH = (*(mount.rstrip('/') for mount in MOUNTS.values()), '/.local', '/.cache', '/.config')


class AttemptError(Exception):
    """An attempt at a step failed; the message says how. `outputs` were published nevertheless."""

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
      executor_input: from the driver.
      session: how to reach the store.
      volumes: folder in the pod -> local folder, for each mounted claim.
      folder: scratch folder for the attempt's other volumes.
      log: the file for the command's output.
    """

    pod: str
    number: int
    container: dict[str, Any]
    component: dict[str, Any]
    executor_input: dict[str, Any]
    session: str
    volumes: Mapping[str, Path]
    folder: Path
    log: Path

    def here(self, path: str) -> Path:
        """The local path of a path in the pod's scratch volumes.

        Raises:
          StoreError: the path is in none of them.
        """
        for mount in _SCRATCH:
            if path.startswith(f'{mount}/'):
                return self.folder / mount.lstrip('/') / path[len(mount) + 1 :]
        raise StoreError(
            f'{path}: not in a volume that the launcher copies, '
            f'{", ".join(_SCRATCH[: len(MOUNTS)])}'
        )


def launch(
    attempt: Attempt, runner: PodRunner, store: ObjectStore, metadata: Metadata
) -> dict[str, Artifact]:
    """Runs a step once (v2/component/launcher_v2.go:405). Returns output -> artifact.

    Raises:
      AttemptError: the command failed, or reported something that Kubeflow does not accept.
    """
    executor_input = copy.deepcopy(attempt.executor_input)
    # Each attempt has its own log (v2/component/launcher_v2.go:538).
    executor_input['outputs']['artifacts'][LOGS]['artifacts'][0]['uri'] += f'-{attempt.number}'
    for mount in _SCRATCH:
        make_folder(attempt.folder / mount.lstrip('/'))
    _download(attempt, executor_input, store)
    for _, artifact in _listed(executor_input['outputs']):
        make_folder(attempt.here(local_path(artifact['uri'])).parent)
    code = runner.run(_pod(attempt, executor_input))
    logs = attempt.here(
        local_path(executor_input['outputs']['artifacts'][LOGS]['artifacts'][0]['uri'])
    )
    shutil.copyfile(attempt.log, logs)
    if code != 0:
        only_logs = {
            **executor_input,
            'outputs': {
                **executor_input['outputs'],
                'artifacts': {LOGS: executor_input['outputs']['artifacts'][LOGS]},
            },
        }
        raise AttemptError(f'exit code {code}', _publish(attempt, only_logs, {}, store, metadata))
    try:
        return _publish(attempt, executor_input, _report(attempt, executor_input), store, metadata)
    except (MetadataError, StoreError, json_format.ParseError) as error:
        raise AttemptError(f'the outputs cannot be published: {error}', {}) from error


def command(
    container: Mapping[str, Any], component: Mapping[str, Any], executor_input: Mapping[str, Any]
) -> list[str]:
    """The command with values in place of placeholders; the program itself has none.

    v2/component/launcher_v2.go:1051
    """
    executor_input = copy.deepcopy(dict(executor_input))
    parameters = executor_input['inputs'].setdefault('parameterValues', {})
    for name, definition in component.get('inputDefinitions', {}).get('parameters', {}).items():
        if 'defaultValue' in definition:
            parameters.setdefault(name, definition['defaultValue'])
    values = {'{{$}}': json.dumps(executor_input)}
    for group in ('inputs', 'outputs'):
        for key, artifact in _listed(executor_input[group]):
            values[f"{{{{$.{group}.artifacts['{key}'].uri}}}}"] = artifact['uri']
            values[f"{{{{$.{group}.artifacts['{key}'].path}}}}"] = local_path(artifact['uri'])
    for name, value in parameters.items():
        values[f"{{{{$.inputs.parameters['{name}']}}}}"] = (
            value if isinstance(value, str) else json.dumps(value)
        )
    parts: list[str] = [*container.get('command', ()), *container.get('args', ())]
    for placeholder, value in values.items():
        parts[1:] = [part.replace(placeholder, value) for part in parts[1:]]
    return parts


def _pod(attempt: Attempt, executor_input: Mapping[str, Any]) -> Pod:
    resources = attempt.container.get('resources', {})
    return Pod(
        name=attempt.pod,
        image=attempt.container['image'],
        command=command(attempt.container, attempt.component, executor_input),
        folders={
            **{mount: attempt.folder / mount.lstrip('/') for mount in _SCRATCH},
            **attempt.volumes,
        },
        environment={
            variable['name']: variable['value'] for variable in attempt.container.get('env', ())
        },
        memory_gb=resources.get('memoryLimit'),
        gpus=int(resources.get('accelerator', {}).get('count', 0)),
        log=attempt.log,
    )


def _download(attempt: Attempt, executor_input: Mapping[str, Any], store: ObjectStore) -> None:
    """Copies the inputs; one that is in no store stays where it is, and the pod does not see it.

    v2/component/launcher_v2.go:927
    """
    for _, artifact in _listed(executor_input['inputs']):
        if artifact['uri'].startswith(tuple(MOUNTS)):
            store.download(artifact['uri'], attempt.here(local_path(artifact['uri'])))


def _report(attempt: Attempt, executor_input: Mapping[str, Any]) -> dict[str, Any]:
    """The command's report, empty if there is none; an unknown field is an error.

    v2/component/launcher_v2.go:1208
    """
    path = attempt.here(executor_input['outputs']['outputFile'])
    if not path.exists():
        return {}
    message = json_format.Parse(
        path.read_text(encoding='utf-8'), pipeline_spec_pb2.ExecutorOutput()
    )
    return json_format.MessageToDict(message)


def _publish(
    attempt: Attempt,
    executor_input: Mapping[str, Any],
    reported: Mapping[str, Any],
    store: ObjectStore,
    metadata: Metadata,
) -> dict[str, Artifact]:
    """Uploads the outputs and records them with the reported metadata.

    v2/component/launcher_v2.go:778 and 1188
    """
    published = {}
    for key, artifact in sorted(_listed(executor_input['outputs'])):
        report = (
            reported.get('artifacts', {}).get(key, {}).get('artifacts', [{}])[0]
            if key != LOGS
            else {}
        )
        uri = report.get('uri') or artifact['uri']
        # A URI in no store is recorded, but nothing is uploaded: the next step finds nothing.
        if uri.startswith(tuple(MOUNTS)):
            store.upload(attempt.here(local_path(uri)), uri)
        published[key] = metadata.record(
            key,
            uri,
            {**artifact.get('metadata', {}), **report.get('metadata', {})},
            attempt.session,
        )
    return published


def _listed(group: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The artifacts of inputs or outputs; TFX and this project have one for each key."""
    return (
        (key, entry['artifacts'][0])
        for key, entry in group.get('artifacts', {}).items()
        if entry.get('artifacts')
    )
