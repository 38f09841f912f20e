"""The image of the gateway: small, read-only, not root, and it accepts uploads."""

from __future__ import annotations

import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from records import synth
from scripts.images.engine import Engine
from tests.containers.conftest import build_image
from tests.support import push_targets

pytestmark = pytest.mark.slow

_MAX_BYTES = 400_000_000


@pytest.fixture(scope='module')
def gateway_image(docker: Engine) -> str:
    """The tag of the gateway's image."""
    return build_image(docker, 'gateway')


@pytest.fixture
def url(docker: Engine, gateway_image: str, tmp_path: Path) -> Iterator[str]:
    """A gateway whose model server is down, with a new volume for its data."""
    target = tmp_path / 'pushes'
    version = push_targets.publish(push_targets.model(tmp_path / 'model'), target).version
    config = tmp_path / 'config' / 'models.config'
    config.parent.mkdir()
    config.write_text(
        'model_config_list { config { name: "cxr_triage" base_path: "/models/cxr_triage" '
        f'version_labels {{ key: "stable" value: {version} }} }} }}'
    )
    with socket.socket() as listener:
        listener.bind(('127.0.0.1', 0))
        port = listener.getsockname()[1]
    name = f'cxr-gateway-{uuid.uuid4().hex[:8]}'
    options = ['--name', name, '--detach', '--read-only', '--cap-drop', 'ALL']
    options += ['--security-opt', 'no-new-privileges', '--tmpfs', '/tmp', '--network', 'host']
    options += ['--volume', f'{target}:/models/cxr_triage:ro']
    options += ['--volume', f'{config.parent}:/etc/cxr-triage:ro', '--volume', f'{name}:/data']
    command = ['serve', '--port', str(port), '--data', '/data', '--target', '/models/cxr_triage']
    command += ['--config-file', '/etc/cxr-triage/models.config']
    command += ['--model-server', 'grpc://127.0.0.1:1']
    docker.run('run', *options, gateway_image, *command, stdout=subprocess.DEVNULL)
    try:
        yield f'http://127.0.0.1:{port}'
        log = docker.run('logs', name, capture_output=True, text=True)
        assert 'Traceback' not in log.stdout + log.stderr
    finally:
        docker.run('rm', '--force', name, stdout=subprocess.DEVNULL)
        docker.run('volume', 'rm', name, stdout=subprocess.DEVNULL)


def test_the_image_is_small_and_does_not_run_as_root(docker: Engine, gateway_image: str) -> None:
    command = ['image', 'inspect', '--format', '{{.Size}} {{.Config.User}}', gateway_image]
    size, user = docker.run(*command, capture_output=True, text=True).stdout.split()
    assert int(size) <= _MAX_BYTES
    assert user == '10001:10001'


def test_the_image_has_no_tensorflow(docker: Engine, gateway_image: str) -> None:
    script = 'import importlib.util as u; print(u.find_spec("tensorflow"), u.find_spec("tfx"))'
    command = ['run', '--rm', '--network', 'none', '--entrypoint', 'python', gateway_image]
    result = docker.run(*command, '-c', script, capture_output=True, text=True)
    assert result.stdout.split() == ['None', 'None']


def test_a_read_only_gateway_accepts_uploads(url: str) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            ready = requests.get(f'{url}/readyz', timeout=10)
            break
        except requests.ConnectionError:
            assert time.monotonic() < deadline
            time.sleep(0.2)
    assert ready.json()['status'] == 'ready'
    image = synth.encode_jpeg(synth.phantom(patient=1, size=256))
    upload = requests.post(f'{url}/v1/studies', files={'files': ('a.jpg', image)}, timeout=30)
    assert upload.status_code == 202, upload.text
    (row,) = requests.get(f'{url}/v1/worklist', timeout=30).json()['studies']
    assert (row['id'], row['state']) == (upload.json()['id'], 'pending')
