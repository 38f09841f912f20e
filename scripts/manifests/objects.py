"""The data of the checks: rendered objects with their source files, pods and problems."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Kind -> path of the pod template.
_TEMPLATES = {
    'Deployment': ('spec', 'template'),
    'StatefulSet': ('spec', 'template'),
    'DaemonSet': ('spec', 'template'),
    'Job': ('spec', 'template'),
    'CronJob': ('spec', 'jobTemplate', 'spec', 'template'),
}
CONTROLLERS = ('Deployment', 'StatefulSet', 'DaemonSet')
CLUSTER_SCOPED = (
    'Namespace',
    'PersistentVolume',
    'StorageClass',
    'PriorityClass',
    'ClusterRole',
    'ClusterRoleBinding',
)


@dataclass(frozen=True)
class Manifest:
    """One object of a rendered folder.

    Attributes:
        content: the object.
        origin: the rendered folder and the source file, for messages.
    """

    content: Mapping[str, Any]
    origin: str

    @property
    def kind(self) -> str:
        return self.content.get('kind', '')

    @property
    def name(self) -> str:
        return self.content.get('metadata', {}).get('name', '')

    @property
    def namespace(self) -> str:
        return self.content.get('metadata', {}).get('namespace', '')

    @property
    def spec(self) -> Mapping[str, Any]:
        return self.content.get('spec') or {}


@dataclass(frozen=True)
class Problem:
    """A problem of an object.

    Attributes:
        manifest: the object.
        field: path of the field, e.g. `spec.template.spec.containers[serving].image`.
        text: the actual value, the expected value and what to do.
    """

    manifest: Manifest
    field: str
    text: str

    def __str__(self) -> str:
        return (
            f'{self.manifest.origin}: {self.manifest.kind} {self.manifest.name}: {self.field}: '
            f'{self.text}'
        )


@dataclass(frozen=True)
class Container:
    """A container of a pod; `setup` is True if it ends before the others start."""

    content: Mapping[str, Any]
    field: str
    setup: bool

    def listed(self, key: str) -> list[Any]:
        return self.content.get(key) or []

    @property
    def command_line(self) -> list[str]:
        """The command and its arguments."""
        return [str(argument) for argument in (*self.listed('command'), *self.listed('args'))]


@dataclass(frozen=True)
class Pod:
    """The pods that an object creates, or an object that is a pod itself."""

    manifest: Manifest
    field: str
    labels: Mapping[str, str]
    spec: Mapping[str, Any]

    def containers(self) -> Iterator[Container]:
        """All containers; an init container that keeps running (a sidecar) is not `setup`."""
        for key in ('initContainers', 'containers', 'ephemeralContainers'):
            for number, content in enumerate(self.spec.get(key) or ()):
                setup = key == 'initContainers' and content.get('restartPolicy') != 'Always'
                yield Container(
                    content, f'{self.field}.{key}[{content.get("name", number)}]', setup
                )

    def ports(self) -> Iterator[tuple[str | None, int, str]]:
        """(name, number, protocol) of each port that a container exposes."""
        for container in self.containers():
            for port in container.listed('ports'):
                yield port.get('name'), port['containerPort'], port.get('protocol', 'TCP')

    def exposes(self, port: str | int, protocol: str = 'TCP') -> bool:
        """Whether a container exposes a port, given by name or by number."""
        return any(
            port_protocol == protocol and port in (name, number)
            for name, number, port_protocol in self.ports()
        )

    def volumes(self) -> list[Mapping[str, Any]]:
        return self.spec.get('volumes') or []


@dataclass(frozen=True)
class External:
    """An object that the user creates; without `keys`, any key is accepted."""

    kind: str
    name: str
    what: str
    keys: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Objects:
    """All objects of a rendered folder.

    Attributes:
        manifests: the objects.
        external: the objects that the user creates.
        sources: the folder and the folders that it includes.
    """

    manifests: Sequence[Manifest]
    external: Sequence[External] = ()
    sources: Sequence[Path] = ()

    def of(self, *kinds: str) -> list[Manifest]:
        return [manifest for manifest in self.manifests if manifest.kind in kinds]

    def find(self, kind: str, name: str, namespace: str) -> Manifest | None:
        """The object of this kind and name."""
        return next(
            (item for item in self.of(kind) if item.name == name and item.namespace == namespace),
            None,
        )

    def find_external(self, kind: str, name: str) -> External | None:
        """Returns the entry of external.yaml for an object, or None."""
        return next(
            (item for item in self.external if (item.kind, item.name) == (kind, name)), None
        )

    def pods(self) -> list[Pod]:
        """The pods of all objects that create pods."""
        pods = []
        for manifest in self.manifests:
            if manifest.kind == 'Pod':
                pods.append(
                    Pod(
                        manifest,
                        'spec',
                        manifest.content['metadata'].get('labels') or {},
                        manifest.spec,
                    )
                )
            elif manifest.kind in _TEMPLATES:
                keys = _TEMPLATES[manifest.kind]
                template: Mapping[str, Any] = manifest.content
                for key in keys:
                    template = template.get(key) or {}
                labels = (template.get('metadata') or {}).get('labels') or {}
                pods.append(
                    Pod(manifest, '.'.join((*keys, 'spec')), labels, template.get('spec') or {})
                )
        return pods

    def selected(self, selector: Mapping[str, Any], namespace: str) -> list[Pod]:
        """The pods of a namespace that match a label selector."""
        return [
            pod
            for pod in self.pods()
            if pod.manifest.namespace == namespace and matches(selector, pod.labels)
        ]


def matches(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether labels match a label selector; an empty selector matches all objects."""
    if any(labels.get(key) != value for key, value in (selector.get('matchLabels') or {}).items()):
        return False
    for expression in selector.get('matchExpressions') or ():
        key, values = expression['key'], expression.get('values') or ()
        results = {
            'In': labels.get(key) in values,
            'NotIn': labels.get(key) not in values,
            'Exists': key in labels,
            'DoesNotExist': key not in labels,
        }
        if not results[expression['operator']]:
            return False
    return True


def labels_text(selector: Mapping[str, Any]) -> str:
    """A selector as text, for messages."""
    terms = [f'{key}={value}' for key, value in (selector.get('matchLabels') or {}).items()]
    for item in selector.get('matchExpressions') or ():
        values = f' ({", ".join(item["values"])})' if item.get('values') else ''
        terms.append(f'{item["key"]} {item["operator"]}{values}')
    return ', '.join(terms) or 'everything'


def listed(names: Sequence[Any]) -> str:
    """Names as text, for messages."""
    return ', '.join(sorted(map(str, names))) or 'none'
