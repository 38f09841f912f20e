"""Whether pods can be scaled, replaced and moved: autoscalers, disruption budgets, rollouts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from scripts.manifests.objects import Manifest, Objects, Pod, Problem
from scripts.manifests.quantities import share


def autoscalers(objects: Objects) -> Iterator[Problem]:
    """Bounds are in order, a target is scaled by one alone and has no number of its own, and what
    is measured is requested.
    """
    scaled: dict[tuple[str, str], Manifest] = {}
    for scaler in objects.of('HorizontalPodAutoscaler'):
        low, high = scaler.spec.get('minReplicas', 1), scaler.spec.get('maxReplicas', 0)
        if low > high:
            yield Problem(
                scaler,
                'spec.minReplicas',
                f'{low} is above spec.maxReplicas ({high}): lower it, or raise the other',
            )
        if not scaler.spec.get('metrics'):
            yield Problem(
                scaler,
                'spec.metrics',
                'is missing: expected what to scale by, e.g. the use of the requested CPU',
            )
        target = _target(objects, scaler)
        if target is None:
            continue  # reported by connections.autoscalers
        other = scaled.setdefault((target.kind, target.name), scaler)
        if other is not scaler:
            yield Problem(
                scaler,
                'spec.scaleTargetRef',
                f'{target.kind} {target.name} is scaled by {other.name} already: remove one',
            )
        if 'replicas' in target.spec:
            text = (
                f'is {target.spec["replicas"]}, and {scaler.name} scales it: each apply would set '
                'the number back; remove it'
            )
            yield Problem(target, 'spec.replicas', text)
        yield from _metrics(scaler, next(pod for pod in objects.pods() if pod.manifest is target))


def _metrics(scaler: Manifest, pod: Pod) -> Iterator[Problem]:
    """A share of what is requested cannot be worked out where a container requests nothing."""
    containers = [container for container in pod.containers() if not container.setup]
    for place, metric in enumerate(scaler.spec.get('metrics') or ()):
        key = {'Resource': 'resource', 'ContainerResource': 'containerResource'}.get(
            metric.get('type', '')
        )
        measured = metric.get(key) or {} if key else {}
        if (measured.get('target') or {}).get('type') != 'Utilization':
            continue
        field = f'spec.metrics[{place}].{key}'
        of = [
            item
            for item in containers
            if measured.get('container') in (None, item.content.get('name'))
        ]
        if not of:
            names = ', '.join(item.content.get('name', '') for item in containers)
            yield Problem(
                scaler,
                field,
                f'{pod.manifest.name} has no container {measured["container"]!r}: expected one of '
                f'{names}',
            )
        for container in of:
            if measured.get('name') not in (
                (container.content.get('resources') or {}).get('requests') or {}
            ):
                where = (
                    f'{pod.manifest.kind} {pod.manifest.name} {container.field}.resources.requests'
                )
                text = (
                    f'measures {measured.get("name")} as a share of what is requested, and '
                    f'{where} requests none; add it'
                )
                yield Problem(scaler, field, text)


def disruption_budgets(objects: Objects) -> Iterator[Problem]:
    """A budget lets at least one pod go at a time, also when there are as few as there can be."""
    for budget in objects.of('PodDisruptionBudget'):
        keys = [key for key in ('minAvailable', 'maxUnavailable') if key in budget.spec]
        if len(keys) != 1:
            text = (
                f'has {" and ".join(keys) or "neither minAvailable nor maxUnavailable"}: expected '
                'one of the two'
            )
            yield Problem(budget, 'spec', text)
            continue
        selector = budget.spec.get('selector')
        for pod in [] if selector is None else objects.selected(selector, budget.namespace):
            fewest = _fewest(objects, pod.manifest)
            if fewest is None:
                continue
            amount = share(budget.spec[keys[0]], fewest)
            going = amount if keys[0] == 'maxUnavailable' else fewest - amount
            if going < 1:
                text = (
                    f'{budget.spec[keys[0]]} blocks every eviction when {pod.manifest.kind} '
                    f'{pod.manifest.name} has {fewest} pods, '
                    'so that no node can be drained: expected maxUnavailable of 1 or more'
                )
                yield Problem(budget, f'spec.{keys[0]}', text)


def rollouts(objects: Objects) -> Iterator[Problem]:
    """A rollout may add a pod or take one away."""
    for manifest in objects.of('Deployment'):
        rolling: Mapping[str, Any] = (manifest.spec.get('strategy') or {}).get(
            'rollingUpdate'
        ) or {}
        amounts = [
            str(rolling.get(key, '25%')).removesuffix('%') for key in ('maxSurge', 'maxUnavailable')
        ]
        if amounts == ['0', '0']:
            text = (
                'maxSurge and maxUnavailable are both 0, so that no pod is ever replaced: raise one'
            )
            yield Problem(manifest, 'spec.strategy.rollingUpdate', text)


def _target(objects: Objects, scaler: Manifest) -> Manifest | None:
    target = scaler.spec.get('scaleTargetRef') or {}
    return objects.find(target.get('kind', ''), target.get('name', ''), scaler.namespace)


def _fewest(objects: Objects, manifest: Manifest) -> int | None:
    """With how few pods a controller runs; None for what is no Deployment or StatefulSet."""
    if manifest.kind not in ('Deployment', 'StatefulSet'):
        return None
    scalers = [
        item for item in objects.of('HorizontalPodAutoscaler') if _target(objects, item) is manifest
    ]
    return min(
        (item.spec.get('minReplicas', 1) for item in scalers),
        default=manifest.spec.get('replicas', 1),
    )
