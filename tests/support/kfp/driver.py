"""The work of Kubeflow's driver: resolves inputs, names outputs, computes the key of the cache."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from google.protobuf import json_format

from kfp.pipeline_spec import pipeline_spec_pb2
from pipeline.kubeflow import validation
from pipeline.kubeflow.entrypoint import local_path
from pipeline.kubeflow.validation import Spec
from tests.support.kfp.metadata import Artifact

LOGS = 'executor-logs'
OUTPUT_FILE = 'output_metadata.json'
_NUMBERS = ('NUMBER_INTEGER', 'NUMBER_DOUBLE')
_TYPES: dict[str, tuple[type, ...]] = {
    'STRING': (str,),
    'BOOLEAN': (bool,),
    'LIST': (list,),
    'STRUCT': (dict,),
    **dict.fromkeys(_NUMBERS, (int, float)),
}
# The fields that a task may have here.
_TASK_FIELDS = {
    'cachingOptions',
    'componentRef',
    'dependentTasks',
    'inputs',
    'retryPolicy',
    'taskInfo',
}


class DriverError(Exception):
    """Kubeflow would refuse the run or fail the step; the message says why and what to change."""


@dataclasses.dataclass(frozen=True)
class Run:
    """What is fixed when a run is created.

    Attributes:
      spec: the pipeline specification.
      run_id: the id of the run.
      root: the pipeline root of the run.
      parameters: of the pipeline, including defaults.
      created: the time, in Kubernetes' format.
    """

    spec: Spec
    run_id: str
    root: str
    parameters: dict[str, Any]
    created: str

    @property
    def pipeline(self) -> str:
        """The name of the pipeline."""
        return self.spec['pipelineInfo']['name']

    @property
    def tasks(self) -> dict[str, Any]:
        """Step -> its task."""
        return self.spec['root']['dag']['tasks']

    def component(self, task: str) -> dict[str, Any]:
        """The component of a step."""
        return self.spec['components'][self.tasks[task]['componentRef']['name']]

    def container(self, task: str) -> dict[str, Any]:
        """The container of a step."""
        return self.spec['deploymentSpec']['executors'][self.component(task)['executorLabel']][
            'container'
        ]

    @property
    def session(self) -> str:
        """How the launcher reaches the store on a cluster without settings for it.

        v2/config/env.go:177, v2/config/minio.go
        """
        scheme = self.root.split('://', 1)[0]
        parameters = {'fromEnv': 'true'}
        if scheme == 'minio':
            parameters = {
                **{
                    'accessKeyKey': 'accesskey',
                    'disableSSL': 'true',
                    'endpoint': 'seaweedfs.kubeflow:9000',
                    'fromEnv': 'false',
                },
                **{
                    'maxRetries': '5',
                    'region': 'minio',
                    'secretKeyKey': 'secretkey',
                    'secretName': 'mlpipeline-minio-artifact',
                },
            }
        return json.dumps({'Provider': scheme, 'Params': parameters}, separators=(',', ':'))


def check(spec: Spec) -> None:
    """Refuses what Kubeflow would refuse, and what this interpreter does not run.

    Raises:
      DriverError: lists all problems.
    """
    try:
        json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())
    except json_format.ParseError as error:
        raise DriverError(f'not a pipeline specification: {error}') from None
    problems = list(validation.problems(spec))
    for name, task in spec['root']['dag']['tasks'].items():
        problems += [
            f'step {name} has {field}: not supported here, and not from `cxr-triage compile`'
            for field in sorted(set(task) - _TASK_FIELDS)
        ]
        component = spec['components'][task['componentRef']['name']]
        executor = spec['deploymentSpec']['executors'].get(component.get('executorLabel'), {})
        if 'container' not in executor:
            problems.append(f'step {name} is not a container: not supported here')
        if component.get('outputDefinitions', {}).get('parameters'):
            problems.append(f'step {name} has output parameters: not supported here')
    if problems:
        raise DriverError('\n'.join(problems))


def parameters_of(spec: Spec, values: Mapping[str, Any]) -> dict[str, Any]:
    """Adds the defaults to the parameters of a run.

    apiserver/template/v2_template.go:442, v2/compiler/argocompiler/argo.go:96

    Raises:
      DriverError: one is missing, unknown or of another type.
    """
    definitions = spec['root'].get('inputDefinitions', {}).get('parameters', {})
    unknown = sorted(set(values) - set(definitions))
    if unknown:
        raise DriverError(
            f'{", ".join(unknown)}: not a parameter of this pipeline; it has '
            f'{", ".join(sorted(definitions)) or "none"}'
        )
    parameters = {}
    for name, definition in definitions.items():
        if name in values:
            if not _is(values[name], definition['parameterType']):
                raise DriverError(
                    f'parameter {name} is {values[name]!r}: expected {definition["parameterType"]}'
                )
            parameters[name] = values[name]
        elif 'defaultValue' in definition:
            parameters[name] = definition['defaultValue']
        elif definition.get('isOptional'):
            parameters[name] = None
        else:
            raise DriverError(f'parameter {name} has no default and no value: give it with the run')
    return parameters


def waits_for(run: Run) -> dict[str, set[str]]:
    """Step -> the steps that it names or whose outputs it takes.

    v2/compiler/argocompiler/dag.go:659
    """
    return {
        name: set(task.get('dependentTasks', ()))
        | {
            source['taskOutputArtifact']['producerTask']
            for source in task.get('inputs', {}).get('artifacts', {}).values()
        }
        for name, task in run.tasks.items()
    }


def executor_input(
    run: Run, task: str, published: Mapping[str, Mapping[str, Artifact]], salt: str
) -> dict[str, Any]:
    """The input of a step, as its JSON.

    Args:
      run: the run.
      task: the step.
      published: outputs of earlier steps: step -> output -> artifact.
      salt: makes the paths of the step's outputs unique.

    Raises:
      DriverError: an input is missing, or a parameter has another type than in the component.
    """
    inputs = {
        'parameterValues': _parameters(run, task),
        'artifacts': _artifacts(run, task, published),
    }
    outputs = _outputs(run, task, salt)
    message = json_format.ParseDict(
        {'inputs': inputs, 'outputs': outputs}, pipeline_spec_pb2.ExecutorInput()
    )
    return json_format.MessageToDict(message)


def fingerprint(
    run: Run, task: str, executor_input: Mapping[str, Any], claims: Iterable[str]
) -> str:
    """The key of the cache.

    It depends on the parameters, the ids of input artifacts, all but the URI of outputs, image,
    command and arguments of the container, and the names of mounted claims. It does not depend on
    the contents of a claim or a bucket.

    v2/driver/cache.go:83, v2/cacheutils/cache.go:173
    """
    outputs = {
        key: {**entry['artifacts'][0]}
        for key, entry in executor_input['outputs'].get('artifacts', {}).items()
    }
    for output in outputs.values():
        del output['uri']
    container = run.container(task)
    key = {
        'inputArtifactNames': {
            key: {'artifactNames': [artifact['name'] for artifact in entry['artifacts']]}
            for key, entry in executor_input['inputs'].get('artifacts', {}).items()
        },
        'inputParameterValues': executor_input['inputs'].get('parameterValues', {}),
        'outputArtifactsSpec': outputs,
        'containerSpec': {
            'image': container['image'],
            'cmdArgs': [*container.get('command', ()), *container.get('args', ())],
            'pvcNames': sorted(set(claims)),
        },
    }
    return hashlib.sha256(
        json.dumps(key, sort_keys=True, separators=(',', ':')).encode()
    ).hexdigest()


def uses_cache(run: Run, task: str) -> bool:
    """Whether a step may use the cache."""
    return bool(run.tasks[task].get('cachingOptions', {}).get('enableCache'))


def uri(root: str, *parts: str) -> str:
    """A URI below a pipeline root, without the query that says how to reach the root.

    v2/metadata/client.go:391
    """
    return '/'.join([root.split('?', 1)[0].rstrip('/'), *parts])


def claims_of(platform: Spec, label: str) -> dict[str, str]:
    """Folder of a pod -> the claim that is mounted there.

    Args:
      platform: the second document of a specification.
      label: the label of the step's executor.
    """
    return {
        mount['mountPath']: mount['constant']
        for mount in executor_platform(platform, label).get('pvcMount', ())
    }


def executor_platform(platform: Spec, label: str) -> dict[str, Any]:
    """The settings of a step for Kubernetes."""
    settings: Any = platform
    for key in ('platforms', 'kubernetes', 'deploymentSpec', 'executors', label):
        settings = settings.get(key, {})
    return settings


def sequence(waiting: Mapping[str, set[str]]) -> Sequence[str]:
    """An order in which the steps can run: always the first by name of those that can start.

    Raises:
      DriverError: some steps wait for each other.
    """
    order: list[str] = []
    while len(order) < len(waiting):
        ready = sorted(
            name for name, before in waiting.items() if name not in order and before <= set(order)
        )
        if not ready:
            raise DriverError(
                f'{", ".join(sorted(set(waiting) - set(order)))} wait for each other: this graph '
                'cannot run'
            )
        order.append(ready[0])
    return order


def _parameters(run: Run, task: str) -> dict[str, Any]:
    """The values of a step's parameters (v2/driver/resolve.go:375 and 169)."""
    values = {}
    for name, source in run.tasks[task].get('inputs', {}).get('parameters', {}).items():
        if 'componentInputParameter' in source:
            key = source['componentInputParameter']
            if key not in run.parameters:
                raise DriverError(
                    f'step {task}: {name} takes {key!r}, which is not a parameter of the pipeline'
                )
            value = run.parameters[key]
            if value is None:
                raise DriverError(
                    f'step {task}: {name} takes the parameter {key!r} of the pipeline, which has '
                    'no value'
                )
        elif 'constant' in source.get('runtimeValue', {}):
            value = _constant(run, task, source['runtimeValue']['constant'])
        else:
            raise DriverError(
                f'step {task}: {name} is {json.dumps(source)[:200]}: expected a constant or a '
                'parameter of the pipeline'
            )
        values[name] = value
    for name, definition in (
        run.component(task).get('inputDefinitions', {}).get('parameters', {}).items()
    ):
        kind = definition['parameterType']
        if name not in values:
            if 'defaultValue' not in definition and not definition.get('isOptional'):
                raise DriverError(
                    f'step {task}: parameter {name} has neither a value nor a default'
                )
        elif kind == 'STRING' and not isinstance(values[name], str):
            values[name] = _text(values[name])
        elif not _is(values[name], kind):
            raise DriverError(f'step {task}: parameter {name} is {values[name]!r}: expected {kind}')
    return values


def _constant(run: Run, task: str, value: Any) -> Any:
    """Replaces a placeholder that is the whole constant, and returns any other value unchanged.

    v2/driver/resolve.go:436
    """
    placeholders = {
        '{{$.pipeline_job_name}}': run.pipeline,
        '{{$.pipeline_job_resource_name}}': run.pipeline,
        '{{$.pipeline_job_uuid}}': run.run_id,
        '{{$.pipeline_task_name}}': task,
        '{{$.pipeline_task_uuid}}': run.run_id,
        '{{$.pipeline_job_create_time_utc}}': run.created,
        '{{$.pipeline_job_schedule_time_utc}}': run.created,
    }
    return placeholders.get(value, value) if isinstance(value, str) else value


def _artifacts(
    run: Run, task: str, published: Mapping[str, Mapping[str, Artifact]]
) -> dict[str, Any]:
    """The input artifacts of a step (v2/driver/resolve.go:700)."""
    artifacts = {}
    for name, source in run.tasks[task].get('inputs', {}).get('artifacts', {}).items():
        output = source.get('taskOutputArtifact')
        if output is None:
            raise DriverError(
                f'step {task}: input {name} is {json.dumps(source)[:200]}: expected the output of '
                'a step'
            )
        producer, key = output['producerTask'], output['outputArtifactKey']
        if producer not in published:
            raise DriverError(f'step {task}: input {name} comes from {producer}, which has not run')
        if key not in published[producer]:
            keys = ', '.join(sorted(published[producer]))
            raise DriverError(
                f'step {task}: input {name} takes {key!r} of {producer}, which published {keys}'
            )
        artifacts[name] = {'artifacts': [published[producer][key].runtime()]}
    return artifacts


def _outputs(run: Run, task: str, salt: str) -> dict[str, Any]:
    """The declared outputs, one for the logs, and the report.

    v2/driver/driver.go:741
    """
    folder = uri(run.root, run.pipeline, run.run_id, task, salt)
    artifacts = {}
    for key, output in (
        run.component(task).get('outputDefinitions', {}).get('artifacts', {}).items()
    ):
        artifact = {'name': key, 'uri': uri(folder, key), 'type': output['artifactType']}
        artifacts[key] = {
            'artifacts': [
                artifact | ({'metadata': output['metadata']} if 'metadata' in output else {})
            ]
        }
    artifacts[LOGS] = {
        'artifacts': [
            {'name': LOGS, 'uri': uri(folder, LOGS), 'type': {'schemaTitle': 'system.Artifact'}}
        ]
    }
    return {'artifacts': artifacts, 'outputFile': f'{local_path(folder)}/{OUTPUT_FILE}'}


def _is(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == 'BOOLEAN'
    return isinstance(value, _TYPES.get(kind, ()))


def _text(value: Any) -> str:
    """Converts a value to the text of a parameter (v2/metadata/converter.go:15)."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, Mapping | list):
        return json.dumps(value, separators=(',', ':'))
    return str(value)
