"""The part of `kfp_api_double` that checks specifications and imitates workflows and the cache."""

from __future__ import annotations

import datetime
import json
import re
from typing import Any

from tests.support.argo_nodes import ArgoNodes

_START = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)


class RefusedError(Exception):
    """An HTTP error with a gRPC code and the server's message."""

    def __init__(self, status: int, code: int, message: str, wrapped: str = ''):
        super().__init__(message)
        self.status = status
        self._code, self._message, self._wrapped = code, message, wrapped

    def as_json(self) -> dict[str, Any]:
        """The error as the server sends it: `details` has the message without its wrapper.

        The details of an internal error do not have its message.
        """
        inner = 'Internal Server Error' if self._code == 13 else self._message
        message = f'{self._wrapped}: {self._message}' if self._wrapped else self._message
        return {
            'code': self._code,
            'message': message,
            'details': [{'code': self._code, 'message': inner}],
        }


def check_spec(document: Any, parameters: dict[str, Any]) -> dict[str, Any]:
    """Returns the pipeline specification if the server would accept it for a run.

    apiserver/template, v2/compiler/argocompiler
    """
    spec = document.get('pipeline_spec', document) if isinstance(document, dict) else {}
    unknown = set(document) - {'pipeline_spec', 'platform_spec'} if spec is not document else set()
    if unknown or not spec.get('pipelineInfo', {}).get('name') or 'root' not in spec:
        raise _invalid('unknown template format')
    if spec.get('schemaVersion') != '2.1.0':
        raise _invalid(
            'KFP only supports schema version 2.1.0, but the pipeline spec has version '
            f'{spec.get("schemaVersion")}'
        )
    definitions = spec['root'].get('inputDefinitions', {}).get('parameters', {})
    inputs = (
        'Failed to create a new run: Failed to generate the ExecutionSpec: invalid pipeline job '
        'inputs: Invalid input error'
    )
    for name, definition in definitions.items():
        if (
            name not in parameters
            and 'defaultValue' not in definition
            and not definition.get('isOptional')
        ):
            raise RefusedError(
                400,
                3,
                f'parameter {name} is not optional, yet has neither default value nor user '
                'provided value',
                inputs,
            )
        if definition['parameterType'] == 'STRING' and not isinstance(
            parameters.get(name, ''), str
        ):
            message = (
                f'input parameter {name} requires type string, but the input parameter is not of '
                'string value type'
            )
            raise RefusedError(400, 3, message, inputs)
    if extra := sorted(set(parameters) - set(definitions)):
        raise RefusedError(
            400,
            3,
            f'parameter(s) provided are not required by pipeline: {", ".join(extra)}',
            inputs,
        )
    for label, executor in spec.get('deploymentSpec', {}).get('executors', {}).items():
        if not set(executor) <= {'container', 'importer'}:
            message = (
                f'executor(label="{label}"): non-container and non-importer executor not '
                'implemented'
            )
            raise RefusedError(
                500,
                13,
                f'{message}\nFailed to compile job\ngithub.com/…/util.Wrap\n\t/…/error.go:361',
                'Internal error',
            )
    for name in spec['root']['dag']['tasks']:
        if not re.fullmatch('[a-zA-Z0-9-]+', name):
            raise RefusedError(
                500,
                13,
                f'sorting failed: invalid dependency {name}',
                'Failed to create a new run: InternalServerError',
            )
    return spec


def _invalid(message: str) -> RefusedError:
    where = (
        'Failed to create a new run: InternalServerError: Failed to create a run due to error '
        'fetching manifest: InvalidInputError'
    )
    return RefusedError(500, 13, f'{message}: pipeline spec is invalid', where)


def check_cron(text: str) -> None:
    """Counts fields as github.com/robfig/cron 1.2.0: seconds first, an optional weekday last."""
    if not 5 <= len(text.split()) <= 6:
        raise RefusedError(
            400,
            3,
            'Schedule cron is not a supported format. Error: Expected 5 to 6 fields, found '
            f'{len(text.split())}: {text}',
        )


class Workflow:
    """A run. Each `advance` starts or ends its next step.

    Attributes:
      root_driver: phase and message of the driver of the whole graph. No step starts before it has
        succeeded.
    """

    def __init__(
        self,
        body: dict[str, Any],
        spec: dict[str, Any],
        parameters: dict[str, Any],
        cache: dict[str, int],
        version: str,
    ):
        self._body, self._spec, self._cache = body, spec, cache
        self._every_template_retries = version >= '2.17'
        self.root_driver = ('Succeeded', '')
        definitions = spec['root'].get('inputDefinitions', {}).get('parameters', {})
        self.parameters = {
            name: parameters.get(name, definition.get('defaultValue'))
            for name, definition in definitions.items()
        }
        self.handed: dict[str, dict[str, Any]] = {}
        self.root = body.get('runtime_config', {}).get('pipeline_root', '')
        self.name = f'{spec["pipelineInfo"]["name"]}-x7k2p'
        self.states: dict[str, str] = {}
        self.stopped = False
        self._outputs: dict[str, int] = {}
        self._order = _ordered(spec['root']['dag']['tasks'])

    @property
    def ended(self) -> bool:
        """Whether the run has ended."""
        return (
            self.stopped
            or self.root_driver[0] == 'Failed'
            or 'Failed' in self.states.values()
            or all(self.states.get(name) in ('Succeeded', 'Cached') for name in self._order)
        )

    def advance(self, fails: set[str]) -> None:
        """Starts or ends the next step."""
        if self.ended or self.root_driver[0] != 'Succeeded':
            return
        name = next(
            step for step in self._order if self.states.get(step) not in ('Succeeded', 'Cached')
        )
        if self.states.get(name) == 'Running':
            self.states[name] = 'Failed' if name in fails else 'Succeeded'
            if self.states[name] == 'Succeeded':
                self._cache[self._key(name)] = self._outputs[name] = len(self._cache) + 1
        elif (key := self._key(name)) in self._cache:
            self.states[name], self._outputs[name] = 'Cached', self._cache[key]
        else:
            self.states[name] = 'Running'

    def _key(self, name: str) -> str:
        """The key of a task in the cache: its container, parameters and input artifacts."""
        task = self._spec['root']['dag']['tasks'][name]
        inputs = {}
        for key, value in task.get('inputs', {}).get('parameters', {}).items():
            constant = value.get('runtimeValue', {}).get('constant')
            inputs[key] = (
                self.parameters[value['componentInputParameter']]
                if 'componentInputParameter' in value
                else constant
            )
        self.handed[name] = inputs
        artifacts = {
            key: self._outputs[value['taskOutputArtifact']['producerTask']]
            for key, value in task.get('inputs', {}).get('artifacts', {}).items()
        }
        label = self._spec['components'][task['componentRef']['name']]['executorLabel']
        container = self._spec['deploymentSpec']['executors'][label]['container']
        return json.dumps(
            [name, container['image'], container.get('args'), inputs, artifacts], sort_keys=True
        )

    def as_v2(self, run_id: str) -> dict[str, Any]:
        """The run in v2beta1: without pods, and without information about the cache."""
        names = {
            'Cached': 'SUCCEEDED',
            'Succeeded': 'SUCCEEDED',
            'Running': 'RUNNING',
            'Failed': 'FAILED',
        }
        details = [
            {
                'run_id': run_id,
                'task_id': str(number),
                'display_name': name,
                'state': names[state],
                'start_time': _time(number),
                'end_time': _time(0),
            }
            for number, (name, state) in enumerate(self.states.items(), 1)
        ]
        state = (
            ('FAILED' if self._failed else 'SUCCEEDED')
            if self.ended
            else ('RUNNING' if self.states else 'PENDING')
        )
        return {
            **{
                key: self._body[key]
                for key in ('experiment_id', 'display_name', 'pipeline_spec', 'runtime_config')
            },
            **{
                'run_id': run_id,
                'state': state,
                'created_at': _time(1),
                'run_details': {'task_details': details},
            },
        }

    def nodes(self) -> list[dict[str, Any]]:
        """Argo's nodes; see `ArgoNodes.nodes`."""
        tree = ArgoNodes(self.name, self._every_template_retries)
        phase = ('Failed' if self._failed else 'Succeeded') if self.ended else 'Running'
        (top,) = tree.add('', 'DAG', (phase, ''))
        tree.add('root-driver', 'Pod', self.root_driver, inside=top)
        if self.root_driver[0] != 'Succeeded':
            return tree.nodes
        (root,) = tree.add('root', 'DAG', (phase, ''), inside=top)
        for number, (name, state) in enumerate(self.states.items(), 1):
            before = len(tree.nodes)
            self._add_step(tree, root, name, state)
            for node in tree.nodes[before:]:
                node['startedAt'] = _time(10 * number)
                node['finishedAt'] = node['finishedAt'] and _time(10 * number + 9)
        return tree.nodes

    @property
    def _failed(self) -> bool:
        return self.stopped or 'Failed' in (*self.states.values(), self.root_driver[0])

    def _add_step(self, tree: ArgoNodes, root: dict[str, Any], name: str, state: str) -> None:
        """Adds the nodes of a step and its driver.

        Argo kills a step that is running when its run is cancelled, and does not retry it.
        """
        before = len(tree.nodes)
        tree.add(f'{name}-driver', 'Pod', ('Succeeded', ''), inside=root)
        for node in tree.nodes[before:]:
            node['outputs'] = {
                'parameters': [
                    {'name': 'cached-decision', 'value': 'true' if state == 'Cached' else 'false'}
                ]
            }
        phase, message, summary = {'Cached': 'Succeeded'}.get(state, state), '', ''
        if phase == 'Failed':
            message = 'main: Error (exit code 1)'
        if phase == 'Running' and self.stopped:
            phase, message = 'Failed', 'Step exceeded its deadline'
            summary = 'retry exceeded workflow deadline 2026-01-01 00:00:00 +0000 UTC'
        (step,) = tree.add(name, 'DAG', (phase, ''), inside=root, summary=summary)
        if state == 'Cached':
            tree.add('executor', 'Skipped', ('Skipped', ''), inside=step)
        else:
            tree.add(
                'executor', 'Pod', (phase, message), inside=step, retries=True, summary=summary
            )

    def as_argo(self) -> dict[str, Any]:
        """Argo's workflow."""
        return {
            'metadata': {
                'name': self.name,
                'namespace': 'kubeflow',
                'annotations': {'workflows.argoproj.io/pod-name-format': 'v2'},
            },
            'spec': {'activeDeadlineSeconds': 0} if self.stopped else {},
            'status': {'nodes': {node['id']: node for node in self.nodes()}},
        }


def _time(seconds: int) -> str:
    """Formats a time; 0 is the year 1, the server's value for no time."""
    return (
        f'{_START + datetime.timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%SZ}'
        if seconds
        else '0001-01-01T00:00:00Z'
    )


def _ordered(tasks: dict[str, Any]) -> list[str]:
    """The tasks, each after those that it waits for."""
    order: list[str] = []
    while len(order) < len(tasks):
        for name, task in tasks.items():
            artifacts = task.get('inputs', {}).get('artifacts', {}).values()
            needs = {
                *task.get('dependentTasks', ()),
                *(source['taskOutputArtifact']['producerTask'] for source in artifacts),
            }
            if name not in order and needs <= {*order}:
                order.append(name)
    return order
