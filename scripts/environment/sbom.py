"""Writes the bill of materials (CycloneDX 1.6, JSON) of the environment in .venv: `python -m
scripts.environment.sbom`, or `make sbom`.

cyclonedx-bom reads what is installed: names, versions, licences. From the lock file come the hashes
that it admits, who needs whom, and with that which packages serve development only. (Of the
metadata alone, optional requirements that nobody asked for look like needs.) The tool lives in an
environment of its own, `.tools/sbom`, so that it does not list itself.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.environment.choose import BootstrapError
from scripts.environment.install import Project, say
from scripts.environment.tool_environment import binaries, run

_SPECIFICATION = '1.6'
_PROJECT = 'cxr-triage'
_REFERENCES = ('vcs', 'website', 'license')  # and not where to chat or donate
_VALIDATE = """
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
error = JsonStrictValidator(SchemaVersion.from_version(sys.argv[1])).validate_str(sys.stdin.read())
sys.exit(str(error) if error else 0)
"""


def write(root: Path, folder: Path) -> Path:
    """Writes the bill of materials of the environment in `.venv` of the working copy `root` into
    `folder`; returns the file.

    Raises:
        BootstrapError: there is no environment, the tool cannot be had, or what it wrote breaks
        CycloneDX's schema.
    """
    project = Project(root)
    name = project.read_stamp().get('environment')
    if name is None:
        raise BootstrapError('there is no environment in .venv: make one with `make environment`')
    tool = binaries(project, 'sbom')
    command = [
        str(tool / 'cyclonedx-py'),
        'environment',
        '--output-reproducible',
        '--sv',
        _SPECIFICATION,
        '--of',
        'JSON',
        '--no-validate',
    ]
    listed = run([*command, str(project.python)], 'cyclonedx-py')
    bill = complete(
        json.loads(listed),
        locked((project.requirements / f'{name}.txt').read_text(encoding='utf-8')),
    )
    bill = with_facets(bill, locked(project.facets_lock.read_text(encoding='utf-8')))
    text = json.dumps(bill, indent=1, ensure_ascii=False) + '\n'
    run([str(tool / 'python'), '-c', _VALIDATE, _SPECIFICATION], 'the bill of materials', text)
    path = folder / f'{_PROJECT}-{bill["metadata"]["component"]["version"]}-{name}.cdx.json'
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding='utf-8')
    return path


@dataclass(frozen=True)
class Locked:
    """A package of a lock file: its version, the SHA-256 of each file that is admitted, and who
    asks for it.

    `by` holds names of packages and, for what the project itself asks for, `-r FILE`.
    """

    version: str
    hashes: tuple[str, ...]
    by: tuple[str, ...]


def locked(text: str) -> dict[str, Locked]:
    """The packages of the text of a lock file, by name."""
    found = {}
    for entry in re.split(r'\n(?=\S)', text):
        head = re.match(r'([\w.-]+)(?:\[[^]]*\])?==([^\s;]+)', entry)
        if head:
            via = re.search(r'# via (.*)', entry)
            by = via.group(1).split(', ') if via else []
            found[normal(head.group(1))] = Locked(
                head.group(2), tuple(re.findall(r'--hash=sha256:([0-9a-f]{64})', entry)), tuple(by)
            )
    return found


def complete(bill: dict[str, Any], lock: Mapping[str, Locked]) -> dict[str, Any]:
    """The bill with the project as its subject, the lock's hashes and graph, and scope `excluded`
    on what only development needs.

    Raises:
        BootstrapError: the environment holds something that the lock does not.
    """
    (subject,) = (component for component in bill['components'] if component['name'] == _PROJECT)
    components = {
        normal(component['name']): component
        for component in bill['components']
        if component is not subject
    }
    strange = [
        f'{item["name"]} {item["version"]}'
        for name, item in components.items()
        if name not in lock or lock[name].version != item['version']
    ]
    if strange:
        raise BootstrapError(
            f'.venv holds what the lock does not: {", ".join(strange)}. Remove .venv and run '
            '`make environment`'
        )
    needed = needed_to_run(lock)
    edges: dict[str, list[str]] = {
        component['bom-ref']: [] for component in (subject, *components.values())
    }
    for name, component in components.items():
        component['scope'] = 'required' if name in needed else 'excluded'
        kept = [
            item for item in component.get('externalReferences', []) if item['type'] in _REFERENCES
        ]
        component['externalReferences'] = [*kept, _admitted(component['purl'], lock[name])]
        for by in lock[name].by:
            user = subject if by.startswith('-r ') else components.get(normal(by))
            if user is not None:
                edges[user['bom-ref']].append(component['bom-ref'])
    return {
        **bill,
        'metadata': {**bill['metadata'], 'component': {**subject, 'type': 'application'}},
        'components': list(components.values()),
        'dependencies': [
            {'ref': ref, 'dependsOn': sorted(set(on))} if on else {'ref': ref}
            for ref, on in edges.items()
        ],
    }


def with_facets(bill: dict[str, Any], lock: Mapping[str, Locked]) -> dict[str, Any]:
    """The bill with what lies beside the packages of the environment, where no list of packages has
    it.
    """
    subject = bill['metadata']['component']['bom-ref']
    added = []
    for name, package in lock.items():
        purl = f'pkg:pypi/{name}@{package.version}'
        component = {
            'type': 'library',
            'bom-ref': f'{name}=={package.version}',
            'name': name,
            'version': package.version,
            'purl': purl,
        }
        licences = [{'license': {'id': 'Apache-2.0'}}]
        added.append(
            {
                **component,
                'scope': 'required',
                'licenses': licences,
                'externalReferences': [_admitted(purl, package)],
            }
        )
    refs = [component['bom-ref'] for component in added]
    edges = [
        {**edge, 'dependsOn': sorted([*edge.get('dependsOn', []), *refs])}
        if edge['ref'] == subject
        else edge
        for edge in bill['dependencies']
    ]
    return {
        **bill,
        'components': [*bill['components'], *added],
        'dependencies': [*edges, *({'ref': ref} for ref in refs)],
    }


def _admitted(purl: str, package: Locked) -> dict[str, Any]:
    hashes = [{'alg': 'SHA-256', 'content': content} for content in package.hashes]
    return {
        'type': 'distribution',
        'url': purl,
        'comment': 'each file that the lock admits',
        'hashes': hashes,
    }


def needed_to_run(lock: Mapping[str, Locked]) -> set[str]:
    """The packages that the project asks for outside common/development.in, and what these need."""
    found: set[str] = set()
    todo = [
        name
        for name, package in lock.items()
        if any(by.startswith('-r ') and 'development' not in by for by in package.by)
    ]
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            todo += [other for other, package in lock.items() if name in map(normal, package.by)]
    return found


def normal(name: str) -> str:
    """The form in which two spellings of a package's name are the same (PEP 503)."""
    return re.sub(r'[-_.]+', '-', name).lower()


def _summary(path: Path) -> str:
    components = json.loads(path.read_text(encoding='utf-8'))['components']
    development = sum(component['scope'] == 'excluded' for component in components)
    unlicensed = sorted(
        component['name'] for component in components if not component.get('licenses')
    )
    line = f'{path}: {len(components)} components, {development} of them for development only'
    return line + (f'; no licence in the metadata of {", ".join(unlicensed)}' if unlicensed else '')


if __name__ == '__main__':
    here = Path(__file__).resolve().parents[2]
    try:
        say(_summary(write(here, here / 'dist' / 'sbom')))
    except BootstrapError as problem:
        say(str(problem))
        sys.exit(1)
