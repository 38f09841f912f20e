"""What Kubeflow Pipelines would refuse, or take and then break on, told before anything is sent to
it. Plain dictionaries, no TFX here.

Each was seen on Kubeflow Pipelines 2.17.0's own code; the place in its sources (under backend/src)
stands beside the check.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

SCHEMA_VERSION = '2.1.0'
# Stores that the launcher copies artifacts from and to (v2/objectstore/config.go); anything else
# fails when the first step starts.
ROOT_SCHEMES = ('gs://', 's3://', 'minio://')
# What TensorFlow reads and writes by itself in a pod. The launcher copies artifacts, and neither
# data, weights nor a push destination.
TENSORFLOW_SCHEMES = ('gs://',)
# Argo names its templates by the tasks (argoproj/argo-workflows, workflow/validate); the client
# sees an HTTP error without a reason.
_TASK_NAME = re.compile(r'[a-zA-Z0-9-]+')
# What the driver can run: the compiler refuses a resolver when a run is created
# (v2/compiler/visitor.go:134).
_EXECUTORS = {'container', 'importer'}

Spec = dict[str, Any]


def problems(spec: Spec) -> list[str]:
    """What is wrong with a compiled specification, each with what to change; empty where nothing
    is.
    """
    return [problem for check in _CHECKS for problem in check(spec)]


def root_problem(root: str) -> str | None:
    """What is wrong with a pipeline root."""
    if root.startswith(ROOT_SCHEMES):
        return None
    stores = ', '.join(f'{scheme}BUCKET/FOLDER' for scheme in ROOT_SCHEMES)
    return (
        f'{root}: no pipeline root that Kubeflow can write to. Give a bucket with --root: {stores}'
    )


def push_problem(directory: str, mounted: Sequence[str] = ()) -> str | None:
    """What is wrong with a push destination; `mounted` are the folders of volumes that every pod
    has.
    """
    if directory.startswith(TENSORFLOW_SCHEMES) or _below(directory, mounted):
        return None
    return (
        f'{directory}: no pod can push there. Give a bucket, gs://BUCKET/FOLDER, as '
        f'push.directory or with --push-dir; {_OR_A_VOLUME}'
    )


def read_problem(key: str, path: str, mounted: Sequence[str] = ()) -> str | None:
    """What is wrong with a path that steps read by themselves, and not as an artifact."""
    if path.startswith(TENSORFLOW_SCHEMES) or _below(path, mounted):
        return None
    return (
        f'{key} is {path}: no pod can read that. Give a bucket, gs://BUCKET/FOLDER; {_OR_A_VOLUME}'
    )


def beam_problem(engine: str, root: str) -> str | None:
    """What is wrong with a pipeline root for Beam workers that are not in the container of their
    step.
    """
    if engine == 'direct' or root.startswith(TENSORFLOW_SCHEMES):
        return None
    return (
        f'beam.engine is {engine}, whose workers read and write artifacts by themselves: give '
        f'gs://BUCKET/FOLDER with --root, not {root}'
    )


_OR_A_VOLUME = 'or a folder of a volume that pods mount, kubeflow.volumes'


def _below(path: str, folders: Sequence[str]) -> bool:
    return any(f'{path}/'.startswith(folder.rstrip('/') + '/') for folder in folders)


def _schema(spec: Spec) -> Iterator[str]:
    version = spec.get('schemaVersion')
    if version != SCHEMA_VERSION:
        # apiserver/template/template.go: "unknown template format".
        yield (
            f'schemaVersion is {version!r}: Kubeflow takes {SCHEMA_VERSION} only; compile with '
            'cxr-triage compile'
        )


def _task_names(spec: Spec) -> Iterator[str]:
    for name in _tasks(spec):
        if not _TASK_NAME.fullmatch(name):
            yield (
                f'step {name!r}: Argo takes letters, digits and dashes only; rename the component '
                '(with_id)'
            )


def _executors(spec: Spec) -> Iterator[str]:
    for name, executor in spec.get('deploymentSpec', {}).get('executors', {}).items():
        for kind in set(executor) - _EXECUTORS:
            yield (
                f'{name} is a {kind}: Kubeflow runs {" and ".join(sorted(_EXECUTORS))} only; take '
                'a component in its place'
            )


def _defaults(spec: Spec) -> Iterator[str]:
    for name, parameter in (
        spec.get('root', {}).get('inputDefinitions', {}).get('parameters', {}).items()
    ):
        if 'defaultValue' not in parameter and not parameter.get('isOptional'):
            # apiserver/template/v2_template.go:472
            yield (
                f'pipeline parameter {name!r} has no default: a run that does not name it is '
                'refused; give it one'
            )


def _producers(spec: Spec) -> Iterator[str]:
    tasks = _tasks(spec)
    for name, task in tasks.items():
        for key, source in task.get('inputs', {}).get('artifacts', {}).items():
            producer = source.get('taskOutputArtifact', {}).get('producerTask')
            if producer not in tasks:
                yield (
                    f'step {name}: input {key!r} comes from {producer!r}, which is no step of '
                    'this pipeline'
                )
        for before in task.get('dependentTasks', ()):
            if before not in tasks:
                yield f'step {name} waits for {before!r}, which is no step of this pipeline'


def _images(spec: Spec) -> Iterator[str]:
    for name, executor in spec.get('deploymentSpec', {}).get('executors', {}).items():
        if 'container' in executor and not executor['container'].get('image'):
            yield f'{name} has no image: give one with --image, or as kubeflow.image'


def _tasks(spec: Spec) -> dict[str, Any]:
    return spec.get('root', {}).get('dag', {}).get('tasks', {})


_CHECKS: tuple[Callable[[Spec], Iterator[str]], ...] = (
    _schema,
    _task_names,
    _executors,
    _defaults,
    _producers,
    _images,
)
