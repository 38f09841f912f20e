"""Fills `.venv` from the lock file of the chosen environment, once: a stamp inside says what it was
built from.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from scripts.environment import choose, tools
from scripts.environment.choose import BootstrapError, Choice, Environment, FetchFailed
from scripts.environment.pip_settings import pip_environment, uv_environment

_FORMAT = (
    1  # raise it when environments built by an older version of this script must be built anew
)


def say(message: str) -> None:
    """A message on standard error: standard output belongs to the command that follows."""
    sys.stderr.write(f'bootstrap: {message}\n')
    sys.stderr.flush()


class Project:
    """Where things lie in a working copy."""

    def __init__(self, root: Path):
        self.root = root
        self.requirements = root / 'requirements'
        self.venv = root / '.venv'
        self.python = self.venv / 'bin' / 'python'
        self.stamp = self.venv / 'bootstrap.json'
        self.tools = root / '.tools'
        # A web page's elements out of a Python package: beside the packages and not among them,
        # since nothing imports it and what it asks for (a whole Jupyter) is of no use here.
        self.facets_lock = self.requirements / 'facets.txt'
        self.facets = self.venv / 'share' / 'cxr-triage' / 'facets'

    def digest(self, environment: Environment) -> str:
        """Changes whenever the environment has to be brought up to date."""
        digest = hashlib.sha256(f'{_FORMAT} {environment.name} {self.root}'.encode())
        for path in (
            environment.lock,
            self.requirements / 'build.txt',
            self.root / 'setup.py',
            self.root / 'pyproject.toml',
        ):
            digest.update(path.read_bytes())
        if self.facets_lock.exists():
            digest.update(self.facets_lock.read_bytes())
        return digest.hexdigest()

    def read_stamp(self) -> dict[str, str]:
        """What .venv was built from; empty if it is absent, half-built, or its Python is gone."""
        try:
            stamp = json.loads(self.stamp.read_text(encoding='utf-8'))
        except (OSError, ValueError):
            return {}
        return stamp if isinstance(stamp, dict) and self.python.exists() else {}


def up_to_date(
    project: Project, available: list[Environment], env: Mapping[str, str]
) -> str | None:
    """One line on the environment if nothing has to be done, else None. Without CXR_ENV and PYTHON
    the earlier choice stands.
    """
    stamp = project.read_stamp()
    environment = next((item for item in available if item.name == stamp.get('environment')), None)
    if environment is None or env.get('CXR_ENV', environment.name) not in ('', environment.name):
        return None
    if stamp.get('digest') != project.digest(environment):
        return None
    if env.get('PYTHON'):
        named = choose.probe(next(choose.on_path([env['PYTHON']], env), env['PYTHON']))
        if isinstance(named, str) or os.path.realpath(named.base) != os.path.realpath(
            stamp['base']
        ):
            return None
    return f'{environment.name} (Python {stamp["python"]}) is up to date in .venv'


def bootstrap(root: Path, env: Mapping[str, str]) -> None:
    """Brings `.venv` of the working copy `root` up to date.

    Raises:
        BootstrapError: what is missing and what to do.
    """
    project = Project(root)
    available = choose.environments(project.requirements)
    line = up_to_date(project, available, env)
    if line is None:
        with _only_one(project.tools / 'bootstrap.lock'):
            line = up_to_date(project, available, env)  # another run may just have done it
            if line is None:
                line = _build(project, available, env)
    say(line)


@contextmanager
def _only_one(path: Path) -> Iterator[None]:
    """Holds the lock file; the system frees it when the process ends in whatever way."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open('w', encoding='utf-8') as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say('another bootstrap is at work in this folder; waiting for it')
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _build(project: Project, available: list[Environment], env: Mapping[str, str]) -> str:
    start = time.monotonic()
    pip_pythons = [sys.executable, *choose.on_path(['python3'], env)]

    def fetch(environment: Environment) -> str | FetchFailed:
        say(f'no Python {environment.python_name} here; asking uv for it')
        uv = tools.find_uv(project.tools, env) or tools.fetch_uv(
            project.tools, project.requirements, pip_pythons, env
        )
        if isinstance(uv, FetchFailed):
            return FetchFailed(f'there is no uv here, and {uv}')
        return tools.fetch_python(uv, environment.python_name, uv_environment(pip_pythons, env))

    choice = choose.choose(
        available, env, fetch, glibc=choose.glibc_version(), earlier=project.read_stamp()
    )
    for reason in choice.reasons:
        say(reason)
    tools.check_compilers(choice.interpreter, env)
    whole = _prepare(project, choice)
    pip_pythons.insert(0, choice.interpreter.base)
    uv = tools.find_uv(project.tools, env) or tools.fetch_uv(
        project.tools, project.requirements, pip_pythons, env
    )
    if not isinstance(uv, FetchFailed):
        _install_with_uv(project, choice, uv, uv_environment(pip_pythons, env), whole)
    else:
        say(f'no uv here, and {uv}')
        say('installing with pip, which takes minutes')
        _install_with_pip(project, choice, env)
    interpreter, environment = choice.interpreter, choice.environment
    stamp = {
        'environment': environment.name,
        'root': str(project.root),
        'python': interpreter.version_name,
        'base': interpreter.base,
        'digest': project.digest(environment),
    }
    partial = project.stamp.with_suffix('.partial')
    partial.write_text(json.dumps(stamp, indent=2), encoding='utf-8')
    partial.replace(project.stamp)
    return (
        f'{environment.name} (Python {interpreter.version_name}) is ready in .venv after '
        f'{time.monotonic() - start:.0f} s'
    )


def _prepare(project: Project, choice: Choice) -> bool:
    """Tells whether `.venv` is whole and of this interpreter, so that bringing it up to date will
    do; else removes what is in it.
    """
    stamp = project.read_stamp()
    interpreter = choice.interpreter
    whole = stamp.get('root') == str(
        project.root
    )  # a moved environment's scripts name the old place
    whole = (
        whole
        and stamp.get('base') == interpreter.base
        and stamp.get('python') == interpreter.version_name
    )
    if whole and stamp.get('environment') == choice.environment.name:
        # a run that dies from here on leaves no stamp, and the next one starts over
        project.stamp.unlink()
        return True
    if project.venv.is_dir() and any(project.venv.iterdir()):
        say(
            'replacing .venv: '
            + (
                'it is of another environment, Python or place'
                if stamp
                else 'it is unfinished or was not built by this script'
            )
        )
        project.stamp.unlink(missing_ok=True)
        for (
            child
        ) in project.venv.iterdir():  # not the folder itself, which may be a link to another disk
            if child.is_dir() and not child.is_symlink():
                shutil.rmtree(child)
            else:
                child.unlink()
    return False


def _install_with_uv(
    project: Project, choice: Choice, uv: str, env: Mapping[str, str], whole: bool
) -> None:
    if not whole:
        _run(
            [
                uv,
                'venv',
                '--quiet',
                '--allow-existing',
                '--python',
                choice.interpreter.base,
                str(project.venv),
            ],
            env,
            project.root,
            'making .venv',
        )
    count = sum(
        not line.startswith((' ', '#')) and '==' in line
        for line in choice.environment.lock.read_text(encoding='utf-8').splitlines()
    )
    what = f'installing {count} packages with uv {tools.run_quietly(uv, "--version").split(" ")[1]}'
    target = ['--quiet', '--python', str(project.python)]
    sync = [
        uv,
        'pip',
        'sync',
        *target,
        '--require-hashes',
        '--build-constraint',
        str(project.requirements / 'build.txt'),
    ]
    sync.append(str(choice.environment.lock))
    # From uv's cache alone first: quicker, and it works without a network. The hashes make it the
    # same.
    if not _run([*sync, '--offline'], env, project.root, what, may_fail=True):
        _run(sync, env, project.root, f'{what}, downloading')
    editable = [
        uv,
        'pip',
        'install',
        *target,
        '--offline',
        '--no-deps',
        '--no-build-isolation',
        '--editable',
        str(project.root),
    ]
    _run(editable, env, project.root, 'installing cxr-triage itself')
    if project.facets_lock.exists():
        facets = [
            uv,
            'pip',
            'install',
            *target,
            '--no-deps',
            '--no-build',
            '--require-hashes',
            '--target',
            str(project.facets),
        ]
        facets += ['-r', str(project.facets_lock)]
        if not _run([*facets, '--offline'], env, project.root, 'installing Facets', may_fail=True):
            _run(facets, env, project.root, 'installing Facets, downloading')


def _install_with_pip(project: Project, choice: Choice, env: Mapping[str, str]) -> None:
    env = pip_environment(env)
    _run(
        [choice.interpreter.base, '-m', 'venv', '--clear', str(project.venv)],
        env,
        project.root,
        'making .venv',
    )
    pip = [
        str(project.python),
        '-m',
        'pip',
        'install',
        '--quiet',
        '--no-input',
        '--no-compile',
        '--no-deps',
    ]
    build = str(project.requirements / 'build.txt')
    _run(
        [*pip, '--require-hashes', '-r', build],
        env,
        project.root,
        'installing the build tools with pip',
    )
    lock = ['--require-hashes', '--no-build-isolation', '-r', str(choice.environment.lock)]
    _run([*pip, *lock], env, project.root, 'installing the packages with pip')
    _run(
        [*pip, '--no-build-isolation', '--editable', str(project.root)],
        env,
        project.root,
        'installing cxr-triage itself',
    )
    if project.facets_lock.exists():
        facets = [
            '--only-binary',
            ':all:',
            '--upgrade',
            '--require-hashes',
            '--target',
            str(project.facets),
            '-r',
            str(project.facets_lock),
        ]
        _run([*pip, *facets], env, project.root, 'installing Facets')


def _run(
    command: list[str], env: Mapping[str, str], folder: Path, what: str, may_fail: bool = False
) -> bool:
    """Runs a command, with a clock and the amount written on a terminal. Returns whether it
    succeeded.

    Raises:
        BootstrapError: it failed and may not; with its last lines.
    """
    terminal = sys.stderr.isatty()
    if not terminal:
        say(what)
    start = time.monotonic()
    log = folder / '.tools' / 'bootstrap.log'
    with log.open('w', encoding='utf-8') as output:
        process = subprocess.Popen(
            command, env=dict(env), cwd=folder, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            while True:
                try:
                    code = process.wait(timeout=0.5)
                    break
                except subprocess.TimeoutExpired:
                    if terminal:
                        sys.stderr.write(
                            f'\rbootstrap: {what}: {time.monotonic() - start:.0f} '
                            f's{_written(process.pid)}\033[K'
                        )
        except BaseException:
            process.terminate()
            process.wait()
            raise
    if terminal:
        sys.stderr.write('\r\033[K')
    if may_fail and code != 0:
        return False
    if terminal:
        say(f'{what}: {time.monotonic() - start:.1f} s')
    if code != 0:
        tail = log.read_text(encoding='utf-8', errors='replace').strip().splitlines()[-25:]
        raise BootstrapError(
            '\n'.join(
                [
                    f'{what} failed (exit code {code}; all of it in {log}):',
                    *(f'  {line}' for line in tail),
                ]
            )
        )
    return True


def _written(pid: int) -> str:
    """How much the process has written so far, where the system tells."""
    try:
        fields = dict(
            line.split(': ')
            for line in Path(f'/proc/{pid}/io').read_text(encoding='ascii').splitlines()
        )
        return f', {int(fields["wchar"]) / 1e6:,.0f} MB written'
    except (OSError, KeyError, ValueError):
        return ''
