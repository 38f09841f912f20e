"""Writes the bill of materials (CycloneDX 1.5, JSON) of the environment in .venv: `make sbom`.

uv takes names, versions, hashes and dependencies from uv.lock. Licences come from the metadata of
the installed packages. The scope `excluded` marks packages that only tests and checks use.
"""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from packaging.markers import Marker
from packaging.utils import canonicalize_name

_PROJECT = Path(__file__).resolve().parents[1]
_NAME = 'cxr-triage'
_OUTPUT = _PROJECT / 'dist' / 'sbom'
# uv's property with the marker that says on which systems a package is installed.
_MARKER = 'uv:package:marker'


class SbomError(Exception):
    """The environment does not match uv.lock; the message says how."""


def main() -> int:
    """Writes the file under dist/sbom; returns 1 if the environment does not match uv.lock."""
    try:
        bill = complete(export(), export('--no-default-groups', '--group', 'facets'), installed())
    except SbomError as error:
        sys.stderr.write(f'sbom: {error}\n')
        return 1
    environment = (_PROJECT / '.venv' / 'environment').read_text(encoding='utf-8').split()[0]
    version = importlib.metadata.version(_NAME)
    path = _OUTPUT / f'{_NAME}-{version}-{environment}.cdx.json'
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(bill, indent=1, ensure_ascii=False) + '\n', encoding='utf-8')
    sys.stdout.write(f'sbom: {path}: {_summary(bill)}\n')
    return 0


def export(*options: str) -> dict[str, Any]:
    """uv's export of the lock: the packages of both environments, with markers."""
    command = ['uv', 'export', '--quiet', '--frozen', '--format', 'cyclonedx1.5', *options]
    result = subprocess.run(command, cwd=_PROJECT, stdout=subprocess.PIPE, check=True)
    return json.loads(result.stdout)


def installed() -> dict[str, importlib.metadata.Distribution]:
    """Name -> package, for the packages of this environment."""
    return {
        canonicalize_name(distribution.name): distribution
        for distribution in importlib.metadata.distributions()
    }


def complete(
    bill: dict[str, Any],
    runtime: dict[str, Any],
    packages: dict[str, importlib.metadata.Distribution],
) -> dict[str, Any]:
    """The part of `bill` that belongs to this environment, with licences and scopes.

    Args:
        bill: the bill of all locked packages.
        runtime: the bill of the packages that the project needs to run.
        packages: name -> installed package.

    Raises:
        SbomError: the installed packages differ from the locked ones.
    """
    components = [component for component in bill['components'] if _is_used(component)]
    expected = {component['name']: component['version'] for component in components}
    actual = {name: package.version for name, package in packages.items() if name != _NAME}
    if actual != expected:
        different = sorted(
            name
            for name in actual.keys() | expected.keys()
            if actual.get(name) != expected.get(name)
        )
        raise SbomError(
            f'.venv does not match uv.lock: {", ".join(different)}. Remove .venv and run '
            '`make environment`'
        )
    required = {component['name'] for component in runtime['components']}
    for component in components:
        name = component['name']
        component['scope'] = 'required' if name in required else 'excluded'
        component['licenses'] = _licences(packages[name].metadata)
    references = {component['bom-ref'] for component in components}
    root = bill['metadata']['component']['bom-ref']
    dependencies = [
        {**entry, 'dependsOn': [ref for ref in entry.get('dependsOn', []) if ref in references]}
        for entry in bill['dependencies']
        if entry['ref'] in references | {root}
    ]
    return {**bill, 'components': components, 'dependencies': dependencies}


def _is_used(component: dict[str, Any]) -> bool:
    """Whether a package belongs to this environment."""
    markers = [item['value'] for item in component.get('properties', []) if item['name'] == _MARKER]
    return all(Marker(marker).evaluate() for marker in markers)


def _licences(metadata: Any) -> list[dict[str, Any]]:
    if expression := metadata.get('License-Expression'):
        return [{'expression': expression}]
    classifiers = metadata.get_all('Classifier') or []
    names = [text.split(' :: ')[-1] for text in classifiers if text.startswith('License :: ')]
    if not names and (text := (metadata.get('License') or '').strip()):
        names = [text.splitlines()[0]]
    return [{'license': {'name': name}} for name in names]


def _summary(bill: dict[str, Any]) -> str:
    components = bill['components']
    development = sum(component['scope'] == 'excluded' for component in components)
    unlicensed = [component['name'] for component in components if not component['licenses']]
    line = f'{len(components)} components, {development} of them for development only'
    return line + (f'; no licence in the metadata of {", ".join(unlicensed)}' if unlicensed else '')


if __name__ == '__main__':
    sys.exit(main())
