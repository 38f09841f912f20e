"""Checks that selectors, targets and ports match pods, which schemas cannot check."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from scripts.manifests.objects import (
    CLUSTER_SCOPED,
    CONTROLLERS,
    Manifest,
    Objects,
    Pod,
    Problem,
    labels_text,
    listed,
    matches,
)

_RESTRICTED = 'pod-security.kubernetes.io/enforce'


def namespaces(objects: Objects) -> Iterator[Problem]:
    """Objects are in a namespace of the folder that enforces the restricted standard."""
    names = {namespace.name for namespace in objects.of('Namespace')}
    for manifest in objects.manifests:
        if manifest.kind not in CLUSTER_SCOPED and manifest.namespace not in names:
            value = f'is {manifest.namespace!r}' if manifest.namespace else 'is missing'
            yield Problem(
                manifest,
                'metadata.namespace',
                f'{value}: expected one that the folder defines ({listed(list(names))})',
            )
    for namespace in objects.of('Namespace'):
        level = (namespace.content['metadata'].get('labels') or {}).get(_RESTRICTED)
        if level != 'restricted':
            text = (
                f'is {level!r}: expected restricted, so that Kubernetes refuses what this check '
                'does not find'
            )
            yield Problem(namespace, f'metadata.labels[{_RESTRICTED}]', text)


def workload_selectors(objects: Objects) -> Iterator[Problem]:
    """A controller's selector matches the pods of its own template."""
    for pod in objects.pods():
        if pod.manifest.kind in CONTROLLERS:
            selector = pod.manifest.spec.get('selector') or {}
            if not _selects(selector) or not matches(selector, pod.labels):
                text = (
                    f'{labels_text(selector)}: does not match the pods of its own template '
                    f'({_labels(pod)}); make them the same'
                )
                yield Problem(pod.manifest, 'spec.selector', text)


def spreads(objects: Objects) -> Iterator[Problem]:
    """The label selector of a spread constraint matches the pods it spreads."""
    for pod in objects.pods():
        for index, spread in enumerate(pod.spec.get('topologySpreadConstraints') or ()):
            selector = spread.get('labelSelector') or {}
            if not _selects(selector) or not matches(selector, pod.labels):
                text = (
                    f'{labels_text(selector)}: does not match these pods ({_labels(pod)}), so '
                    'they are not spread; make them the same'
                )
                yield Problem(
                    pod.manifest,
                    f'{pod.field}.topologySpreadConstraints[{index}].labelSelector',
                    text,
                )


def services(objects: Objects) -> Iterator[Problem]:
    """A service selects pods, and they expose each of its ports."""
    for service in objects.of('Service'):
        if service.spec.get('type') == 'ExternalName':
            continue
        selector = {'matchLabels': service.spec.get('selector') or {}}
        pods = objects.selected(selector, service.namespace) if selector['matchLabels'] else []
        if not pods:
            yield _no_pod(objects, service, 'spec.selector', selector)
        for number, port in enumerate(service.spec.get('ports') or ()):
            target = port.get('targetPort', port['port'])
            field = f'spec.ports[{port.get("name", number)}].targetPort'
            yield from (
                Problem(service, field, _no_port(target, port.get('protocol', 'TCP'), pod))
                for pod in pods
                if not pod.exposes(target, port.get('protocol', 'TCP'))
            )


def ingresses(objects: Objects) -> Iterator[Problem]:
    """An ingress sends requests to services of the folder, and to ports that they have."""
    for ingress in objects.of('Ingress'):
        for host in ingress.spec.get('rules') or ():
            for path in (host.get('http') or {}).get('paths') or ():
                backend = (path.get('backend') or {}).get('service') or {}
                field = f'spec.rules[{host.get("host", "")}].paths[{path.get("path", "")}].backend'
                service = objects.find('Service', backend.get('name', ''), ingress.namespace)
                if service is None:
                    names = listed([item.name for item in objects.of('Service')])
                    text = f'{backend.get("name")}: no such service: expected one of {names}'
                    yield Problem(ingress, field, text)
                    continue
                wanted = set((backend.get('port') or {}).values())
                ports = service.spec.get('ports') or ()
                if not any(wanted & {port.get('name'), port.get('port')} for port in ports):
                    names = listed([str(port.get('name', port.get('port'))) for port in ports])
                    text = f'{listed(sorted(map(str, wanted)))}: expected a port of it: {names}'
                    yield Problem(ingress, field, text)


def autoscalers(objects: Objects) -> Iterator[Problem]:
    """The target of an autoscaler exists."""
    for scaler in objects.of('HorizontalPodAutoscaler'):
        target = scaler.spec.get('scaleTargetRef') or {}
        scaled = objects.find(target.get('kind', ''), target.get('name', ''), scaler.namespace)
        if scaled is None or scaled.content.get('apiVersion') != target.get('apiVersion'):
            candidates = listed(
                [
                    f'{item.kind} {item.name} ({item.content["apiVersion"]})'
                    for item in objects.of('Deployment', 'StatefulSet')
                ]
            )
            reference = f'{target.get("kind")} {target.get("name")} ({target.get("apiVersion")})'
            yield Problem(
                scaler,
                'spec.scaleTargetRef',
                f'{reference} does not exist, so nothing is scaled: expected one of {candidates}',
            )


def disruption_budgets(objects: Objects) -> Iterator[Problem]:
    """A disruption budget selects pods, and no pod has two, which would block evictions."""
    protected: dict[str, Manifest] = {}
    for budget in objects.of('PodDisruptionBudget'):
        selector = budget.spec.get('selector')
        # A budget without a selector applies to no pod, one with an empty selector to all pods.
        pods = [] if selector is None else objects.selected(selector, budget.namespace)
        if not pods:
            yield _no_pod(objects, budget, 'spec.selector', selector)
        for pod in pods:
            key = f'{pod.manifest.kind} {pod.manifest.name}'
            if key in protected:
                text = (
                    f'{key} already has the budget {protected[key].name}, and two block every '
                    'eviction: remove one'
                )
                yield Problem(budget, 'spec.selector', text)
            protected[key] = budget


def network_policies(objects: Objects) -> Iterator[Problem]:
    """A policy selects pods, opens ports that they expose, and lists the types of its rules."""
    for policy in objects.of('NetworkPolicy'):
        selector = policy.spec.get('podSelector') or {}
        pods = objects.selected(selector, policy.namespace)
        if not pods:
            yield _no_pod(objects, policy, 'spec.podSelector', selector)
        for direction in ('ingress', 'egress'):
            if policy.spec.get(direction) and direction.capitalize() not in _types(policy):
                text = (
                    f'has rules, but spec.policyTypes lacks {direction.capitalize()}: they are '
                    'ignored; add it'
                )
                yield Problem(policy, f'spec.{direction}', text)
        for index, rule in enumerate(policy.spec.get('ingress') or ()):
            for port in rule.get('ports') or ():
                field = f'spec.ingress[{index}].ports[{port.get("port")}]'
                if pods and 'port' in port and 'endPort' not in port:
                    protocol = port.get('protocol', 'TCP')
                    if not any(pod.exposes(port['port'], protocol) for pod in pods):
                        yield Problem(policy, field, _no_port(port['port'], protocol, *pods))


def uncovered_pods(objects: Objects) -> Iterator[Problem]:
    """Network policies cover the incoming and the outgoing traffic of every pod."""
    for pod in objects.pods():
        for direction in ('Ingress', 'Egress'):
            covering = (
                policy
                for policy in objects.of('NetworkPolicy')
                if policy.namespace == pod.manifest.namespace
                and direction in _types(policy)
                and matches(policy.spec.get('podSelector') or {}, pod.labels)
            )
            if next(covering, None) is None:
                text = (
                    f'no NetworkPolicy covers the {direction.lower()} of these pods '
                    f'({_labels(pod)}), so that all of it is open: add one'
                )
                yield Problem(
                    pod.manifest, f'{pod.field.removesuffix(".spec")}.metadata.labels', text
                )


def monitoring(objects: Objects) -> Iterator[Problem]:
    """Google's managed Prometheus scrapes ports that pods expose; no schema checks this kind."""
    for monitor in objects.of('PodMonitoring'):
        selector = monitor.spec.get('selector') or {}
        pods = objects.selected(selector, monitor.namespace)
        if not pods:
            yield _no_pod(objects, monitor, 'spec.selector', selector)
        endpoints = monitor.spec.get('endpoints') or ()
        if not endpoints:
            yield Problem(monitor, 'spec.endpoints', 'is empty: expected at least one with `port`')
        for index, endpoint in enumerate(endpoints):
            for pod in pods:
                if not pod.exposes(endpoint.get('port', '')):
                    yield Problem(
                        monitor,
                        f'spec.endpoints[{index}].port',
                        _no_port(endpoint.get('port', ''), 'TCP', pod),
                    )


def _types(policy: Manifest) -> list[str]:
    """The directions that a policy covers, with Kubernetes' default."""
    types = policy.spec.get('policyTypes')
    return types or (['Ingress', 'Egress'] if policy.spec.get('egress') else ['Ingress'])


def _selects(selector: Mapping[str, Any]) -> bool:
    return bool(selector.get('matchLabels') or selector.get('matchExpressions'))


def _no_pod(
    objects: Objects, manifest: Manifest, field: str, selector: Mapping[str, Any] | None
) -> Problem:
    labels = labels_text(selector) if selector and _selects(selector) else 'is empty'
    pods = (
        '; '.join(
            f'{pod.manifest.kind} {pod.manifest.name}: {_labels(pod)}' for pod in objects.pods()
        )
        or 'no pods at all'
    )
    text = (
        f'{labels}: matches no pod in namespace {manifest.namespace!r}: expected labels of one of '
        f'these: {pods}'
    )
    return Problem(manifest, field, text)


def _no_port(port: str | int, protocol: str, *pods: Pod) -> str:
    ports = [
        f'{number}/{kind}' + (f' ({name})' if name else '')
        for pod in pods
        for name, number, kind in pod.ports()
    ]
    names = ', '.join(f'{pod.manifest.kind} {pod.manifest.name}' for pod in pods)
    return (
        f'no container of {names} exposes {port}/{protocol}: expected one of {listed(ports)}; add '
        'it under `ports`, or change this one'
    )


def _labels(pod: Pod) -> str:
    return ', '.join(f'{key}={value}' for key, value in sorted(pod.labels.items())) or 'no labels'
