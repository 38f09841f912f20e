"""Finds the parameters with which a run can use a compiled specification.

Works on plain dictionaries and does not import TFX and kfp.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import yaml

from pipeline.kubeflow import validation
from pipeline.kubeflow.validation import Spec

_SHOWN = 8
_VALUE_WIDTH = 60
# Prefixes that messages omit: `root.dag.tasks.Trainer.inputs.…` becomes `Trainer.inputs.…`.
_PREFIXES = (
    'root.dag.tasks.',
    'deploymentSpec.executors.',
    'platforms.kubernetes.deploymentSpec.executors.',
)


class SubmissionError(ValueError):
    """A specification that cannot be submitted; the text says what to do."""


def load(path: str) -> list[Spec]:
    """Reads a compiled specification: the pipeline document and, if present, the platform document.

    Raises:
      SubmissionError: the file cannot be read, is not a specification, or Kubeflow would refuse it.
    """
    if not path.endswith('.yaml'):
        raise SubmissionError(f'{path}: expected the .yaml file that cxr-triage compile writes')
    try:
        with open(path, encoding='utf-8') as file:
            documents = [document for document in yaml.safe_load_all(file) if document is not None]
    except OSError as error:
        raise SubmissionError(
            f'{path}: cannot be read ({error.strerror}); write it with cxr-triage compile --out '
            f'{path}'
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SubmissionError(f'{path}: not valid YAML: {error}') from None
    if (
        not 1 <= len(documents) <= 2
        or not all(isinstance(document, dict) for document in documents)
        or 'root' not in documents[0]
    ):
        raise SubmissionError(
            f'{path}: not a pipeline specification; write one with cxr-triage compile --out {path}'
        )
    if problems := validation.problems(documents[0]):
        raise SubmissionError('\n'.join(f'{path}: {problem}' for problem in problems))
    return documents


def image(documents: Sequence[Spec]) -> str:
    """The image of the most steps; some can have another one, for GPUs."""
    images = [
        executor['container']['image']
        for executor in _executors(documents[0])
        if 'container' in executor
    ]
    return max(sorted(set(images)), key=images.count, default='')


def gpu_image(documents: Sequence[Spec]) -> str | None:
    """The image of the steps with another image than most; None if all have the same image."""
    gpu_images = {
        executor['container']['image']
        for executor in _executors(documents[0])
        if 'container' in executor
    } - {image(documents)}
    return min(gpu_images, default=None)


def parameters(compiled: Sequence[Spec], now: Sequence[Spec]) -> dict[str, Any]:
    """Returns the pipeline parameters that differ from the compiled defaults.

    Args:
      compiled: the documents of the specification.
      now: the documents for the current configuration, data and served model.

    Raises:
      SubmissionError: the documents differ in something other than a parameter.
    """
    differences = list(_differences('', _fixed(compiled), _fixed(now)))
    if differences:
        lines = differences[:_SHOWN] + (
            [f'and {len(differences) - _SHOWN} more'] if len(differences) > _SHOWN else []
        )
        raise SubmissionError(
            'the specification does not match this configuration and code, and parameters '
            'cannot change that: compile again '
            '(cxr-triage compile; if project code has changed, build the image '
            'first). Compiled, and now:\n  ' + '\n  '.join(lines)
        )
    old, new = _defaults(compiled[0]), _defaults(now[0])
    return {name: value for name, value in new.items() if value != old[name]}


def _executors(spec: Spec) -> list[dict[str, Any]]:
    return list(spec.get('deploymentSpec', {}).get('executors', {}).values())


def _definitions(spec: Spec) -> dict[str, Any]:
    return spec['root'].get('inputDefinitions', {}).get('parameters', {})


def _defaults(spec: Spec) -> dict[str, Any]:
    return {name: definition.get('defaultValue') for name, definition in _definitions(spec).items()}


def _fixed(documents: Sequence[Spec]) -> dict[str, Any]:
    """The parts that a run cannot change: all except the defaults of the parameters.

    The version of the compiler is removed too, because no step uses it. The result goes through
    YAML text, because new documents contain tuples and numbers that a file returns in another form.
    """
    spec, *platform = copy.deepcopy(list(documents))
    for definition in _definitions(spec).values():
        definition.pop('defaultValue', None)
    spec.pop('sdkVersion', None)
    merged = {**spec, **(platform[0] if platform else {})}
    return yaml.safe_load(yaml.safe_dump(merged))


def _differences(path: str, compiled: Any, now: Any) -> Iterator[str]:
    if isinstance(compiled, dict) and isinstance(now, dict):
        for key in sorted({*compiled, *now}, key=str):
            yield from _differences(
                f'{path}.{key}' if path else str(key), compiled.get(key), now.get(key)
            )
    elif compiled != now:
        prefix = next((prefix for prefix in _PREFIXES if path.startswith(prefix)), '')
        name = path[len(prefix) :].removesuffix('.runtimeValue.constant')
        yield f'{name}: {", and now ".join(_excerpts(compiled, now))}'


def _excerpts(compiled: Any, now: Any) -> tuple[str, str]:
    """Returns excerpts of both values around their first difference."""
    texts = ['nothing' if value is None else str(value) for value in (compiled, now)]
    common = next(
        (
            index
            for index, (before, after) in enumerate(zip(*texts, strict=False))
            if before != after
        ),
        min(map(len, texts)),
    )
    start = 0 if max(map(len, texts)) <= _VALUE_WIDTH else max(0, common - _VALUE_WIDTH // 3)
    first, second = (
        ('…' if start else '')
        + text[start : start + _VALUE_WIDTH]
        + ('…' if len(text) > start + _VALUE_WIDTH else '')
        for text in texts
    )
    return first, second
