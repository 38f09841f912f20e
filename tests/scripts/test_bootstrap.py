"""The bootstrap's choice of environment and Python, what it hands on to uv, and what it says when
something is missing.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from scripts.environment import choose, install, pip_settings, tools

ROOT = Path(__file__).resolve().parents[2]
CURRENT = choose.Environment('current', (3, 11), (2, 39), Path('current.txt'))
COMPATIBLE = choose.Environment('compatible', (3, 10), (2, 28), Path('compatible.txt'))
BOTH = [CURRENT, COMPATIBLE]
FAILS = '#!/bin/sh\necho "pyenv: python3.10: command not found" >&2\nexit 127\n'


def interpreter(
    path: Path, version: str, implementation: str = 'CPython', machine: str = 'x86_64'
) -> Path:
    """A program that answers like a Python of that version."""
    numbers = version.replace('.', ', ')
    answer = (
        f'{{"version": [{numbers}], "base": "{path}", "implementation": "{implementation}", '
        f'"machine": "{machine}"'
    )
    return program(
        path, f'#!/bin/sh\necho \'{answer}, "include": "/nowhere", "compilers": ["cc", "c++"]}}\'\n'
    )


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def environment_of(tmp_path: Path, *folders: str, **variables: str) -> dict[str, str]:
    """A process environment that sees nothing but `tmp_path`."""
    path = os.pathsep.join(str(tmp_path / folder) for folder in folders)
    return {'HOME': str(tmp_path / 'home'), 'PATH': path, **variables}


def no_fetch(environment: choose.Environment) -> choose.FetchFailed:
    return choose.FetchFailed(f'no network for {environment.python_name}')


def choose_on(
    glibc: tuple[int, ...] | None, env: dict[str, str], available=BOTH, fetch=no_fetch, **more
) -> choose.Choice:
    return choose.choose(
        available,
        env,
        fetch,
        glibc=glibc,
        system=more.pop('system', 'linux'),
        machine=more.pop('machine', 'x86_64'),
        **more,
    )


@pytest.mark.parametrize(
    ('glibc', 'pythons', 'expected'),
    [
        pytest.param(
            (2, 41), ['3.11.7', '3.10.13'], ('current', '3.11.7'), id='new system takes the newest'
        ),
        pytest.param(
            (2, 36),
            ['3.11.7', '3.10.13'],
            ('compatible', '3.10.13'),
            id='glibc too old for the newest',
        ),
        pytest.param(
            (2, 41), ['3.10.13'], ('compatible', '3.10.13'), id='no Python for the newest'
        ),
        pytest.param((2, 39), ['3.11.0'], ('current', '3.11.0'), id='glibc just new enough'),
    ],
)
def test_takes_the_newest_environment_that_is_possible(tmp_path, glibc, pythons, expected):
    for version in pythons:
        interpreter(tmp_path / 'bin' / f'python{version.rpartition(".")[0]}', version)
    choice = choose_on(glibc, environment_of(tmp_path, 'bin'))
    assert (choice.environment.name, choice.interpreter.version_name) == expected
    if expected[0] == 'compatible':
        assert any(reason.startswith('current: ') for reason in choice.reasons), (
            'says why the newer one was passed over'
        )


def test_shim_that_fails_is_passed_over_for_a_pyenv_version(tmp_path):
    program(tmp_path / 'root/shims/python3.10', FAILS)
    interpreter(tmp_path / 'root/versions/3.10.9/bin/python3.10', '3.10.9')
    newest = interpreter(tmp_path / 'root/versions/3.10.13/bin/python3.10', '3.10.13')
    choice = choose_on((2, 36), environment_of(tmp_path, 'root/shims'), [COMPATIBLE])
    assert choice.interpreter.base == str(newest)


@pytest.mark.parametrize(
    ('where', 'variables'),
    [
        pytest.param('home/.pyenv/versions/3.10.13', {}, id='pyenv under home'),
        pytest.param('elsewhere/versions/3.10.13', {'PYENV_ROOT': 'elsewhere'}, id='PYENV_ROOT'),
        pytest.param(
            'home/.local/share/uv/python/cpython-3.10.13-linux-x86_64-gnu',
            {},
            id='fetched by uv earlier',
        ),
        pytest.param(
            'pythons/cpython-3.10.13-linux-x86_64-gnu',
            {'UV_PYTHON_INSTALL_DIR': 'pythons'},
            id='UV_PYTHON_INSTALL_DIR',
        ),
    ],
)
def test_finds_a_python_that_is_not_on_path(tmp_path, where, variables):
    path = interpreter(tmp_path / where / 'bin/python3.10', '3.10.13')
    env = environment_of(
        tmp_path, **{name: str(tmp_path / folder) for name, folder in variables.items()}
    )
    assert choose_on((2, 36), env, [COMPATIBLE]).interpreter.base == str(path)


def test_second_match_on_path_serves_when_the_first_does_not_run(tmp_path):
    program(tmp_path / 'first/python3.10', FAILS)
    second = interpreter(tmp_path / 'second/python3', '3.10.4')
    assert choose_on(
        (2, 36), environment_of(tmp_path, 'first', 'second'), [COMPATIBLE]
    ).interpreter.base == str(second)


def test_uv_is_asked_only_when_there_is_no_python(tmp_path):
    fetched = interpreter(tmp_path / 'fetched/python3.10', '3.10.22')
    asked = []

    def fetch(environment):
        asked.append(environment.name)
        return str(fetched)

    assert choose_on((2, 36), environment_of(tmp_path), fetch=fetch).interpreter.base == str(
        fetched
    )
    interpreter(tmp_path / 'bin/python3.10', '3.10.13')
    assert (
        choose_on((2, 36), environment_of(tmp_path, 'bin'), fetch=fetch).interpreter.version_name
        == '3.10.13'
    )
    assert asked == ['compatible']


def test_earlier_choice_stands_until_a_variable_says_otherwise(tmp_path):
    for version in ('3.10.13', '3.11.7'):
        interpreter(tmp_path / 'bin' / f'python{version[:4]}', version)
    other = interpreter(tmp_path / 'opt/python3.10', '3.10.4')
    earlier = {'environment': 'compatible', 'base': str(other)}
    env = environment_of(tmp_path, 'bin')
    assert choose_on((2, 41), env, earlier=earlier).interpreter.base == str(other)
    assert (
        choose_on((2, 41), {**env, 'CXR_ENV': 'current'}, earlier=earlier).environment.name
        == 'current'
    )
    other.unlink()
    assert choose_on((2, 41), env, earlier=earlier).interpreter.version_name == '3.10.13'


@pytest.mark.parametrize(
    ('variables', 'glibc', 'system', 'machine', 'words'),
    [
        pytest.param(
            {'CXR_ENV': 'newest'},
            (2, 41),
            'linux',
            'x86_64',
            ['CXR_ENV=newest', 'current, compatible'],
            id='unknown environment',
        ),
        pytest.param(
            {'CXR_ENV': 'current'},
            (2, 36),
            'linux',
            'x86_64',
            ['current', 'glibc 2.39', '2.36'],
            id='glibc too old',
        ),
        pytest.param(
            {},
            (2, 17),
            'linux',
            'x86_64',
            ['current', 'compatible', 'glibc 2.28'],
            id='glibc too old for all',
        ),
        pytest.param({}, None, 'linux', 'x86_64', ['another C library'], id='musl'),
        pytest.param({}, None, 'darwin', 'arm64', ['darwin', 'arm64', 'container'], id='not Linux'),
        pytest.param({}, (2, 41), 'linux', 'aarch64', ['aarch64', 'x86_64'], id='not x86_64'),
        pytest.param(
            {'PYTHON': 'bin/python3.12'},
            (2, 41),
            'linux',
            'x86_64',
            ['is Python 3.12.1', 'current needs Python 3.11'],
            id='version',
        ),
        pytest.param(
            {'PYTHON': 'bin/absent'},
            (2, 41),
            'linux',
            'x86_64',
            ['absent', 'does not run'],
            id='absent interpreter',
        ),
        pytest.param({'PYTHON': 'bin/pypy'}, (2, 41), 'linux', 'x86_64', ['is PyPy'], id='PyPy'),
        pytest.param(
            {'PYTHON': 'bin/python3.11', 'CXR_ENV': 'compatible'},
            (2, 41),
            'linux',
            'x86_64',
            ['compatible needs Python 3.10'],
            id='both',
        ),
        pytest.param(
            {'PYTHON': 'bin/python3.11'},
            (2, 36),
            'linux',
            'x86_64',
            ['compatible needs', 'current: its wheels'],
            id='version for glibc',
        ),
        pytest.param(
            {},
            (2, 36),
            'linux',
            'x86_64',
            ['no network for 3.10', 'pyenv install 3.10', 'is 3.12.1', 'PYTHON='],
            id='no Python',
        ),
    ],
)
def test_impossible_choice_is_refused_with_the_reason(
    tmp_path, variables, glibc, system, machine, words
):
    interpreter(tmp_path / 'bin/python3.12', '3.12.1')
    interpreter(tmp_path / 'bin/python3', '3.12.1')
    interpreter(tmp_path / 'bin/pypy', '3.10.14', implementation='PyPy')
    if variables:
        interpreter(tmp_path / 'bin/python3.11', '3.11.7')
    if 'PYTHON' in variables:
        variables = {**variables, 'PYTHON': str(tmp_path / variables['PYTHON'])}
    with pytest.raises(choose.BootstrapError) as refused:
        choose_on(
            glibc, environment_of(tmp_path, 'bin', **variables), system=system, machine=machine
        )
    assert [word for word in words if word not in str(refused.value)] == []


def test_probe_of_a_real_interpreter_names_the_base_not_the_virtual_environment():
    found = choose.probe(sys.executable)
    assert isinstance(found, choose.Interpreter)
    assert found.version == sys.version_info[:3]
    assert Path(found.base).resolve() == Path(sys._base_executable).resolve()


def test_environments_are_those_with_a_python_line_and_need_a_lock(tmp_path):
    for name, text in {
        'old': '# python: 3.10\n# glibc: 2.28\n',
        'new': '# python: 3.11\n# glibc: 2.39\n',
        'uv': 'uv==1.0\n',
    }.items():
        (tmp_path / f'{name}.in').write_text(text)
        (tmp_path / f'{name}.txt').write_text('')
    assert [(found.name, found.python, found.glibc) for found in choose.environments(tmp_path)] == [
        ('new', (3, 11), (2, 39)),
        ('old', (3, 10), (2, 28)),
    ]
    (tmp_path / 'new.txt').unlink()
    with pytest.raises(choose.BootstrapError, match=r'new\.txt.*make lock'):
        choose.environments(tmp_path)


def test_every_lock_is_pinned_hashed_and_names_no_index():
    locks = sorted((ROOT / 'requirements').glob('*.txt'))
    assert {lock.stem for lock in locks} >= {
        'build',
        'compatible',
        'current',
        'manifests',
        'sbom',
        'uv',
    }
    for lock in locks:
        text = lock.read_text()
        assert '://' not in text
        for entry in text.replace('\\\n', ' ').splitlines():
            if entry and not entry.lstrip().startswith('#'):
                assert '==' in entry.split()[0] and '--hash=sha256:' in entry, (
                    f'{lock.name}: {entry[:60]}'
                )


LISTING = """:env:.find-links='{folder} /does/not/exist'
:env:.default-timeout='180'
global.index-url='https://all.example/simple'
global.cert='/etc/ca.pem'
install.index-url='https://install.example/simple'
global.extra-index-url='https://a.example/simple\\nhttps://b.example/simple'
WARNING: something else
"""


def test_pip_settings_reach_uv(tmp_path):
    variables = pip_settings.uv_variables(
        pip_settings.pip_options(LISTING.format(folder=tmp_path)), {}
    )
    assert variables == {
        'UV_DEFAULT_INDEX': 'https://install.example/simple',
        'UV_INDEX': 'https://a.example/simple https://b.example/simple',
        'UV_INDEX_STRATEGY': 'unsafe-best-match',
        'UV_FIND_LINKS': str(tmp_path),
        'SSL_CERT_FILE': '/etc/ca.pem',
        'UV_HTTP_TIMEOUT': '180',
    }


@pytest.mark.parametrize('name', ['UV_DEFAULT_INDEX', 'UV_INDEX_URL'])
def test_what_is_set_for_uv_stands(name):
    variables = pip_settings.uv_variables(
        {'index-url': 'https://pip.example', 'cert': '/ca.pem'}, {name: 'https://uv.example'}
    )
    assert variables == {'SSL_CERT_FILE': '/ca.pem'}


def test_uv_that_fails_or_is_too_old_is_passed_over(tmp_path):
    program(tmp_path / 'shims/uv', FAILS)
    program(tmp_path / 'old/uv', '#!/bin/sh\necho uv 0.4.30\n')
    env = environment_of(tmp_path, 'shims', 'old')
    assert tools.find_uv(tmp_path / 'tools', env) is None
    pinned = program(tmp_path / 'tools/uv-0.13.8/bin/uv', '#!/bin/sh\necho "uv 0.13.8 (build)"\n')
    assert tools.find_uv(tmp_path / 'tools', env) == str(pinned)
    newer = program(tmp_path / 'new/uv', '#!/bin/sh\necho uv 0.14.0\n')
    env = environment_of(tmp_path, 'shims', 'old', 'new')
    assert tools.find_uv(tmp_path / 'tools', env) == str(newer)
    assert tools.find_uv(tmp_path / 'tools', env, exact='0.13.8') == str(pinned), (
        'locks are written with the pinned one'
    )


@pytest.fixture
def pinned(tmp_path) -> dict[str, str]:
    """An environment in which pip finds a stand-in for the pinned uv, which requirements/uv.txt
    pins by its hash.
    """
    wheel = tmp_path / 'wheels/uv-9.9.9-py3-none-any.whl'
    wheel.parent.mkdir()
    with zipfile.ZipFile(wheel, 'w') as file:
        script = zipfile.ZipInfo('uv-9.9.9.data/scripts/uv')
        script.external_attr = 0o100755 << 16
        file.writestr(script, '#!/bin/sh\necho uv 9.9.9\n')
        file.writestr(
            'uv-9.9.9.dist-info/METADATA', 'Metadata-Version: 2.1\nName: uv\nVersion: 9.9.9\n'
        )
        file.writestr(
            'uv-9.9.9.dist-info/WHEEL',
            'Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n',
        )
        file.writestr('uv-9.9.9.dist-info/RECORD', '')
    (tmp_path / 'requirements').mkdir()
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    (tmp_path / 'requirements/uv.txt').write_text(f'uv==9.9.9 --hash=sha256:{digest}\n')
    kept = {name: value for name, value in os.environ.items() if not name.startswith('PIP_')}
    return {
        **kept,
        'PIP_NO_INDEX': '1',
        'PIP_FIND_LINKS': str(wheel.parent),
        'PIP_CONFIG_FILE': os.devnull,
    }


def python_with_pip() -> str:
    base = f'{sys.base_prefix}/bin/python{sys.version_info.major}.{sys.version_info.minor}'
    if not choose.run_quietly(base, '-m', 'pip', '--version'):
        pytest.skip(f'{base} has no pip')
    return base


@pytest.mark.parametrize(
    'variables',
    [
        {'PIP_USER': '1'},
        {
            'PIP_REQUIRE_VIRTUALENV': '1',
            'PIP_DRY_RUN': '1',
            'PIP_PREFIX': '/nowhere',
            'PIP_TARGET': '/nowhere',
            'PIP_NO_BINARY': ':all:',
        },
        {'PIP_CONFIG_FILE': 'pip.conf'},
    ],
    ids=' '.join,
)
def test_settings_of_pip_do_not_keep_it_from_fetching_uv(tmp_path, pinned, variables):
    (tmp_path / 'pip.conf').write_text('[global]\nuser = true\nrequire-virtualenv = true\n')
    if 'PIP_CONFIG_FILE' in variables:
        variables = {'PIP_CONFIG_FILE': str(tmp_path / 'pip.conf')}
    uv = tools.fetch_uv(
        tmp_path / 'tools', tmp_path / 'requirements', [python_with_pip()], {**pinned, **variables}
    )
    assert not isinstance(uv, choose.FetchFailed), uv
    assert choose.run_quietly(uv, '--version') == 'uv 9.9.9'


def test_what_pip_says_is_shown_where_it_fails(tmp_path, pinned):
    python = python_with_pip()
    fetched = tools.fetch_uv(
        tmp_path / 'tools', tmp_path / 'requirements', [python], {**pinned, 'PIP_FIND_LINKS': ''}
    )
    assert isinstance(fetched, choose.FetchFailed)
    assert fetched.startswith(f'pip of {python} could not fetch it:\n')
    assert 'No matching distribution found for uv==9.9.9' in fetched
    none = tools.fetch_uv(tmp_path / 'tools', tmp_path / 'requirements', [], pinned)
    assert none == 'there is no pip here that could fetch it'


@pytest.mark.parametrize(
    ('include', 'variables', 'words'),
    [
        pytest.param(
            True,
            {'CXX': 'no-such-compiler'},
            ['C++ compiler', 'no-such-compiler', 'gcc-c++'],
            id='no C++',
        ),
        pytest.param(True, {'CC': 'false'}, ['a C compiler', 'false'], id='C compiler that fails'),
        pytest.param(False, {}, ['Python.h', 'python3.10-dev'], id='no headers'),
    ],
)
def test_missing_compiler_or_header_is_named_with_its_package(tmp_path, include, variables, words):
    if include:
        (tmp_path / 'Python.h').touch()
    found = choose.Interpreter('python3.10', 'python3.10', (3, 10, 1), str(tmp_path), ('cc', 'c++'))
    with pytest.raises(choose.BootstrapError) as refused:
        tools.check_compilers(found, {**os.environ, **variables})
    assert [word for word in words if word not in str(refused.value)] == []


@pytest.fixture
def project(tmp_path) -> install.Project:
    """A working copy with an environment that is up to date."""
    for name in ('setup.py', 'pyproject.toml'):
        (tmp_path / name).touch()
    (tmp_path / 'requirements').mkdir()
    for name, text in {
        'compatible.in': '# python: 3.10\n',
        'compatible.txt': 'a==1\n',
        'build.txt': '',
    }.items():
        (tmp_path / 'requirements' / name).write_text(text)
    made = install.Project(tmp_path)
    base = interpreter(tmp_path / 'opt/python3.10', '3.10.13')
    interpreter(made.python, '3.10.13')
    digest = made.digest(choose.environments(made.requirements)[0])
    made.stamp.write_text(
        f'{{"environment": "compatible", "python": "3.10.13", "base": "{base}", "digest": '
        f'"{digest}"}}'
    )
    return made


def state(project: install.Project, **variables: str) -> str | None:
    return install.up_to_date(
        project, choose.environments(project.requirements), {'PATH': '', **variables}
    )


def test_nothing_is_done_while_nothing_changed(project):
    assert state(project) is not None
    assert (
        state(project, CXR_ENV='compatible', PYTHON=str(project.root / 'opt/python3.10'))
        is not None
    )


@pytest.mark.parametrize(
    'change',
    [
        pytest.param(
            lambda project: (project.requirements / 'compatible.txt').write_text('a==2\n'),
            id='lock',
        ),
        pytest.param(
            lambda project: (project.root / 'setup.py').write_text('# entry points'), id='setup.py'
        ),
        pytest.param(lambda project: project.stamp.unlink(), id='interrupted'),
        pytest.param(lambda project: project.stamp.write_text('{"envi'), id='stamp cut short'),
        pytest.param(lambda project: project.python.unlink(), id='Python gone'),
        pytest.param(lambda project: shutil.rmtree(project.venv), id='environment gone'),
    ],
)
def test_every_change_is_noticed(project, change):
    change(project)
    assert state(project) is None


def test_another_interpreter_is_noticed(project):
    assert (
        state(project, PYTHON=str(interpreter(project.root / 'other/python3.10', '3.10.2'))) is None
    )
    assert state(project, CXR_ENV='current') is None


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
        done = subprocess.run(
            [str(copy / 'scripts/bootstrap')], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stderr

    assert 'is ready in .venv' in bootstrap()
    assert 'up to date' in bootstrap()
    binaries = copy / '.venv/bin'
    assert (binaries / 'cxr-triage').is_file()
    check = (
        'import pkg_resources, farmhash, pyarrow, schemas.labels; print(schemas.labels.__file__)'
    )
    done = subprocess.run(
        [str(binaries / 'python'), '-c', check],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == str(copy / 'schemas/labels.py'), (
        'installed from this copy, editable'
    )
    versions = (
        'import importlib.metadata as m; print(*(d.name.lower() + "==" + d.version for d in '
        'm.distributions()))'
    )
    done = subprocess.run(
        [str(binaries / 'python'), '-c', versions],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    name = json.loads((copy / '.venv/bootstrap.json').read_text())['environment']
    locked = re.findall(
        r'^([\w.-]+)(?:\[.*\])?==(\S+)',
        (copy / f'requirements/{name}.txt').read_text(),
        re.MULTILINE,
    )
    installed = {entry.replace('_', '-').replace('.', '-') for entry in done.stdout.split()}
    pinned = {f'{name}=={version}'.replace('_', '-').replace('.', '-') for name, version in locked}
    assert len(pinned) > 200
    assert {entry for entry in installed if not entry.startswith('cxr-triage')} == pinned, (
        'exactly what is locked'
    )

    (copy / '.venv/bootstrap.json').unlink()
    (rich,) = copy.glob('.venv/lib/python3.*/site-packages/rich')
    shutil.rmtree(rich)
    assert 'unfinished' in bootstrap()
    subprocess.run([str(binaries / 'python'), '-c', 'import rich.progress'], check=True)


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
