"""The command of every container, between Kubeflow's launcher and TFX's entry point.

    python -m pipeline.kubeflow.entrypoint --executor_class_path … \
        --json_serialized_invocation_args …
    [--json_serialized_inputs_spec_args …]

TFX's entry point was written for Vertex AI. Kubeflow's driver and launcher (backend/src of
kubeflow/pipelines 2.17.0) call it in another way:

- Input artifacts have no types (v2/metadata/client.go:1144). The compiler writes the types into the
  arguments.
- The driver adds an output `executor-logs` (v2/driver/driver.go:761) of a type that TFX cannot
  parse.
- The launcher copies artifacts between the object store and paths in the container (/gcs/…, /s3/…,
  /minio/…). TFX has to read and write these paths, and its report has to contain URIs of the store.
  TFX itself would open the URIs, for which few images have the driver. If a step's Beam workers run
  outside the container (Flink, Dataflow), they cannot use its paths: then gs:// URIs stay, and the
  launcher finds nothing to copy back, which it allows (v2/component/launcher_v2.go:825).
- Argo starts the launcher with umask 0 (argoproj/argo-workflows,
  workflow/executor/osspecific/umask_linux.go). Every pod that mounts the same volume could then
  change the files of a step, including served models.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from trainer import keras_settings

INVOCATION = '--json_serialized_invocation_args'
INPUTS_SPEC = '--json_serialized_inputs_spec_args'
# Scheme of an artifact's URI -> the folder where the launcher puts the artifact.
MOUNTS = {'gs://': '/gcs/', 's3://': '/s3/', 'minio://': '/minio/'}
_LOGS = 'executor-logs'
_RUNNER = '--runner='
# Beam runners that run in the container.
_LOCAL_RUNNERS = ('FnApiRunner', 'DirectRunner')
# Everyone can read, which TF Serving needs; only the owner can write.
_UMASK = 0o022


class EntrypointError(ValueError):
    """The arguments are not those of a compiled component."""


@dataclasses.dataclass(frozen=True)
class Adapted:
    """The adapted arguments for TFX.

    Attributes:
      argv: the arguments in the form of TFX's entry point.
      output_file: path in the container to which TFX writes its report.
      stores: path in the container -> the launcher's URI.
    """

    argv: list[str]
    output_file: str
    stores: dict[str, str]


def adapt(argv: Sequence[str]) -> Adapted:
    """Converts the launcher's arguments to TFX's form, without reading or writing files.

    Raises:
      EntrypointError: an argument is missing or not valid JSON, or an input has no type.
    """
    invocation = _json(argv, INVOCATION)
    types = _json(argv, INPUTS_SPEC).get('artifacts', {}) if INPUTS_SPEC in argv else {}
    inputs = invocation.get('inputs', {}).get('artifacts', {})
    outputs = invocation.get('outputs', {}).get('artifacts', {})
    outputs.pop(_LOGS, None)
    for key, artifact in _artifacts(inputs):
        _restore_type(key, artifact, types)
    has_remote_workers = any(
        arg.startswith(_RUNNER) and arg.removeprefix(_RUNNER) not in _LOCAL_RUNNERS for arg in argv
    )
    stores = {}
    for _, artifact in (*_artifacts(inputs), *_artifacts(outputs)):
        if not (has_remote_workers and artifact['uri'].startswith('gs://')):
            path = local_path(artifact['uri'])
            stores[path], artifact['uri'] = artifact['uri'], path
    try:
        output_file = invocation['outputs']['outputFile']
    except KeyError:
        raise EntrypointError(
            f'{INVOCATION} has no outputs.outputFile: expected the executor input of Kubeflow '
            'Pipelines v2'
        ) from None
    adapted = list(argv)
    adapted[adapted.index(INVOCATION) + 1] = json.dumps(invocation)
    return Adapted(adapted, output_file, stores)


def local_path(uri: str) -> str:
    """The launcher's path for a URI; anything without a scheme of MOUNTS stays as it is."""
    return next(
        (mount + uri[len(scheme) :] for scheme, mount in MOUNTS.items() if uri.startswith(scheme)),
        uri,
    )


def store_uri(path: str) -> str:
    """The URI for a path of the launcher; other paths stay as they are."""
    return next(
        (scheme + path[len(mount) :] for scheme, mount in MOUNTS.items() if path.startswith(mount)),
        path,
    )


def report(output: dict[str, Any], stores: dict[str, str]) -> dict[str, Any]:
    """Replaces paths in TFX's report by URIs of the object store.

    An artifact in the report can be below its own path.
    """
    for _, artifact in _artifacts(output.get('artifacts', {})):
        for path, uri in stores.items():
            if artifact.get('uri', '') == path or artifact.get('uri', '').startswith(path + '/'):
                artifact['uri'] = uri + artifact['uri'][len(path) :]
                break
    return output


def main() -> None:
    """Runs one component for Kubeflow's launcher.

    An error of the executor ends the container with a traceback.
    """
    keras_settings.apply()
    os.umask(_UMASK)
    try:
        adapted = adapt(sys.argv)
    except EntrypointError as error:
        sys.exit(f'pipeline.kubeflow.entrypoint: {error}')
    # The folder is in an empty volume of the launcher; without the launcher it can be missing.
    os.makedirs(os.path.dirname(adapted.output_file), exist_ok=True)
    sys.argv = adapted.argv
    # Imported here so that `adapt` works without TFX and reports errors quickly.
    from absl import app
    from tfx.orchestration.kubeflow.v2.container import kubeflow_v2_run_executor

    from components import beam_batches

    def run(parsed: Any) -> None:
        beam_batches.prepare()
        kubeflow_v2_run_executor.main(parsed)
        with open(adapted.output_file, encoding='utf-8') as file:
            output = json.load(file)
        with open(adapted.output_file, 'w', encoding='utf-8') as file:
            json.dump(report(output, adapted.stores), file)

    app.run(run, flags_parser=kubeflow_v2_run_executor._parse_flags)


def _json(argv: Sequence[str], option: str) -> dict[str, Any]:
    try:
        text = argv[argv.index(option) + 1]
    except (ValueError, IndexError):
        raise EntrypointError(
            f'{option} is missing: run this command only in a container of a pipeline that '
            '`cxr-triage compile` wrote'
        ) from None
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise EntrypointError(f'{option} is not valid JSON ({error}): {text[:200]!r}') from None
    if not isinstance(content, dict):
        raise EntrypointError(f'{option} is a {type(content).__name__}: expected an object')
    return content


def _artifacts(lists: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    entries: Iterable[tuple[str, dict]] = lists.items()
    return ((key, artifact) for key, entry in entries for artifact in entry.get('artifacts', ()))


def _restore_type(key: str, artifact: dict[str, Any], types: dict[str, Any]) -> None:
    if artifact.get('type', {}).get('instanceSchema') or artifact.get('type', {}).get(
        'schemaTitle'
    ):
        return
    try:
        artifact['type'] = types[key]['artifactType']
    except KeyError:
        names = ', '.join(sorted(types)) or 'none'
        raise EntrypointError(
            f'input {key!r} has no type, and {INPUTS_SPEC} does not contain the input (known: '
            f'{names})'
        ) from None


if __name__ == '__main__':
    main()
