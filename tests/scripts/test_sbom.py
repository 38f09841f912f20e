"""The bill of materials: packages, scopes, licences and hashes, and a check against the lock."""

from __future__ import annotations

import json
import subprocess
import sys
from email.message import Message
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from scripts import sbom

PROJECT = Path(__file__).resolve().parents[2]


def _component(name: str, version: str, marker: str = "python_version > '3'") -> dict[str, Any]:
    properties = [{'name': 'uv:package:marker', 'value': marker}]
    return {
        'bom-ref': f'{name}@{version}',
        'name': name,
        'version': version,
        'properties': properties,
    }


def _installed(name: str, version: str, **metadata: str) -> Any:
    message = Message()
    for key, value in metadata.items():
        message[key.replace('_', '-')] = value
    return SimpleNamespace(name=name, version=version, metadata=message)


ELSEWHERE = _component('tool', '2.0', "python_version < '3'")
BILL: dict[str, Any] = {
    'metadata': {'component': {'bom-ref': 'root'}},
    'components': [_component('tool', '1.0'), ELSEWHERE, _component('checker', '3.0')],
    'dependencies': [
        {'ref': 'root', 'dependsOn': ['tool@1.0', 'tool@2.0', 'checker@3.0']},
        {'ref': 'tool@1.0'},
        {'ref': 'tool@2.0'},
        {'ref': 'checker@3.0'},
    ],
}
PACKAGES = {
    'cxr-triage': _installed('cxr-triage', '0.1.0'),
    'tool': _installed('tool', '1.0', License_Expression='MIT'),
    'checker': _installed('checker', '3.0', Classifier='License :: OSI Approved :: MIT License'),
}


def _bill() -> dict[str, Any]:
    return json.loads(json.dumps(BILL))


def test_the_bill_has_only_the_packages_of_this_environment() -> None:
    bill = sbom.complete(_bill(), {'components': [_component('tool', '1.0')]}, PACKAGES)
    assert [(part['bom-ref'], part['scope'], part['licenses']) for part in bill['components']] == [
        ('tool@1.0', 'required', [{'expression': 'MIT'}]),
        ('checker@3.0', 'excluded', [{'license': {'name': 'MIT License'}}]),
    ]
    assert {entry['ref']: entry['dependsOn'] for entry in bill['dependencies']} == {
        'root': ['tool@1.0', 'checker@3.0'],
        'tool@1.0': [],
        'checker@3.0': [],
    }


@pytest.mark.parametrize(
    ('packages', 'name'),
    [
        ({**PACKAGES, 'stray': _installed('stray', '1.0')}, 'stray'),
        ({**PACKAGES, 'tool': _installed('tool', '1.1')}, 'tool'),
        ({'checker': PACKAGES['checker']}, 'tool'),
    ],
    ids=['another package', 'another version', 'a missing package'],
)
def test_an_environment_that_differs_from_the_lock_is_refused(
    packages: dict[str, Any], name: str
) -> None:
    with pytest.raises(sbom.SbomError, match=f'does not match uv.lock: {name}.*make environment'):
        sbom.complete(_bill(), {'components': []}, packages)


def test_the_bill_of_this_environment(tmp_path: Path) -> None:
    """Runs `make sbom` with another output folder, on the real lock."""
    code = (
        'import pathlib, sys; from scripts import sbom; sbom._OUTPUT = pathlib.Path(sys.argv[1]); '
        'sys.exit(sbom.main())'
    )
    command = [str(PROJECT / 'scripts/with-uv'), sys.executable, '-c', code, str(tmp_path)]
    subprocess.run(command, cwd=PROJECT, check=True)
    (path,) = tmp_path.iterdir()
    bill = json.loads(path.read_text())
    assert (bill['bomFormat'], bill['specVersion']) == ('CycloneDX', '1.5')
    parts = {part['name']: part for part in bill['components']}
    assert len(parts) > 200
    required = {name for name, part in parts.items() if part['scope'] == 'required'}
    assert {'tfx', 'tensorflow', 'apache-beam', 'protobuf', 'jinja2', 'witwidget'} <= required
    development = {'pytest', 'pytest-xdist', 'hypothesis', 'ruff', 'mypy', 'types-pyyaml', 'build'}
    assert development <= parts.keys() - required
    for part in parts.values():
        files = part['externalReferences']
        assert files and all(file['hashes'][0]['alg'] == 'SHA-256' for file in files)
    assert sum(not part['licenses'] for part in parts.values()) < 10
