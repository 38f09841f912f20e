"""Checks that pods can be scaled, replaced and moved: autoscalers, budgets, rollouts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from scripts.manifests.objects import Manifest, Objects, Pod, Problem
from scripts.manifests.quantities import share


def autoscalers(objects: Objects) -> Iterator[Problem]:
    """Autoscalers have valid bounds and metrics, and their targets have no `replicas`.

    Only one autoscaler scales a target, and containers request the resources that it measures.
    """
    scaled: dict[tuple[str, str], Manifest] = {}
    for scaler in objects.of('HorizontalPodAutoscaler'):
        low, high = scaler.spec.get('minReplicas', 1), scaler.spec.get('maxReplicas', 0)
        if low > high:
            yield Problem(
                scaler,
                'spec.minReplicas',
                f'{low} is above spec.maxReplicas ({high}): lower it, or raise the maximum',
            )
        if not scaler.spec.get('metrics'):
            yield Problem(
                scaler,
                'spec.metrics',
                'is missing: expected a metric, e.g. the use of the requested CPU',
            )
        target = _target(objects, scaler)
        if target is None:
            continue  # reported by connections.autoscalers
        other = scaled.setdefault((target.kind, target.name), scaler)
        if other is not scaler:
            yield Problem(
                scaler,
                'spec.scaleTargetRef',
                f'{other.name} already scales {target.kind} {target.name}: remove one',
            )
        if 'replicas' in target.spec:
            text = (
                f'is {target.spec["replicas"]}, and {scaler.name} scales it: each apply would '
                'reset the number; remove it'
            )
            yield Problem(target, 'spec.replicas', text)
        yield from _metrics(scaler, next(pod for pod in objects.pods() if pod.manifest is target))


def _metrics(scaler: Manifest, pod: Pod) -> Iterator[Problem]:
    """Containers request the resources whose use is measured as a share of the request."""
    containers = [container for container in pod.containers() if not container.setup]
    for index, metric in enumerate(scaler.spec.get('metrics') or ()):
        key = {'Resource': 'resource', 'ContainerResource': 'containerResource'}.get(
            metric.get('type', '')
        )
        measured = metric.get(key) or {} if key else {}
        if (measured.get('target') or {}).get('type') != 'Utilization':
            continue
        field = f'spec.metrics[{index}].{key}'
        targets = [
            item
            for item in containers
            if measured.get('container') in (None, item.content.get('name'))
        ]
        if not targets:
            names = ', '.join(item.content.get('name', '') for item in containers)
            yield Problem(
                scaler,
                field,
                f'{pod.manifest.name} has no container {measured["container"]!r}: expected one of '
                f'{names}',
            )
        for container in targets:
            if measured.get('name') not in (
                (container.content.get('resources') or {}).get('requests') or {}
            ):
                where = (
                    f'{pod.manifest.kind} {pod.manifest.name} {container.field}.resources.requests'
                )
                text = (
                    f'measures {measured.get("name")} as a share of the request, but {where} has '
                    'none; add it'
                )
                yield Problem(scaler, field, text)


def disruption_budgets(objects: Objects) -> Iterator[Problem]:
    """A budget allows the eviction of at least one pod, even with the smallest number of pods."""
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
            evictable = amount if keys[0] == 'maxUnavailable' else fewest - amount
            if evictable < 1:
                text = (
                    f'{budget.spec[keys[0]]} blocks every eviction when {pod.manifest.kind} '
                    f'{pod.manifest.name} has {fewest} pods, '
                    'so that no node can be drained: expected maxUnavailable of 1 or more'
                )
                yield Problem(budget, f'spec.{keys[0]}', text)


def rollouts(objects: Objects) -> Iterator[Problem]:
    """A rollout can add or remove a pod."""
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
    """The smallest number of pods of a Deployment or StatefulSet; None for other kinds."""
    if manifest.kind not in ('Deployment', 'StatefulSet'):
        return None
    scalers = [
        item for item in objects.of('HorizontalPodAutoscaler') if _target(objects, item) is manifest
    ]
    return min(
        (item.spec.get('minReplicas', 1) for item in scalers),
        default=manifest.spec.get('replicas', 1),
    )
