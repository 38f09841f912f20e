"""Finds what Kubeflow Pipelines would refuse, or accept and then fail on, before submission.

The checks follow the source of Kubeflow Pipelines 2.17.0; comments name the file (under
backend/src). Works on plain dictionaries and does not import TFX.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

SCHEMA_VERSION = '2.1.0'
# Stores from and to which the launcher copies artifacts (v2/objectstore/config.go). With any other
# store the first step fails when it starts.
ROOT_SCHEMES = ('gs://', 's3://', 'minio://')
# Stores that TensorFlow itself can read and write in a pod. The launcher copies artifacts, but not
# data, weights or the push directory.
TENSORFLOW_SCHEMES = ('gs://',)
# Argo uses the task names for its templates (argoproj/argo-workflows, workflow/validate). For other
# names the client gets an HTTP error without a reason.
_TASK_NAME = re.compile(r'[a-zA-Z0-9-]+')
# The kinds that the driver can run: the compiler refuses a resolver when a run is created
# (v2/compiler/visitor.go:134).
_EXECUTORS = {'container', 'importer'}

Spec = dict[str, Any]


def problems(spec: Spec) -> list[str]:
    """The problems of a compiled specification, each with advice; empty if there are none."""
    return [problem for check in _CHECKS for problem in check(spec)]


def root_problem(root: str) -> str | None:
    """The problem with a pipeline root, or None."""
    if root.startswith(ROOT_SCHEMES):
        return None
    stores = ', '.join(f'{scheme}BUCKET/FOLDER' for scheme in ROOT_SCHEMES)
    return (
        f'{root}: Kubeflow cannot write to this pipeline root. Give a bucket with --root: {stores}'
    )


def push_problem(directory: str, mounted: Sequence[str] = ()) -> str | None:
    """The problem with a push directory, or None.

    Args:
      directory: the push directory.
      mounted: the folders of the volumes that every pod mounts.
    """
    if directory.startswith(TENSORFLOW_SCHEMES) or _below(directory, mounted):
        return None
    return (
        f'{directory}: pods cannot push there. Give a bucket, gs://BUCKET/FOLDER, as '
        f'push.directory or with --push-dir; {_OR_A_VOLUME}'
    )


def read_problem(key: str, path: str, mounted: Sequence[str] = ()) -> str | None:
    """The problem with a path that steps read directly and not as an artifact, or None."""
    if path.startswith(TENSORFLOW_SCHEMES) or _below(path, mounted):
        return None
    return (
        f'{key} is {path}: pods cannot read it. Give a bucket, gs://BUCKET/FOLDER; {_OR_A_VOLUME}'
    )


def beam_problem(engine: str, root: str) -> str | None:
    """The problem with a pipeline root for Beam workers outside the step's container, or None."""
    if engine == 'direct' or root.startswith(TENSORFLOW_SCHEMES):
        return None
    return (
        f'beam.engine is {engine}, whose workers read and write artifacts directly: give '
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
            f'schemaVersion is {version!r}: Kubeflow accepts only {SCHEMA_VERSION}; compile with '
            'cxr-triage compile'
        )


def _task_names(spec: Spec) -> Iterator[str]:
    for name in _tasks(spec):
        if not _TASK_NAME.fullmatch(name):
            yield (
                f'step {name!r}: Argo accepts only letters, digits and dashes; rename the '
                'component (with_id)'
            )


def _executors(spec: Spec) -> Iterator[str]:
    for name, executor in spec.get('deploymentSpec', {}).get('executors', {}).items():
        for kind in set(executor) - _EXECUTORS:
            yield (
                f'{name} is a {kind}: Kubeflow runs only {" and ".join(sorted(_EXECUTORS))}; use '
                'a component instead'
            )


def _defaults(spec: Spec) -> Iterator[str]:
    for name, parameter in (
        spec.get('root', {}).get('inputDefinitions', {}).get('parameters', {}).items()
    ):
        if 'defaultValue' not in parameter and not parameter.get('isOptional'):
            # apiserver/template/v2_template.go:472
            yield (
                f'pipeline parameter {name!r} has no default, so Kubeflow refuses runs without it; '
                'set a default'
            )


def _producers(spec: Spec) -> Iterator[str]:
    tasks = _tasks(spec)
    for name, task in tasks.items():
        for key, source in task.get('inputs', {}).get('artifacts', {}).items():
            producer = source.get('taskOutputArtifact', {}).get('producerTask')
            if producer not in tasks:
                yield (
                    f'step {name}: input {key!r} comes from {producer!r}, which is not a step of '
                    'this pipeline'
                )
        for dependency in task.get('dependentTasks', ()):
            if dependency not in tasks:
                yield f'step {name} waits for {dependency!r}, which is not a step of this pipeline'


def _images(spec: Spec) -> Iterator[str]:
    for name, executor in spec.get('deploymentSpec', {}).get('executors', {}).items():
        if 'container' in executor and not executor['container'].get('image'):
            yield f'{name} has no image: give one with --image or as kubeflow.image'


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
