"""Checks the restricted pod security standard, and that containers cannot change their files.

Kubernetes enforces the standard (kubernetes.io/docs/concepts/security/pod-security-standards) in
namespaces with a label for it. This check reports violations, with the fix, before the files are
applied.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from scripts.manifests.objects import Container, Objects, Pod, Problem, listed

_VOLUMES = (
    'configMap',
    'csi',
    'downwardAPI',
    'emptyDir',
    'ephemeral',
    'persistentVolumeClaim',
    'projected',
    'secret',
)
_ADDED_CAPABILITIES = ('NET_BIND_SERVICE',)
_SECCOMP = ('RuntimeDefault', 'Localhost')
_APPARMOR = ('RuntimeDefault', 'Localhost')
_SELINUX = ('', 'container_t', 'container_init_t', 'container_kvm_t', 'container_engine_t')
_SYSCTLS = (
    'kernel.shm_rmid_forced',
    'net.ipv4.ip_local_port_range',
    'net.ipv4.ip_local_reserved_ports',
    'net.ipv4.ip_unprivileged_port_start',
    'net.ipv4.ping_group_range',
    'net.ipv4.tcp_syncookies',
    'net.ipv4.tcp_keepalive_time',
    'net.ipv4.tcp_keepalive_intvl',
    'net.ipv4.tcp_keepalive_probes',
    'net.ipv4.tcp_fin_timeout',
    'net.ipv4.tcp_rmem',
    'net.ipv4.tcp_wmem',
)
_HANDLERS = ('livenessProbe', 'readinessProbe', 'startupProbe')


def restricted(objects: Objects) -> Iterator[Problem]:
    """Every pod complies with the standard."""
    for pod in objects.pods():
        yield from _pod(pod)
        for container in pod.containers():
            yield from _container(pod, container)


def _pod(pod: Pod) -> Iterator[Problem]:
    for key in ('hostNetwork', 'hostPID', 'hostIPC'):
        if pod.spec.get(key):
            yield Problem(pod.manifest, f'{pod.field}.{key}', 'is true: expected false; remove it')
    for volume in pod.volumes():
        kinds = [key for key in volume if key != 'name']
        for kind in kinds:
            if kind not in _VOLUMES:
                field = f'{pod.field}.volumes[{volume["name"]}]'
                yield Problem(
                    pod.manifest, field, f'is of kind {kind}: expected one of {listed(_VOLUMES)}'
                )
    security = pod.spec.get('securityContext') or {}
    for sysctl in security.get('sysctls') or ():
        if sysctl['name'] not in _SYSCTLS:
            text = f'{sysctl["name"]} is not a safe sysctl: remove it'
            yield Problem(pod.manifest, f'{pod.field}.securityContext.sysctls', text)
    yield from _both(pod, f'{pod.field}.securityContext', security)


def _container(pod: Pod, container: Container) -> Iterator[Problem]:
    own, shared = (
        container.content.get('securityContext') or {},
        pod.spec.get('securityContext') or {},
    )
    field = f'{container.field}.securityContext'
    effective = {**shared, **own}
    if effective.get('runAsNonRoot') is not True:
        text = f'is {effective.get("runAsNonRoot")}: expected true, here or for the pod'
        yield Problem(pod.manifest, f'{field}.runAsNonRoot', text)
    profile = (effective.get('seccompProfile') or {}).get('type')
    if profile not in _SECCOMP:
        yield Problem(
            pod.manifest,
            f'{field}.seccompProfile.type',
            f'is {profile}: expected RuntimeDefault, here or for the pod',
        )
    if own.get('allowPrivilegeEscalation') is not False:
        text = f'is {own.get("allowPrivilegeEscalation")}: expected false, at the container'
        yield Problem(pod.manifest, f'{field}.allowPrivilegeEscalation', text)
    if own.get('privileged'):
        yield Problem(pod.manifest, f'{field}.privileged', 'is true: expected false; remove it')
    capabilities = own.get('capabilities') or {}
    if 'ALL' not in (capabilities.get('drop') or ()):
        text = (
            f'drops {listed(capabilities.get("drop") or ())}: expected drop: [ALL], at the '
            'container'
        )
        yield Problem(pod.manifest, f'{field}.capabilities.drop', text)
    added = [name for name in capabilities.get('add') or () if name not in _ADDED_CAPABILITIES]
    if added:
        yield Problem(
            pod.manifest,
            f'{field}.capabilities.add',
            f'adds {listed(added)}: expected {listed(_ADDED_CAPABILITIES)} at most',
        )
    if own.get('procMount', 'Default') != 'Default':
        yield Problem(
            pod.manifest,
            f'{field}.procMount',
            f'is {own["procMount"]}: expected Default; remove it',
        )
    if own.get('readOnlyRootFilesystem') is not True:
        # Beyond the standard.
        text = (
            f'is {own.get("readOnlyRootFilesystem")}: expected true; mount an emptyDir where the '
            'program writes'
        )
        yield Problem(pod.manifest, f'{field}.readOnlyRootFilesystem', text)
    yield from _both(pod, field, own)
    for port in container.listed('ports'):
        if port.get('hostPort'):
            name = port.get('name', port['containerPort'])
            yield Problem(
                pod.manifest,
                f'{container.field}.ports[{name}].hostPort',
                f'is {port["hostPort"]}: others reach a port through a service; remove it',
            )
    yield from _hosts(pod, container)


def _both(pod: Pod, field: str, security: Mapping[str, Any]) -> Iterator[Problem]:
    """Checks the fields that a pod and a container both have."""
    if security.get('runAsUser') == 0:
        yield Problem(
            pod.manifest, f'{field}.runAsUser', 'is 0, which is root: expected another number'
        )
    profile = (security.get('appArmorProfile') or {}).get('type', _APPARMOR[0])
    if profile not in _APPARMOR:
        yield Problem(
            pod.manifest,
            f'{field}.appArmorProfile.type',
            f'is {profile}: expected {" or ".join(_APPARMOR)}; remove it',
        )
    options = security.get('seLinuxOptions') or {}
    if options.get('type', '') not in _SELINUX or options.get('user') or options.get('role'):
        text = (
            f'user, role or type is set ({listed(list(options))}): expected no user, no role and '
            'a type for containers'
        )
        yield Problem(pod.manifest, f'{field}.seLinuxOptions', text)
    if (security.get('windowsOptions') or {}).get('hostProcess'):
        yield Problem(
            pod.manifest,
            f'{field}.windowsOptions.hostProcess',
            'is true: expected false; remove it',
        )


def _hosts(pod: Pod, container: Container) -> Iterator[Problem]:
    """A probe or hook sends requests to its own pod, not to another host."""
    handlers = {key: container.content.get(key) or {} for key in _HANDLERS}
    lifecycle = container.content.get('lifecycle') or {}
    handlers |= {
        f'lifecycle.{key}': value or {}
        for key, value in lifecycle.items()
        if isinstance(value, Mapping)
    }
    for key, handler in handlers.items():
        for action in ('httpGet', 'tcpSocket'):
            if host := (handler.get(action) or {}).get('host'):
                yield Problem(
                    pod.manifest,
                    f'{container.field}.{key}.{action}.host',
                    f'is {host}: expected none; remove it',
                )
