"""The Docker Compose file: valid commands, existing files, and what the manifests use too."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from cli import main as cli
from serving.releases import config_file

PROJECT = Path(__file__).resolve().parents[2]
COMPOSE = PROJECT / 'kubeflow' / 'compose'
TEXT = (COMPOSE / 'compose.yaml').read_text()
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(TEXT)['services']


def _mounts(service: dict[str, Any]) -> dict[str, str]:
    """Path in the container -> source."""
    pairs = (re.sub(r':\?[^}]*', '', mount).split(':')[:2] for mount in service['volumes'])
    return {target: source for source, target in pairs}


def test_the_gateway_has_valid_options_and_what_they_name() -> None:
    gateway = SERVICES['gateway']
    command = [re.sub(r'\$\{\w+:-(\w+)\}', r'\1', argument) for argument in gateway['command']]
    args = cli.build_parser().parse_args(command)
    assert (args.command, args.tokens, args.retention_days) == ('serve', 'on', 0)
    host, port = args.model_server.removeprefix('grpc://').split(':')
    assert f'--port={port}' in SERVICES[host]['command']
    mounts = _mounts(gateway)
    assert {str(args.data), str(args.target), str(args.config_file.parent)} == set(mounts)
    serving = _mounts(SERVICES['serving'])
    assert all(serving[str(path)] == mounts[str(path)] for path in (args.target, '/etc/cxr-triage'))
    config = config_file.read(COMPOSE / 'config' / args.config_file.name)
    assert config_file.labels(config, args.model)['stable']
    assert config_file.base_path(config, args.model) == str(args.target)


def test_mounted_files_exist() -> None:
    sources = [
        source
        for service in SERVICES.values()
        for source in _mounts(service if 'volumes' in service else {'volumes': []}).values()
        if source.startswith('.')
    ]
    assert len(sources) >= 5
    assert [source for source in sources if not (COMPOSE / source).exists()] == []
    flags = dict(
        flag.removeprefix('--').split('=', 1)
        for flag in SERVICES['serving']['command']
        if '=' in flag
    )
    mounts = _mounts(SERVICES['serving'])
    for name, value in flags.items():
        if name.endswith('_file'):
            path = Path(value)
            assert (COMPOSE / mounts[str(path.parent)] / path.name).is_file(), name


def test_every_variable_is_in_the_example_or_has_a_default() -> None:
    example = {
        line.split('=')[0]
        for line in (COMPOSE / 'env.example').read_text().splitlines()
        if line and not line.startswith('#')
    }
    assert set(re.findall(r'\$\{(\w+):\?', TEXT)) <= example
    assert example <= set(re.findall(r'\$\{(\w+):', TEXT))


def test_tf_serving_is_the_same_as_on_kubernetes() -> None:
    base = yaml.safe_load((PROJECT / 'kubeflow/manifests/base/kustomization.yaml').read_text())
    (image,) = [image for image in base['images'] if image['name'] == 'tensorflow/serving']
    assert SERVICES['serving']['image'] == f'tensorflow/serving:{image["newTag"]}'


def test_ports_are_open_to_this_machine_alone() -> None:
    ports = [port for service in SERVICES.values() for port in service.get('ports', ())]
    assert len(ports) == 3
    assert all(port.startswith('127.0.0.1:') for port in ports)


def test_containers_cannot_change_their_files_or_gain_rights() -> None:
    for name, service in SERVICES.items():
        assert service['security_opt'] == ['no-new-privileges:true'], name
        assert not service.get('privileged'), name
        # PostgreSQL's image starts as root, makes its folders and then changes its user.
        if name != 'database':
            assert service['read_only'] is True and service['cap_drop'] == ['ALL'], name
    for name in ('serving', 'migration', 'gateway'):
        assert SERVICES[name]['user'] == '10001:10001'
