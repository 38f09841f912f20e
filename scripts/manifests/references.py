"""Checks that what pods refer to exists, and that pods use what is defined."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scripts.manifests.objects import Container, External, Manifest, Objects, Pod, Problem, listed

EXTERNAL_FILE = 'kubeflow/manifests/external.yaml'
_KINDS = ('ServiceAccount', 'ConfigMap', 'Secret', 'PersistentVolumeClaim')
# Kubernetes replaces $(NAME) by a variable of the container; $$( is an escaped $(.
_VARIABLE = re.compile(r'(?<!\$)\$\(([A-Za-z_][A-Za-z0-9_.-]*)\)')


@dataclass(frozen=True)
class Reference:
    """A reference of a pod to another object.

    Attributes:
        pod: the pod with the reference.
        field: path of the field with the reference.
        kind: kind of the object.
        name: name of the object.
        keys: the keys that a config map or secret needs to have.
        optional: whether the pod starts without the object.
    """

    pod: Pod
    field: str
    kind: str
    name: str
    keys: tuple[str, ...] = ()
    optional: bool = False


def references(objects: Objects) -> list[Reference]:
    """All references of pods."""
    return [reference for pod in objects.pods() for reference in _pod_references(pod)]


def service_accounts(objects: Objects) -> Iterator[Problem]:
    """Each pod has its own service account, because all pods share the rights of `default`."""
    for pod in objects.pods():
        name = pod.spec.get('serviceAccountName')
        if name in (None, '', 'default'):
            text = f'is {name!r}: expected its own service account; define one and refer to it'
            yield Problem(pod.manifest, f'{pod.field}.serviceAccountName', text)


def missing(objects: Objects) -> Iterator[Problem]:
    """References resolve to an object of the folder or of external.yaml, and to its keys."""
    for reference in references(objects):
        if reference.optional:
            continue
        target = objects.find(reference.kind, reference.name, reference.pod.manifest.namespace)
        external = objects.find_external(reference.kind, reference.name)
        if target is None and external is None:
            candidates = listed([item.name for item in objects.of(reference.kind)])
            text = (
                f'{reference.kind} {reference.name} does not exist: expected one of {candidates}; '
                f'define it, or list it in {EXTERNAL_FILE}'
            )
            yield Problem(reference.pod.manifest, reference.field, text)
            continue
        keys = _keys(target) if target else external.keys if external else None
        lacking = [key for key in reference.keys if keys is not None and key not in keys]
        if lacking:
            text = (
                f'{reference.kind} {reference.name} has no key {listed(lacking)}: expected one of '
                f'{listed(list(keys or ()))}'
            )
            yield Problem(reference.pod.manifest, reference.field, text)


def unused(objects: Objects) -> Iterator[Problem]:
    """At least one pod refers to each object that is defined for pods."""
    targets = {(reference.kind, reference.name) for reference in references(objects)}
    for manifest in objects.of(*_KINDS):
        if (manifest.kind, manifest.name) not in targets:
            candidates = listed([name for kind, name in targets if kind == manifest.kind])
            text = f'no pod refers to it (pods refer to {candidates}): refer to it, or remove it'
            yield Problem(manifest, 'metadata.name', text)


def unused_external(external: Sequence[External], folders: Sequence[Objects]) -> Iterator[str]:
    """Entries of external.yaml that no folder refers to."""
    targets = {
        (reference.kind, reference.name) for objects in folders for reference in references(objects)
    }
    for item in external:
        if (item.kind, item.name) not in targets:
            yield (
                f'{EXTERNAL_FILE}: {item.kind} {item.name}: no manifest refers to it; remove the '
                'entry'
            )


def volumes(objects: Objects) -> Iterator[Problem]:
    """Every mount has a volume and every volume a mount; names and paths are unique."""
    for pod in objects.pods():
        names = [volume['name'] for volume in pod.volumes()]
        for name, count in Counter(names).items():
            if count > 1:
                yield Problem(
                    pod.manifest,
                    f'{pod.field}.volumes[{name}]',
                    f'{count} volumes have this name: expected one',
                )
        mounted = set()
        for container in pod.containers():
            mounts = container.listed('volumeMounts')
            for mount in (*mounts, *container.listed('volumeDevices')):
                mounted.add(mount['name'])
                if mount['name'] not in names:
                    text = (
                        f'there is no such volume: expected one of {listed(names)}; add it to '
                        f'{pod.field}.volumes, or remove the mount'
                    )
                    yield Problem(
                        pod.manifest, f'{container.field}.volumeMounts[{mount["name"]}]', text
                    )
            for path, count in Counter(mount['mountPath'].rstrip('/') for mount in mounts).items():
                if count > 1:
                    text = f'{count} volumes are mounted here: expected one for each path'
                    yield Problem(pod.manifest, f'{container.field}.volumeMounts[{path}]', text)
        for name in sorted(set(names) - mounted):
            yield Problem(
                pod.manifest,
                f'{pod.field}.volumes[{name}]',
                'no container mounts it: mount it, or remove it',
            )


def variables(objects: Objects) -> Iterator[Problem]:
    """$(NAME) in a command or argument is a variable of the container, or it is not replaced."""
    for pod in objects.pods():
        for container in pod.containers():
            names = _variables(objects, pod, container)
            for argument in container.command_line:
                for name in _VARIABLE.findall(argument):
                    if names is not None and name not in names:
                        text = (
                            f'{argument}: there is no variable {name}: expected one of '
                            f'{listed(sorted(names))}; add it to env'
                        )
                        yield Problem(pod.manifest, f'{container.field}.args', text)


def _variables(objects: Objects, pod: Pod, container: Container) -> set[str] | None:
    """The variables of a container; None if some come from an object outside the folder."""
    names = {item['name'] for item in container.listed('env')}
    for source in container.listed('envFrom'):
        kind, reference = (
            ('ConfigMap', source['configMapRef'])
            if 'configMapRef' in source
            else ('Secret', source['secretRef'])
        )
        target = objects.find(kind, reference['name'], pod.manifest.namespace)
        if target is None:
            return None
        names |= {source.get('prefix', '') + key for key in _keys(target)}
    return names


def _keys(manifest: Manifest) -> set[str]:
    return {
        key
        for part in ('data', 'binaryData', 'stringData')
        for key in manifest.content.get(part) or {}
    }


def _pod_references(pod: Pod) -> Iterator[Reference]:
    if pod.spec.get('serviceAccountName'):
        yield Reference(
            pod, f'{pod.field}.serviceAccountName', 'ServiceAccount', pod.spec['serviceAccountName']
        )
    for secret in pod.spec.get('imagePullSecrets') or ():
        yield Reference(pod, f'{pod.field}.imagePullSecrets', 'Secret', secret['name'])
    for volume in pod.volumes():
        yield from _volume_references(pod, f'{pod.field}.volumes[{volume["name"]}]', volume)
    for container in pod.containers():
        for item in container.listed('env'):
            for key, kind in (('configMapKeyRef', 'ConfigMap'), ('secretKeyRef', 'Secret')):
                if source_ref := (item.get('valueFrom') or {}).get(key):
                    field = f'{container.field}.env[{item["name"]}]'
                    yield Reference(
                        pod,
                        field,
                        kind,
                        source_ref['name'],
                        (source_ref['key'],),
                        bool(source_ref.get('optional')),
                    )
        for index, source in enumerate(container.listed('envFrom')):
            for key, kind in (('configMapRef', 'ConfigMap'), ('secretRef', 'Secret')):
                if source_ref := source.get(key):
                    yield Reference(
                        pod,
                        f'{container.field}.envFrom[{index}]',
                        kind,
                        source_ref['name'],
                        (),
                        bool(source_ref.get('optional')),
                    )


def _volume_references(pod: Pod, field: str, volume: Mapping[str, Any]) -> Iterator[Reference]:
    sources = [volume, *((volume.get('projected') or {}).get('sources') or ())]
    for source in sources:
        for key, kind in (('configMap', 'ConfigMap'), ('secret', 'Secret')):
            if source_ref := source.get(key):
                keys = tuple(item['key'] for item in source_ref.get('items') or ())
                # A volume has the key secretName, a projected source has name.
                name = source_ref.get('secretName') or source_ref.get('name', '')
                yield Reference(pod, field, kind, name, keys, bool(source_ref.get('optional')))
    if claim := volume.get('persistentVolumeClaim'):
        yield Reference(pod, field, 'PersistentVolumeClaim', claim['claimName'])
