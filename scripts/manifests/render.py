"""Renders folders with `kubectl kustomize` and holds what comes out against the schemas of
Kubernetes. Neither asks a cluster.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from scripts.manifests.objects import External, Manifest, Objects, Problem

# The oldest and the newest release of Kubernetes that the files are meant for.
KUBERNETES = ('1.33', '1.37')
# Kinds of others, for which there is no schema here; connections.monitoring looks at it.
_WITHOUT_SCHEMA = {('monitoring.googleapis.com/v1', 'PodMonitoring')}
_ORIGIN = 'config.kubernetes.io/origin'
# Runs in the tools' environment: objects in, (which, version, field, message) out. Strict: an
# unknown field is refused.
_VALIDATE = """
import json, sys
import kubernetes_validate
request = json.load(sys.stdin)
problems = []
for which, content in enumerate(request['objects']):
    for version in request['versions']:
        try:
            kubernetes_validate.validate(content, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            problems.append([which, version, '.'.join(map(str, error.path)), error.message])
            break
        except kubernetes_validate.SchemaNotFoundError as error:
            problems.append([which, version, 'kind', error.message])
            break
json.dump(problems, sys.stdout)
"""


class _Loader(yaml.SafeLoader):
    """YAML as kubectl writes it: a bare `=` is text there, and to PyYAML a tag without a value."""


_Loader.add_constructor('tag:yaml.org,2002:value', lambda loader, node: node.value)


class RenderError(ValueError):
    """kubectl cannot render a folder; the message holds kubectl's error."""


def render(folder: Path, tools: Path, external: Sequence[External] = ()) -> Objects:
    """What a folder with a kustomization.yaml renders to.

    Args:
        folder: the folder.
        tools: where kubectl is.
        external: what the user brings.

    Raises:
        RenderError: kubectl refuses it, or warns.
    """
    if not (folder / 'kustomization.yaml').is_file():
        raise RenderError(
            f'{folder}: there is no kustomization.yaml: give a folder that has one, such as '
            'kubeflow/manifests/base'
        )
    with tempfile.TemporaryDirectory() as scratch:
        # Around the folder, so that each object says which file it is from without saying so to the
        # cluster.
        around = {
            'resources': [os.path.relpath(folder.resolve(), Path(scratch).resolve())],
            'buildMetadata': ['originAnnotations'],
        }
        (Path(scratch) / 'kustomization.yaml').write_text(yaml.safe_dump(around), encoding='utf-8')
        command = [str(tools / 'kubectl'), 'kustomize', scratch]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        # A warning is of something that a later kubectl refuses.
        if done.returncode != 0 or done.stderr.strip():
            raise RenderError(f'{folder}: kubectl kustomize: {done.stderr.strip()}')
        manifests = []
        for content in yaml.load_all(done.stdout, _Loader):
            path = _origin(content)
            where = os.path.relpath(Path(scratch).resolve() / path) if path else None
            manifests.append(Manifest(content, f'{folder} ({where})' if where else str(folder)))
    return Objects(manifests, external, list(dict.fromkeys(_sources(folder))))


def schema_problems(objects: Objects, tools: Path) -> Iterator[Problem]:
    """What the schemas of Kubernetes refuse, in the oldest or the newest release."""
    with_schema = [
        item
        for item in objects.manifests
        if (item.content.get('apiVersion'), item.kind) not in _WITHOUT_SCHEMA
    ]
    request = {'versions': KUBERNETES, 'objects': [item.content for item in with_schema]}
    command = [str(tools / 'python'), '-c', _VALIDATE]
    done = subprocess.run(
        command, input=json.dumps(request), stdout=subprocess.PIPE, text=True, check=True
    )
    for which, version, field, message in json.loads(done.stdout):
        yield Problem(
            with_schema[which],
            field or 'the object',
            f'{message} (schema of Kubernetes {version}); correct it',
        )


def read_external(path: Path) -> list[External]:
    """The list of what the user brings.

    Raises:
        RenderError: an entry lacks its kind, its name or what it is, or has other keys.
    """
    entries = []
    for entry in yaml.safe_load(path.read_text(encoding='utf-8')) or []:
        if not {'kind', 'name', 'what'} <= set(entry) <= {'kind', 'name', 'what', 'keys'}:
            raise RenderError(
                f'{path}: {entry}: expected kind, name, what and, where they matter, keys'
            )
        keys = tuple(entry['keys']) if 'keys' in entry else None
        entries.append(External(entry['kind'], entry['name'], entry['what'], keys))
    return entries


def _sources(folder: Path) -> Iterator[Path]:
    """The folder, and those that it takes in, before what they take in."""
    yield folder
    kustomization = yaml.load((folder / 'kustomization.yaml').read_text(encoding='utf-8'), _Loader)
    for entry in (
        *(kustomization.get('resources') or ()),
        *(kustomization.get('components') or ()),
    ):
        if (folder / entry / 'kustomization.yaml').is_file():
            yield from _sources(Path(os.path.relpath(folder / entry)))


def _origin(content: dict[str, Any]) -> str | None:
    """Takes the note on where an object is from out of it: a file, or the kustomization.yaml that
    generates it.
    """
    metadata = content.get('metadata') or {}
    note = yaml.safe_load((metadata.get('annotations') or {}).pop(_ORIGIN, '')) or {}
    if not metadata.get('annotations', True):
        del metadata['annotations']
    return note.get('path') or note.get('configuredIn')
