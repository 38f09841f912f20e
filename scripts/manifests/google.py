"""Checks the objects of Google's load balancer, which annotations connect and no schema has."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from scripts.manifests.objects import Manifest, Objects, Problem, listed

_BACKEND = 'cloud.google.com/backend-config'
# Annotation of an ingress -> the kind that it names.
_OF_INGRESS = {
    'networking.gke.io/managed-certificates': 'ManagedCertificate',
    'networking.gke.io/v1beta1.FrontendConfig': 'FrontendConfig',
}
_KINDS = (*_OF_INGRESS.values(), 'BackendConfig')


@dataclass(frozen=True)
class _Reference:
    """An annotation that names an object."""

    manifest: Manifest
    annotation: str
    kind: str
    name: str


def references(objects: Objects) -> Iterator[Problem]:
    """Annotations name objects of the folder, and each of these objects is named."""
    all_references = list(_references(objects))
    for reference in all_references:
        names = [item.name for item in objects.of(reference.kind)]
        if reference.name not in names:
            text = (
                f'{reference.kind} {reference.name} does not exist: expected one of '
                f'{listed(names)}; define it'
            )
            yield Problem(reference.manifest, f'metadata.annotations[{reference.annotation}]', text)
    used = {(reference.kind, reference.name) for reference in all_references}
    for item in objects.of(*_KINDS):
        if (item.kind, item.name) not in used:
            text = 'no annotation of an ingress or service names it: name it, or remove it'
            yield Problem(item, 'metadata.name', text)


def certificates(objects: Objects) -> Iterator[Problem]:
    """A certificate is for the hosts of the ingresses that name it."""
    for ingress, certificate in _referenced(objects, 'ManagedCertificate'):
        domains = certificate.spec.get('domains') or []
        for rule in ingress.spec.get('rules') or ():
            if rule.get('host') not in domains:
                text = f'{rule.get("host")} is missing: the ingress {ingress.name} has it'
                yield Problem(certificate, 'spec.domains', text)


def health_checks(objects: Objects) -> Iterator[Problem]:
    """The load balancer checks a port and a path that the pods of the service use for a probe."""
    for service, backend in _referenced(objects, 'BackendConfig'):
        check = backend.spec.get('healthCheck') or {}
        selector = {'matchLabels': service.spec.get('selector') or {}}
        for pod in objects.selected(selector, service.namespace):
            probes = [container.content.get('readinessProbe') for container in pod.containers()]
            paths = [((probe or {}).get('httpGet') or {}).get('path') for probe in probes]
            if check.get('requestPath') not in paths:
                text = (
                    f'{check.get("requestPath")}: expected the path of the readiness probe, one of '
                    f'{listed(paths)}'
                )
                yield Problem(backend, 'spec.healthCheck.requestPath', text)
            if not pod.exposes(check.get('port', '')):
                text = f'{check.get("port")}: no container of the pods exposes it'
                yield Problem(backend, 'spec.healthCheck.port', text)


def _referenced(objects: Objects, kind: str) -> Iterator[tuple[Manifest, Manifest]]:
    """Each object of a kind, after the ingress or service whose annotation names it."""
    for reference in _references(objects):
        target = objects.find(reference.kind, reference.name, reference.manifest.namespace)
        if target is not None and reference.kind == kind:
            yield reference.manifest, target


def _references(objects: Objects) -> Iterator[_Reference]:
    for ingress in objects.of('Ingress'):
        for annotation, kind in _OF_INGRESS.items():
            for name in filter(None, _annotations(ingress).get(annotation, '').split(',')):
                yield _Reference(ingress, annotation, kind, name.strip())
    for service in objects.of('Service'):
        content: dict[str, Any] = json.loads(_annotations(service).get(_BACKEND, '{}'))
        for name in (content.get('default'), *(content.get('ports') or {}).values()):
            if name:
                yield _Reference(service, _BACKEND, 'BackendConfig', name)


def _annotations(manifest: Manifest) -> Mapping[str, str]:
    return manifest.content['metadata'].get('annotations') or {}
