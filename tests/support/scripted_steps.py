"""Steps whose command is a Python function, and specifications for them.

The driver and the launcher are those of `tests.support.kfp`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.kubeflow.entrypoint import local_path
from tests.support.kfp.pods import Pod

KIND = {'instanceSchema': 'title: test.Thing\ntype: object\n'}
_INPUT_OPTION = '--executor-input'


class StepContext:
    """What a step sees: its input, and its files by their paths in the pod."""

    def __init__(self, pod: Pod):
        self.pod = pod
        place = pod.command.index(_INPUT_OPTION) + 1
        self.executor_input: dict[str, Any] = json.loads(pod.command[place])

    def path(self, path: str) -> Path:
        """The local file behind a path in one of the pod's volumes."""
        mount = max((mount for mount in self.pod.folders if path.startswith(f'{mount}/')), key=len)
        return self.pod.folders[mount] / path[len(mount) + 1 :]

    def artifact(self, group: str, key: str) -> dict[str, Any]:
        """An artifact of `inputs` or `outputs`."""
        (artifact,) = self.executor_input[group]['artifacts'][key]['artifacts']
        return artifact

    def folder(self, group: str, key: str) -> Path:
        """The local folder of an artifact."""
        return self.path(local_path(self.artifact(group, key)['uri']))

    def write(self, key: str, name: str, text: str) -> None:
        """Writes a file of an output."""
        path = self.folder('outputs', key) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def report(self, artifacts: dict[str, dict[str, Any]], **more: Any) -> None:
        """Writes the report of the outputs: `metadata` of each, and `uri` if it changes."""
        content = {
            'artifacts': {key: {'artifacts': [artifact]} for key, artifact in artifacts.items()},
            **more,
        }
        self.path(self.executor_input['outputs']['outputFile']).write_text(json.dumps(content))


class Scripted:
    """Runs functions in place of commands. `ran` lists the names of the pods in order."""

    def __init__(self, **steps: Callable[[StepContext], int | None]):
        self.steps = steps
        self.ran: list[str] = []

    def run(self, pod: Pod) -> int:
        """Runs the function of the step and returns its result as the exit code."""
        self.ran.append(pod.name)
        pod.log.write_text(f'log of {pod.name}\n')
        return self.steps[pod.command[0]](StepContext(pod)) or 0

    @property
    def steps_run(self) -> list[str]:
        """The step of each attempt."""
        return [name.split('-')[2] for name in self.ran]


def task(name: str, **more: Any) -> dict[str, Any]:
    """A task with the component of the same name, which may use the cache."""
    return {
        'taskInfo': {'name': name},
        'componentRef': {'name': name},
        'cachingOptions': {'enableCache': True},
        **more,
    }


def of(producer: str, key: str = 'thing') -> dict[str, Any]:
    """An input that takes the output of a step."""
    return {'taskOutputArtifact': {'producerTask': producer, 'outputArtifactKey': key}}


def component(
    name: str, takes: tuple[str, ...] = (), makes: tuple[str, ...] = ('thing',), **parameters: str
) -> dict[str, Any]:
    """A component with artifacts of the type KIND and parameters of the given types."""
    inputs: dict[str, Any] = {}
    if takes:
        inputs['artifacts'] = {key: {'artifactType': KIND} for key in takes}
    if parameters:
        inputs['parameters'] = {key: {'parameterType': kind} for key, kind in parameters.items()}
    return {
        'executorLabel': f'{name}-executor',
        'inputDefinitions': inputs,
        'outputDefinitions': {'artifacts': {key: {'artifactType': KIND} for key in makes}},
    }


def spec(
    tasks: dict[str, Any], components: dict[str, Any], parameters: dict[str, Any] | None = None
) -> dict[str, Any]:
    """A specification in which the command of a step is the name of the step."""
    containers = {
        name: {'image': 'test:1', 'command': [name], 'args': [_INPUT_OPTION, '{{$}}']}
        for name in components
    }
    root: dict[str, Any] = {'dag': {'tasks': tasks}}
    if parameters:
        root['inputDefinitions'] = {'parameters': parameters}
    return {
        'pipelineInfo': {'name': 'tested'},
        'schemaVersion': '2.1.0',
        'sdkVersion': 'test',
        'root': root,
        'components': components,
        'deploymentSpec': {
            'executors': {
                f'{name}-executor': {'container': container}
                for name, container in containers.items()
            }
        },
    }


def make_and_use(**of_make: Any) -> dict[str, Any]:
    """Two steps: `make` takes the pipeline's parameter `text`, `use` takes the output of `make`."""
    tasks = {
        'make': task(
            'make', inputs={'parameters': {'text': {'componentInputParameter': 'text'}}}, **of_make
        ),
        'use': task('use', inputs={'artifacts': {'made': of('make')}}),
    }
    components = {
        'make': component('make', text='STRING'),
        'use': component('use', takes=('made',)),
    }
    return spec(tasks, components, {'text': {'parameterType': 'STRING', 'defaultValue': 'first'}})
