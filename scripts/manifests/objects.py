"""What the checks work on: rendered objects with their source files, pods and problems."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Kind -> where the pod template is.
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
        origin: the file that it comes from, and the folder that it was rendered for, for messages.
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
    """Something that is wrong with an object.

    Attributes:
        manifest: the object.
        field: where in it, e.g. `spec.template.spec.containers[serving].image`.
        text: what is there, what is expected and what to do.
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
    """A container of a pod; `setup` for one that has ended before the others start."""

    content: Mapping[str, Any]
    field: str
    setup: bool

    def listed(self, key: str) -> list[Any]:
        return self.content.get(key) or []

    @property
    def words(self) -> list[str]:
        """Its command and arguments."""
        return [str(word) for word in (*self.listed('command'), *self.listed('args'))]


@dataclass(frozen=True)
class Pod:
    """The pods that an object makes, or is."""

    manifest: Manifest
    field: str
    labels: Mapping[str, str]
    spec: Mapping[str, Any]

    def containers(self) -> Iterator[Container]:
        """All containers; one among the initContainers that stays (a sidecar) is no setup."""
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
    """All that a folder renders to.

    Attributes:
        manifests: the objects.
        external: the objects that the user creates.
        sources: the folder, and those that it takes in.
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
        """The pods of all objects that make some."""
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
                steps = _TEMPLATES[manifest.kind]
                template: Mapping[str, Any] = manifest.content
                for step in steps:
                    template = template.get(step) or {}
                labels = (template.get('metadata') or {}).get('labels') or {}
                pods.append(
                    Pod(manifest, '.'.join((*steps, 'spec')), labels, template.get('spec') or {})
                )
        return pods

    def selected(self, selector: Mapping[str, Any], namespace: str) -> list[Pod]:
        """The pods of a namespace that a label selector chooses."""
        return [
            pod
            for pod in self.pods()
            if pod.manifest.namespace == namespace and matches(selector, pod.labels)
        ]


def matches(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a label selector (matchLabels, matchExpressions) chooses an object with these labels;
    an empty one chooses all.
    """
    if any(labels.get(key) != value for key, value in (selector.get('matchLabels') or {}).items()):
        return False
    for expression in selector.get('matchExpressions') or ():
        key, values = expression['key'], expression.get('values') or ()
        chosen = {
            'In': labels.get(key) in values,
            'NotIn': labels.get(key) not in values,
            'Exists': key in labels,
            'DoesNotExist': key not in labels,
        }
        if not chosen[expression['operator']]:
            return False
    return True


def labels_text(selector: Mapping[str, Any]) -> str:
    """A selector for a message."""
    terms = [f'{key}={value}' for key, value in (selector.get('matchLabels') or {}).items()]
    for item in selector.get('matchExpressions') or ():
        values = f' ({", ".join(item["values"])})' if item.get('values') else ''
        terms.append(f'{item["key"]} {item["operator"]}{values}')
    return ', '.join(terms) or 'everything'


def listed(names: Sequence[Any]) -> str:
    """Names for a message."""
    return ', '.join(sorted(map(str, names))) or 'none'
