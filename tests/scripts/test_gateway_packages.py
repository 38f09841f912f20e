"""The packages of the gateway's image: enough for all that it does, and no TensorFlow."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from records import synth
from tests.support import push_targets
from tests.support.locked import locked

PROJECT = Path(__file__).resolve().parents[2]
# What the image runs, and what it loads only when it is used.
_IMPORTS = """
import importlib, pkgutil, sys
import serving
from cli.main import build_parser
build_parser()
for module in pkgutil.walk_packages(serving.__path__, 'serving.'):
    if not module.name.startswith(('serving.model_server', 'serving.database.migrations')):
        importlib.import_module(module.name)
from sqlalchemy import create_engine
create_engine('postgresql+psycopg://')
for name in ('PIL.JpegImagePlugin', 'PIL.PngImagePlugin', 'rich.console'):
    importlib.import_module(name)
print(' '.join(sorted({name.split('.')[0] for name in sys.modules})))
"""
_SERVE = """
from cli.main import main
raise SystemExit(main())
"""


def _packages() -> list[str]:
    return sorted(locked(f'3.{sys.version_info.minor}', '--only-group', 'gateway'))


def _command(code: str, *arguments: str) -> list[str]:
    module = 'tests.support.only_gateway_packages'
    return [sys.executable, '-m', module, *_packages(), '--', code, *arguments]


def test_the_gateway_imports_only_its_packages_and_no_tensorflow() -> None:
    result = subprocess.run(
        _command(_IMPORTS), cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    loaded = set(result.stdout.split())
    assert {'fastapi', 'grpc', 'psycopg', 'pydicom'} <= loaded
    assert not {'tensorflow', 'tfx', 'kfp', 'apache_beam', 'keras'} & loaded


def test_the_canary_is_judged_with_its_packages() -> None:
    code = 'import cli.auto_release, monitoring.canary, monitoring.paired'
    result = subprocess.run(
        _command(code), cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr


def test_the_image_has_the_versions_of_the_environment() -> None:
    gateway, all_packages = locked('3.11', '--only-group', 'gateway'), locked('3.11')
    assert 20 < len(gateway) < 50
    assert gateway.items() <= all_packages.items()
    assert 'psycopg-binary' in gateway  # the image has no libpq
    assert not {'tensorflow', 'tfx', 'pandas', 'scipy'} & set(gateway)


@pytest.mark.slow
def test_the_gateway_serves_with_only_its_packages(tmp_path: Path) -> None:
    """Without a run root, and while the model server is down."""
    target = tmp_path / 'pushes'
    version = push_targets.publish(push_targets.model(tmp_path / 'model'), target).version
    before = sorted(target.iterdir())
    config = tmp_path / 'models.config'
    labels = f'version_labels {{ key: "stable" value: {version} }}'
    config.write_text(
        'model_config_list { config { name: "cxr_triage" base_path: "/models" '
        f'model_version_policy {{ specific {{ versions: {version} }} }} {labels} }} }}'
    )
    options = ['--target', str(target), '--data', str(tmp_path / 'data'), '--port', '0']
    options += ['--model-server', 'grpc://127.0.0.1:1', '--config-file', str(config)]
    log = (tmp_path / 'log').open('w')
    process = subprocess.Popen(
        _command(_SERVE, 'serve', *options),
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        address = re.match(r'http://\S+(?=/)', line)
        assert address, (tmp_path / 'log').read_text()
        url = address[0]
        image = synth.encode_jpeg(synth.phantom(patient=1, size=256))
        upload = requests.post(f'{url}/v1/studies', files={'files': ('a.jpg', image)}, timeout=30)
        assert upload.status_code == 202, upload.text
        study = upload.json()['id']
        assert requests.get(f'{url}/readyz', timeout=30).json()['status'] == 'ready'
        (model,) = requests.get(f'{url}/v1/models', timeout=30).json()
        assert (model['version'], model['labels']) == (int(version), ['stable'])
        for path in ('/', f'/studies/{study}', '/metrics', f'/v1/studies/{study}/image'):
            assert requests.get(url + path, timeout=30).status_code == 200, path
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)
        log.close()
    # The push directory may be read-only.
    assert sorted(target.iterdir()) == before
