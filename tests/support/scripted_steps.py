"""Steps that are a function of a test's, under the real driver and launcher of `tests.support.kfp`,
and specifications for them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.kubeflow.entrypoint import local_path
from tests.support.kfp.pods import Pod

KIND = {'instanceSchema': 'title: test.Thing\ntype: object\n'}
_GIVEN = '--given'


class Inside:
    """What a step sees: its input, and its files by their paths in the pod."""

    def __init__(self, pod: Pod):
        self.pod = pod
        self.given: dict[str, Any] = json.loads(pod.command[pod.command.index(_GIVEN) + 1])

    def path(self, path: str) -> Path:
        """The file behind a path in the pod; a path in no volume of it is not there."""
        mount = max((mount for mount in self.pod.folders if path.startswith(f'{mount}/')), key=len)
        return self.pod.folders[mount] / path[len(mount) + 1 :]

    def artifact(self, group: str, key: str) -> dict[str, Any]:
        """An artifact of `inputs` or `outputs`."""
        (found,) = self.given[group]['artifacts'][key]['artifacts']
        return found

    def folder(self, group: str, key: str) -> Path:
        """Where the launcher has it."""
        return self.path(local_path(self.artifact(group, key)['uri']))

    def write(self, key: str, name: str, text: str) -> None:
        """A file of an output."""
        path = self.folder('outputs', key) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def report(self, artifacts: dict[str, dict[str, Any]], **more: Any) -> None:
        """The report of outputs: each with `metadata`, maybe `uri`."""
        content = {
            'artifacts': {key: {'artifacts': [told]} for key, told in artifacts.items()},
            **more,
        }
        self.path(self.given['outputs']['outputFile']).write_text(json.dumps(content))


class Scripted:
    """Runs functions in the place of commands. `ran` are the names of the pods, in their order."""

    def __init__(self, **steps: Callable[[Inside], int | None]):
        self.steps = steps
        self.ran: list[str] = []

    def run(self, pod: Pod) -> int:
        """Runs the function of the step; what it returns is the exit code."""
        self.ran.append(pod.name)
        pod.log.write_text(f'log of {pod.name}\n')
        inside = Inside(pod)
        step = pod.command[0]
        return self.steps[step](inside) or 0

    @property
    def steps_run(self) -> list[str]:
        """The steps that ran, once for each attempt."""
        return [name.split('-')[2] for name in self.ran]


def task(name: str, **more: Any) -> dict[str, Any]:
    """A task of a component of its own, from the cache where it can."""
    return {
        'taskInfo': {'name': name},
        'componentRef': {'name': name},
        'cachingOptions': {'enableCache': True},
        **more,
    }


def of(producer: str, key: str = 'thing') -> dict[str, Any]:
    """An input that is the output of a step."""
    return {'taskOutputArtifact': {'producerTask': producer, 'outputArtifactKey': key}}


def component(
    name: str, takes: tuple[str, ...] = (), makes: tuple[str, ...] = ('thing',), **parameters: str
) -> dict[str, Any]:
    """A component with artifacts of one type and parameters of the types named."""
    inputs: dict[str, Any] = {}
    if takes:
        inputs['artifacts'] = {key: {'artifactType': KIND} for key in takes}
    if parameters:
        inputs['parameters'] = {key: {'parameterType': kind} for key, kind in parameters.items()}
    found: dict[str, Any] = {'executorLabel': f'{name}-executor', 'inputDefinitions': inputs}
    return found | {
        'outputDefinitions': {'artifacts': {key: {'artifactType': KIND} for key in makes}}
    }


def spec(
    tasks: dict[str, Any], components: dict[str, Any], parameters: dict[str, Any] | None = None
) -> dict[str, Any]:
    """A specification; the command of a step is its own name."""
    containers = {
        name: {'image': 'test:1', 'command': [name], 'args': [_GIVEN, '{{$}}']}
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
    """Two steps: `make` has a parameter `text` from the pipeline, `use` takes what it made."""
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
