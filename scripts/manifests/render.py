"""Renders folders with `kubectl kustomize` and checks the result against Kubernetes' schemas.

Neither needs a cluster.
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

# The oldest and the newest release of Kubernetes that the files support.
KUBERNETES = ('1.33', '1.37')
# Kinds that are not part of Kubernetes and have no schema here; connections.monitoring and google
# check them.
_WITHOUT_SCHEMA = {
    ('monitoring.googleapis.com/v1', 'PodMonitoring'),
    ('networking.gke.io/v1', 'ManagedCertificate'),
    ('networking.gke.io/v1beta1', 'FrontendConfig'),
    ('cloud.google.com/v1', 'BackendConfig'),
}
_ORIGIN = 'config.kubernetes.io/origin'
# Runs in the tools' environment. Input: objects. Output: (index, version, field, message). Strict
# mode reports unknown fields.
_VALIDATE = """
import json, sys
import kubernetes_validate
request = json.load(sys.stdin)
problems = []
for index, content in enumerate(request['objects']):
    for version in request['versions']:
        try:
            kubernetes_validate.validate(content, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            problems.append([index, version, '.'.join(map(str, error.path)), error.message])
            break
        except kubernetes_validate.SchemaNotFoundError as error:
            problems.append([index, version, 'kind', error.message])
            break
json.dump(problems, sys.stdout)
"""


class _Loader(yaml.SafeLoader):
    """Reads a bare `=` as text, as kubectl writes it; PyYAML fails on it."""


_Loader.add_constructor('tag:yaml.org,2002:value', lambda loader, node: node.value)


class RenderError(ValueError):
    """kubectl cannot render a folder; the message contains kubectl's error."""


def render(folder: Path, tools: Path, external: Sequence[External] = ()) -> Objects:
    """Renders a folder with a kustomization.yaml.

    Args:
        folder: the folder.
        tools: the folder of kubectl.
        external: the objects that the user creates.

    Raises:
        RenderError: kubectl reports an error or a warning.
    """
    if not (folder / 'kustomization.yaml').is_file():
        raise RenderError(
            f'{folder}: there is no kustomization.yaml: give a folder that has one, such as '
            'kubeflow/manifests/base'
        )
    with tempfile.TemporaryDirectory() as scratch:
        # An outer kustomization adds the source file to each object, so that the folder itself does
        # not.
        wrapper = {
            'resources': [os.path.relpath(folder.resolve(), Path(scratch).resolve())],
            'buildMetadata': ['originAnnotations'],
        }
        (Path(scratch) / 'kustomization.yaml').write_text(yaml.safe_dump(wrapper), encoding='utf-8')
        command = [str(tools / 'kubectl'), 'kustomize', scratch]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        # kubectl warns of things that a later version refuses.
        if result.returncode != 0 or result.stderr.strip():
            raise RenderError(f'{folder}: kubectl kustomize: {result.stderr.strip()}')
        manifests = []
        for content in yaml.load_all(result.stdout, _Loader):
            path = _origin(content)
            where = os.path.relpath(Path(scratch).resolve() / path) if path else None
            manifests.append(Manifest(content, f'{folder} ({where})' if where else str(folder)))
    return Objects(manifests, external, list(dict.fromkeys(_sources(folder))))


def schema_problems(objects: Objects, tools: Path) -> Iterator[Problem]:
    """Violations of the schemas of the oldest and the newest supported Kubernetes."""
    with_schema = [
        item
        for item in objects.manifests
        if (item.content.get('apiVersion'), item.kind) not in _WITHOUT_SCHEMA
    ]
    request = {'versions': KUBERNETES, 'objects': [item.content for item in with_schema]}
    command = [str(tools / 'python'), '-c', _VALIDATE]
    result = subprocess.run(
        command, input=json.dumps(request), stdout=subprocess.PIPE, text=True, check=True
    )
    for index, version, field, message in json.loads(result.stdout):
        yield Problem(
            with_schema[index],
            field or 'the object',
            f'{message} (schema of Kubernetes {version}); correct it',
        )


def read_external(path: Path) -> list[External]:
    """Reads the list of objects that the user creates.

    Raises:
        RenderError: an entry lacks `kind`, `name` or `what`, or has unknown keys.
    """
    entries = []
    for entry in yaml.safe_load(path.read_text(encoding='utf-8')) or []:
        if not {'kind', 'name', 'what'} <= set(entry) <= {'kind', 'name', 'what', 'keys'}:
            raise RenderError(f'{path}: {entry}: expected kind, name, what and, if needed, keys')
        keys = tuple(entry['keys']) if 'keys' in entry else None
        entries.append(External(entry['kind'], entry['name'], entry['what'], keys))
    return entries


def _sources(folder: Path) -> Iterator[Path]:
    """The folder, and then the folders that it includes, recursively."""
    yield folder
    kustomization = yaml.load((folder / 'kustomization.yaml').read_text(encoding='utf-8'), _Loader)
    for entry in (
        *(kustomization.get('resources') or ()),
        *(kustomization.get('components') or ()),
    ):
        if (folder / entry / 'kustomization.yaml').is_file():
            yield from _sources(Path(os.path.relpath(folder / entry)))


def _origin(content: dict[str, Any]) -> str | None:
    """Removes the origin from an object and returns it: a file or a kustomization.yaml."""
    metadata = content.get('metadata') or {}
    origin = yaml.safe_load((metadata.get('annotations') or {}).pop(_ORIGIN, '')) or {}
    if not metadata.get('annotations', True):
        del metadata['annotations']
    return origin.get('path') or origin.get('configuredIn')
