"""Checks the gateway's options against the other objects: its model server and its database."""

from __future__ import annotations

from collections.abc import Iterator

from scripts.manifests.objects import Container, Objects, Pod, Problem, listed

_MODULE, _COMMAND = 'cxr_triage', 'serve'
_MODEL_SERVER = '--model-server='
_DATABASE = 'CXR_DATABASE'


def gateways(objects: Objects) -> Iterator[tuple[Pod, Container]]:
    """The containers that run `cxr-triage serve`."""
    for pod in objects.pods():
        for container in pod.containers():
            if {_MODULE, _COMMAND} <= set(container.command_line):
                yield pod, container


def model_servers(objects: Objects) -> Iterator[Problem]:
    """The model server of a gateway is a service of the folder, with that port."""
    for pod, container in gateways(objects):
        field = f'{container.field}.args[--model-server]'
        address = next(
            (
                argument.removeprefix(_MODEL_SERVER)
                for argument in container.command_line
                if argument.startswith(_MODEL_SERVER)
            ),
            None,
        )
        if address is None:
            text = 'is missing: the image has no model server; expected grpc://SERVICE:PORT'
            yield Problem(pod.manifest, field, text)
            continue
        host, _, port = address.removeprefix('grpc://').partition(':')
        addresses = [
            f'grpc://{service.name}:{entry["port"]}'
            for service in objects.of('Service')
            if service.namespace == pod.manifest.namespace
            for entry in service.spec.get('ports') or ()
        ]
        if f'grpc://{host.split(".")[0]}:{port}' not in addresses:
            text = f'{address}: no service has that address: expected one of {listed(addresses)}'
            yield Problem(pod.manifest, field, text)


def databases(objects: Objects) -> Iterator[Problem]:
    """A gateway has a database that its replicas share."""
    for pod, container in gateways(objects):
        if _DATABASE not in [variable['name'] for variable in container.listed('env')]:
            text = (
                'is missing, so that each pod has its own SQLite file: expected the URL of '
                'PostgreSQL, from a secret'
            )
            yield Problem(pod.manifest, f'{container.field}.env[{_DATABASE}]', text)
