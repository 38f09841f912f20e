"""What the bill of materials takes from the lock files, and that it stands up to an environment
that is not the lock's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from scripts.environment import sbom
from scripts.environment.choose import BootstrapError, environments

REQUIREMENTS = Path(__file__).resolve().parents[2] / 'requirements'
ENVIRONMENTS = [environment.name for environment in environments(REQUIREMENTS)]
DEVELOPMENT = {'pytest', 'pytest-xdist', 'hypothesis', 'ruff', 'mypy', 'types-pyyaml', 'build'}
LOCK = """Big_Tool==1.0 \\
    --hash=sha256:{a} \\
    --hash=sha256:{b}
    # via -r some.in
helper[extra]==2.0 ; sys_platform == 'linux' \\
    --hash=sha256:{b}
    # via big-tool
checker==3.0 \\
    --hash=sha256:{c}
    # via -r common/development.in
of-checker==4.0 \\
    --hash=sha256:{c}
    # via checker
""".format(a='a' * 64, b='b' * 64, c='c' * 64)


def _component(name: str, version: str) -> dict[str, Any]:
    return {
        'bom-ref': f'{name}=={version}',
        'name': name,
        'version': version,
        'purl': f'pkg:pypi/{name}@{version}',
        'type': 'library',
    }


def _bill(*components: tuple[str, str]) -> dict[str, Any]:
    return {
        'metadata': {},
        'components': [_component(*item) for item in (('cxr-triage', '0.1.0'), *components)],
        'dependencies': [],
    }


INSTALLED = (('big.tool', '1.0'), ('helper', '2.0'), ('checker', '3.0'), ('of-checker', '4.0'))


@pytest.mark.parametrize('name', ENVIRONMENTS)
def test_every_locked_package_has_hashes_and_somebody_who_asks_for_it(name: str) -> None:
    lock = sbom.locked((REQUIREMENTS / f'{name}.txt').read_text())
    assert len(lock) > 200
    assert all(package.hashes and package.by for package in lock.values())


@pytest.mark.parametrize('name', ENVIRONMENTS)
def test_what_runs_and_what_only_develops_are_told_apart(name: str) -> None:
    lock = sbom.locked((REQUIREMENTS / f'{name}.txt').read_text())
    needed = sbom.needed_to_run(lock)
    assert {'tfx', 'tensorflow', 'apache-beam', 'tf-keras', 'protobuf', 'jinja2'} <= needed
    assert set(lock) >= DEVELOPMENT
    assert not needed & DEVELOPMENT


def test_names_are_compared_as_pypi_compares_them() -> None:
    assert list(sbom.locked(LOCK)) == ['big-tool', 'helper', 'checker', 'of-checker']
    assert sbom.locked(LOCK)['big-tool'] == sbom.Locked(
        '1.0', ('a' * 64, 'b' * 64), ('-r some.in',)
    )


def test_a_complete_bill() -> None:
    bill = sbom.complete(_bill(*INSTALLED), sbom.locked(LOCK))
    assert bill['metadata']['component']['name'] == 'cxr-triage'
    assert {component['name']: component['scope'] for component in bill['components']} == {
        'big.tool': 'required',
        'helper': 'required',
        'checker': 'excluded',
        'of-checker': 'excluded',
    }
    (admitted,) = bill['components'][0]['externalReferences']
    assert [item['content'] for item in admitted['hashes']] == ['a' * 64, 'b' * 64]
    assert {item['ref']: item.get('dependsOn', []) for item in bill['dependencies']} == {
        'cxr-triage==0.1.0': ['big.tool==1.0', 'checker==3.0'],
        'big.tool==1.0': ['helper==2.0'],
        'helper==2.0': [],
        'checker==3.0': ['of-checker==4.0'],
        'of-checker==4.0': [],
    }


def test_what_lies_beside_the_packages_is_in_the_bill_too() -> None:
    lock = sbom.locked((REQUIREMENTS / 'facets.txt').read_text())
    bill = sbom.with_facets(sbom.complete(_bill(*INSTALLED), sbom.locked(LOCK)), lock)
    (added,) = (component for component in bill['components'] if component['name'] == 'witwidget')
    assert added['licenses'] and added['externalReferences'][0]['hashes']
    needs = {item['ref']: item.get('dependsOn', []) for item in bill['dependencies']}
    assert added['bom-ref'] in needs['cxr-triage==0.1.0']
    assert needs[added['bom-ref']] == []


@pytest.mark.parametrize(
    'strange', [('stray', '1.0'), ('helper', '2.1')], ids=['another package', 'another version']
)
def test_an_environment_that_is_not_the_lock_s_is_refused(strange: tuple[str, str]) -> None:
    with pytest.raises(BootstrapError, match=f'{strange[0]} {strange[1]}.*make environment'):
        sbom.complete(_bill(('big.tool', '1.0'), strange), sbom.locked(LOCK))


@pytest.mark.slow
def test_the_bill_of_this_environment(tmp_path: Path) -> None:
    """Written by the tool for what is installed here, and valid by CycloneDX's own schema, which
    `write` holds it to.
    """
    path = sbom.write(REQUIREMENTS.parent, tmp_path)
    assert path.name.startswith('cxr-triage-') and path.name.endswith('.cdx.json')
    assert '"bomFormat": "CycloneDX"' in path.read_text()
