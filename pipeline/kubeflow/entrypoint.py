"""The command of every container: what open-source Kubeflow Pipelines needs between its launcher
and TFX's entry point.

    python -m pipeline.kubeflow.entrypoint --executor_class_path … \
        --json_serialized_invocation_args …
    [--json_serialized_inputs_spec_args …]

TFX's entry point was written for Vertex AI. Kubeflow's driver and launcher (backend/src of
kubeflow/pipelines 2.17.0) hand it something else:

- Input artifacts come without their types (v2/metadata/client.go:1144). The compiler wrote them
  into the arguments.
- The driver adds an output `executor-logs` (v2/driver/driver.go:761) of a type that TFX cannot
  parse.
- The launcher copies artifacts between the object store and paths in the container (/gcs/…, /s3/…,
  /minio/…). TFX has to read and write these paths, and what it reports has to name the store again.
  TFX itself would open the URI, for which an image rarely has the driver. Where a step's Beam
  workers are elsewhere (Flink, Dataflow), no path of this container means anything to them: gs://
  URIs stay then, and the launcher finds nothing to copy back, which it allows
  (v2/component/launcher_v2.go:825).
- Argo starts the launcher with umask 0 (argoproj/argo-workflows,
  workflow/executor/osspecific/umask_linux.go). Every pod that mounts the same volume could change
  what a step leaves there, served models included.
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
# Scheme of an artifact's URI -> the folder under which the launcher has it.
MOUNTS = {'gs://': '/gcs/', 's3://': '/s3/', 'minio://': '/minio/'}
_LOGS = 'executor-logs'
_RUNNER = '--runner='
# Runners of Beam that work in the container.
_HERE = ('FnApiRunner', 'DirectRunner')
# Everybody reads, TF Serving among them; the owner alone writes.
_UMASK = 0o022


class EntrypointError(ValueError):
    """The arguments are not those of a compiled component."""


@dataclasses.dataclass(frozen=True)
class Adapted:
    """What TFX is called with.

    Attributes:
      argv: the arguments, in the form that TFX's entry point takes.
      output_file: where TFX reports to, a path in the container.
      stores: URI as the launcher gave it, by the path that TFX was told.
    """

    argv: list[str]
    output_file: str
    stores: dict[str, str]


def adapt(argv: Sequence[str]) -> Adapted:
    """The launcher's arguments in TFX's form. Nothing is read or written.

    Raises:
      EntrypointError: arguments are missing or no JSON, or an input has no type anywhere.
    """
    invocation = _json(argv, INVOCATION)
    types = _json(argv, INPUTS_SPEC).get('artifacts', {}) if INPUTS_SPEC in argv else {}
    inputs = invocation.get('inputs', {}).get('artifacts', {})
    outputs = invocation.get('outputs', {}).get('artifacts', {})
    outputs.pop(_LOGS, None)
    for key, artifact in _artifacts(inputs):
        _restore_type(key, artifact, types)
    elsewhere = any(
        arg.startswith(_RUNNER) and arg.removeprefix(_RUNNER) not in _HERE for arg in argv
    )
    stores = {}
    for _, artifact in (*_artifacts(inputs), *_artifacts(outputs)):
        if not (elsewhere and artifact['uri'].startswith('gs://')):
            path = local_path(artifact['uri'])
            stores[path], artifact['uri'] = artifact['uri'], path
    try:
        output_file = invocation['outputs']['outputFile']
    except KeyError:
        raise EntrypointError(
            f'{INVOCATION} names no outputs.outputFile: expected the executor input of Kubeflow '
            'Pipelines v2'
        ) from None
    adapted = list(argv)
    adapted[adapted.index(INVOCATION) + 1] = json.dumps(invocation)
    return Adapted(adapted, output_file, stores)


def local_path(uri: str) -> str:
    """Where the launcher has the artifact of a URI; a URI without a store of MOUNTS, and so a path,
    stays as it is.
    """
    return next(
        (mount + uri[len(scheme) :] for scheme, mount in MOUNTS.items() if uri.startswith(scheme)),
        uri,
    )


def store_uri(path: str) -> str:
    """The URI of what the launcher has at a path; what is no such path stays as it is."""
    return next(
        (scheme + path[len(mount) :] for scheme, mount in MOUNTS.items() if path.startswith(mount)),
        path,
    )


def report(output: dict[str, Any], stores: dict[str, str]) -> dict[str, Any]:
    """TFX's report with the URIs of the object store in the place of paths. An artifact may be
    reported below its own path.
    """
    for _, artifact in _artifacts(output.get('artifacts', {})):
        for path, uri in stores.items():
            if artifact.get('uri', '') == path or artifact.get('uri', '').startswith(path + '/'):
                artifact['uri'] = uri + artifact['uri'][len(path) :]
                break
    return output


def main() -> None:
    """Runs one component as Kubeflow's launcher asks for it; whatever the executor raises ends the
    container with its traceback.
    """
    keras_settings.apply()
    os.umask(_UMASK)
    try:
        adapted = adapt(sys.argv)
    except EntrypointError as error:
        sys.exit(f'pipeline.kubeflow.entrypoint: {error}')
    # The launcher has the folder in an empty volume; elsewhere it may be missing.
    os.makedirs(os.path.dirname(adapted.output_file), exist_ok=True)
    sys.argv = adapted.argv
    # Late: `adapt` is tried without TFX, and refuses in no time.
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
            f'{option} is missing: this is the command of a container that `cxr-triage compile` '
            'wrote'
        ) from None
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise EntrypointError(f'{option} is no JSON ({error}): {text[:200]!r}') from None
    if not isinstance(content, dict):
        raise EntrypointError(f'{option} is a {type(content).__name__}: expected an object')
    return content


def _artifacts(of: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    lists: Iterable[tuple[str, dict]] = of.items()
    return ((key, artifact) for key, entry in lists for artifact in entry.get('artifacts', ()))


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
            f'input {key!r} comes without a type, and {INPUTS_SPEC} does not name it (known: '
            f'{names})'
        ) from None


if __name__ == '__main__':
    main()
