"""Checks the settings of containers and jobs: image, resources, probes, deadline, schedule."""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Iterator, Mapping
from typing import Any

from scripts.manifests.objects import CONTROLLERS, Container, Objects, Pod, Problem, listed
from scripts.manifests.quantities import quantity

_DIGEST = re.compile(r'@sha256:[0-9a-f]{64}$')
_TAG = re.compile(r':([A-Za-z0-9_][A-Za-z0-9_.-]{0,127})$')
_RESOURCES = ('cpu', 'memory')
_PROBES = ('startupProbe', 'readinessProbe', 'livenessProbe')
_SCHEDULE = (
    ('minute', 0, 59),
    ('hour', 0, 23),
    ('day of month', 1, 31),
    ('month', 1, 12),
    ('day of week', 0, 7),
)
_NAMES = {
    'month': ('jan', 'feb', 'mar', 'apr', 'may', 'jun', 'jul', 'aug', 'sep', 'oct', 'nov', 'dec'),
    'day of week': ('sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat'),
}
_MACROS = ('@yearly', '@annually', '@monthly', '@weekly', '@daily', '@midnight', '@hourly')


def images(objects: Objects) -> Iterator[Problem]:
    """An image has a digest or a tag other than latest, so that a manifest is reproducible."""
    for pod in objects.pods():
        for container in pod.containers():
            image = container.content.get('image', '')
            tag = None if '@' in image else _TAG.search(image)
            if not _DIGEST.search(image) and (tag is None or tag.group(1) == 'latest'):
                text = (
                    f'{image!r}: expected NAME:TAG with a tag other than latest, or '
                    'NAME@sha256:DIGEST; pin it (kustomize: `images`)'
                )
                yield Problem(pod.manifest, f'{container.field}.image', text)


def resources(objects: Objects) -> Iterator[Problem]:
    """CPU and memory have requests and limits, and no request is above its limit.

    For other resources, such as GPUs, request and limit are equal.
    """
    for pod in objects.pods():
        for container in pod.containers():
            amounts = container.content.get('resources') or {}
            requests, limits = amounts.get('requests') or {}, amounts.get('limits') or {}
            for part, values in (('requests', requests), ('limits', limits)):
                for name in _RESOURCES:
                    if name not in values:
                        text = (
                            f'{name} is missing: expected an amount, e.g. '
                            f'{"500m" if name == "cpu" else "512Mi"}'
                        )
                        yield Problem(pod.manifest, f'{container.field}.resources.{part}', text)
            yield from _amounts(pod, container, requests, limits)


def _amounts(
    pod: Pod, container: Container, requests: Mapping[str, Any], limits: Mapping[str, Any]
) -> Iterator[Problem]:
    for name, value in requests.items():
        field = f'{container.field}.resources.requests[{name}]'
        request, limit = quantity(value), quantity(limits[name]) if name in limits else None
        if request is not None and limit is not None and request > limit:
            yield Problem(
                pod.manifest,
                field,
                f'{value} is above the limit {limits[name]}: lower it, or raise the limit',
            )
        elif '/' in name and request != limit:
            text = (
                f'{value} is not the limit ({limits.get(name, "none")}): such a resource cannot '
                'be overcommitted; make them equal'
            )
            yield Problem(pod.manifest, field, text)


def probes(objects: Objects) -> Iterator[Problem]:
    """Containers of controllers have readiness and liveness probes; probes use exposed ports."""
    for pod in objects.pods():
        for container in pod.containers():
            if pod.manifest.kind in CONTROLLERS and not container.setup:
                for key in ('readinessProbe', 'livenessProbe'):
                    if key not in container.content:
                        effect = (
                            'traffic comes before the container is ready'
                            if key == 'readinessProbe'
                            else 'a container that hangs is not restarted'
                        )
                        yield Problem(
                            pod.manifest,
                            f'{container.field}.{key}',
                            f'is missing, so that {effect}: add one',
                        )
            ports = [port.get('name') for port in container.listed('ports')] + [
                port['containerPort'] for port in container.listed('ports')
            ]
            for key in _PROBES:
                probe = container.content.get(key) or {}
                for action in ('httpGet', 'tcpSocket', 'grpc'):
                    port = (probe.get(action) or {}).get('port')
                    if port is not None and port not in ports:
                        names = listed([port for port in ports if port is not None])
                        text = (
                            f'{port}: the container has no such port: expected one of {names}; '
                            'add it under `ports`, or change this one'
                        )
                        yield Problem(pod.manifest, f'{container.field}.{key}.{action}.port', text)


def jobs(objects: Objects) -> Iterator[Problem]:
    """Jobs have a deadline; cron jobs have a valid schedule and time zone."""
    for manifest in objects.of('Job', 'CronJob'):
        field = 'spec' if manifest.kind == 'Job' else 'spec.jobTemplate.spec'
        spec = (
            manifest.spec
            if manifest.kind == 'Job'
            else (manifest.spec.get('jobTemplate') or {}).get('spec') or {}
        )
        if 'activeDeadlineSeconds' not in spec:
            text = (
                'is missing, so that a job that hangs never ends: expected the seconds after '
                'which it fails'
            )
            yield Problem(manifest, f'{field}.activeDeadlineSeconds', text)
        if manifest.kind == 'CronJob':
            if problem := schedule_problem(manifest.spec.get('schedule', '')):
                yield Problem(manifest, 'spec.schedule', problem)
            zone = manifest.spec.get('timeZone')
            if zone not in zoneinfo.available_timezones():
                message = (
                    'is missing, so that the control plane decides the time zone'
                    if zone is None
                    else f'{zone!r} is not a time zone'
                )
                yield Problem(
                    manifest,
                    'spec.timeZone',
                    f'{message}: expected a name such as Etc/UTC or Europe/Berlin',
                )


def schedule_problem(text: str) -> str | None:
    """Returns what is wrong with a cron schedule, or None."""
    if text in _MACROS:
        return None
    fields = text.split()
    if len(fields) != len(_SCHEDULE):
        return (
            f'{text!r} has {len(fields)} fields: expected {len(_SCHEDULE)} '
            f'({", ".join(name for name, _, _ in _SCHEDULE)})'
        )
    for field, (name, low, high) in zip(fields, _SCHEDULE, strict=True):
        if not all(_part_fits(part, name, low, high) for part in field.split(',')):
            return (
                f'{text!r}: {field} is not a valid {name}: expected {low} to {high}, lists (1,2), '
                'ranges (1-5) and steps (*/10) of them, or *'
            )
    return None


def _part_fits(part: str, name: str, low: int, high: int) -> bool:
    span, slash, step = part.partition('/')
    if slash and not (step.isdecimal() and int(step) > 0):
        return False
    if span in ('*', '?'):
        return True
    bounds = []
    for end in span.split('-'):
        names = _NAMES.get(name, ())
        number = (
            names.index(end.lower()) + low
            if end.lower() in names
            else int(end)
            if end.isdecimal()
            else None
        )
        if number is None or not low <= number <= high:
            return False
        bounds.append(number)
    return len(bounds) <= 2 and bounds == sorted(bounds)
