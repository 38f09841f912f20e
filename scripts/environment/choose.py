"""Which environment of requirements/ and which interpreter, with the reason for each that was
passed over.
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

MACHINE = 'x86_64'  # TFX's native parts (MLMD, TFDV, tfx-bsl) have Linux wheels for this one only
_PROBE = """
import json, os, platform, sys, sysconfig
print(json.dumps({
    'version': list(sys.version_info[:3]),
    'base': getattr(sys, '_base_executable', None) or os.path.realpath(sys.executable),
    'implementation': platform.python_implementation(),
    'machine': platform.machine() if sys.maxsize > 2**32 else '32-bit',
    'include': sysconfig.get_paths()['include'],
    'compilers': [sysconfig.get_config_var('CC') or 'cc', sysconfig.get_config_var('CXX') or 'c++'],
}))
"""


class BootstrapError(Exception):
    """Nothing can be built; the message says why and what to do."""


class FetchFailed(str):
    """Why an interpreter could not be fetched."""


@dataclass(frozen=True)
class Environment:
    """One locked environment: requirements/NAME.in, whose head names its Python and the oldest
    glibc its wheels run on.
    """

    name: str
    python: tuple[int, int]
    glibc: tuple[int, int]
    lock: Path

    @property
    def python_name(self) -> str:
        return f'{self.python[0]}.{self.python[1]}'


@dataclass(frozen=True)
class Interpreter:
    """A Python that was run. `base` is the interpreter itself, also when `path` is a shim or
    belongs to a virtual environment.
    """

    path: str
    base: str
    version: tuple[int, int, int]
    include: str
    compilers: tuple[str, str]

    @property
    def version_name(self) -> str:
        return '.'.join(map(str, self.version))


@dataclass(frozen=True)
class Choice:
    """The environment and interpreter taken, and why in one line each."""

    environment: Environment
    interpreter: Interpreter
    reasons: tuple[str, ...]


def version_of(text: str) -> tuple[int, ...]:
    """The first dotted number in `text` as a tuple, (0,) if it holds none."""
    match = re.search(r'\d+(?:\.\d+)+', text)
    return tuple(map(int, match.group().split('.'))) if match else (0,)


def head(source: Path) -> dict[str, str]:
    """What the head of a requirements file says: {'python': 'X.Y', 'glibc': 'X.Y'}, empty if it is
    not an environment's.
    """
    return dict(
        re.findall(r'^# (python|glibc): (\S+)$', source.read_text(encoding='utf-8'), re.MULTILINE)
    )


def environments(requirements: Path) -> list[Environment]:
    """All environments of the folder, the one with the newest Python first.

    Raises:
        BootstrapError: an environment has no lock file.
    """
    found = []
    for source in sorted(requirements.glob('*.in')):
        said = head(source)
        if 'python' not in said:
            continue  # tools, not an environment
        lock = source.with_suffix('.txt')
        if not lock.is_file():
            raise BootstrapError(
                f'{source} has no lock file {lock.name}: write it with `make lock`'
            )
        python, glibc = version_of(said['python']), version_of(said.get('glibc', '0.0'))
        found.append(Environment(source.stem, (python[0], python[1]), (glibc[0], glibc[1]), lock))
    return sorted(found, key=lambda environment: environment.python, reverse=True)


def glibc_version() -> tuple[int, ...] | None:
    """The version of the C library here, None where it is not glibc (musl, macOS)."""
    try:
        text = os.confstr('CS_GNU_LIBC_VERSION')
    except (ValueError, OSError, AttributeError):
        return None
    return version_of(text) if text and 'glibc' in text else None


def platform_problem(
    environment: Environment, system: str, machine: str, glibc: tuple[int, ...] | None
) -> str | None:
    """Why this machine cannot hold the environment whatever Python it has, or None."""
    if system != 'linux' or machine not in (MACHINE, 'AMD64'):
        return (
            f'its wheels exist for Linux on {MACHINE} only and this is {system} on {machine}; use '
            f'a Linux {MACHINE} container or machine'
        )
    if glibc is None:
        return (
            'its wheels need glibc and this system has another C library (Alpine Linux?); use a '
            'Debian, Ubuntu or Red Hat system'
        )
    if glibc < environment.glibc:
        need = '.'.join(map(str, environment.glibc))
        return (
            f'its wheels need glibc {need} or newer and this system has {".".join(map(str, glibc))}'
        )
    return None


def probe(path: str) -> Interpreter | str:
    """Runs the interpreter. Returns what it is, or why it is of no use."""
    try:
        done = subprocess.run(
            [path, '-E', '-s', '-c', _PROBE],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        answer = json.loads(done.stdout)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f'does not run ({error})'
    except ValueError:
        first = (done.stderr.strip() or f'exit code {done.returncode}').splitlines()[0]
        return f'does not run ({first})'
    if answer['implementation'] != 'CPython':
        return f'is {answer["implementation"]}, not CPython'
    if answer['machine'] == '32-bit':
        return 'is a 32-bit Python'
    major, minor, micro = answer['version']
    return Interpreter(
        path, answer['base'], (major, minor, micro), answer['include'], tuple(answer['compilers'])
    )


def run_quietly(*command: str) -> str:
    """The command's standard output without the line end; empty if it cannot be run or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ''
    return done.stdout.strip() if done.returncode == 0 else ''


def on_path(names: Sequence[str], env: Mapping[str, str]) -> Iterator[str]:
    """Every executable file with one of the names in any folder of PATH, not just the first: that
    may be a shim that fails.
    """
    for name in names:
        for folder in env.get('PATH', os.defpath).split(os.pathsep):
            path = Path(folder or '.') / name
            if path.is_file() and os.access(path, os.X_OK):
                yield str(path)


def pyenv_roots(env: Mapping[str, str]) -> list[Path]:
    """Where pyenv keeps its versions, without repeats. `pyenv root` alone would not do: it goes by
    HOME, wherever the shims on PATH lie.
    """
    roots = [Path(env['PYENV_ROOT'])] if env.get('PYENV_ROOT') else []
    roots += [
        Path(folder).parent
        for folder in env.get('PATH', '').split(os.pathsep)
        if Path(folder).name in ('shims', 'bin')
    ]
    roots += [
        Path(root)
        for root in (run_quietly(path, 'root') for path in on_path(['pyenv'], env))
        if root
    ]
    roots += [Path(env['HOME']) / '.pyenv'] if env.get('HOME') else []
    return [root for root in dict.fromkeys(roots) if (root / 'versions').is_dir()]


def uv_python_folder(env: Mapping[str, str]) -> Path:
    """Where uv keeps the Pythons that it fetched."""
    data = env.get('XDG_DATA_HOME') or str(Path(env.get('HOME', '/')) / '.local' / 'share')
    return Path(env.get('UV_PYTHON_INSTALL_DIR') or Path(data) / 'uv' / 'python')


def candidates(version: str, env: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """(where from, path) of all interpreters that might be Python `version`, best first."""
    for path in on_path([f'python{version}', 'python3', 'python'], env):
        yield 'PATH', path
    for root in pyenv_roots(env):
        yield from _newest_first('pyenv', root / 'versions', f'{version}*', version)
    yield from _newest_first('uv', uv_python_folder(env), f'cpython-{version}*', version)


def _newest_first(
    origin: str, folder: Path, pattern: str, version: str
) -> Iterator[tuple[str, str]]:
    for home in sorted(folder.glob(pattern), key=lambda path: version_of(path.name), reverse=True):
        path = home / 'bin' / f'python{version}'
        if path.exists():
            yield origin, str(path)


def find_interpreter(
    environment: Environment, env: Mapping[str, str], earlier: str | None = None
) -> tuple[Interpreter, str] | list[str]:
    """The first interpreter of the environment's version that runs and where it was found; else
    what was looked at.

    Args:
        environment: what it is for.
        env: the process's environment.
        earlier: the interpreter of the last installation, preferred while it is there.
    """
    looked_at = []
    first = [('an earlier run', earlier)] if earlier else []
    for origin, path in [*first, *candidates(environment.python_name, env)]:
        found = probe(path)
        if isinstance(found, Interpreter) and found.version[:2] == environment.python:
            return found, origin
        looked_at.append(
            f'{path}: ' + (found if isinstance(found, str) else f'is {found.version_name}')
        )
    return looked_at


def choose(
    available: Sequence[Environment],
    env: Mapping[str, str],
    fetch: Callable[[Environment], str | FetchFailed],
    *,
    glibc: tuple[int, ...] | None,
    system: str = sys.platform,
    machine: str = platform.machine(),
    earlier: Mapping[str, str] | None = None,
) -> Choice:
    """Takes the first environment that this machine can hold and has, or can get, an interpreter
    for.

    Args:
        available: the environments, preferred first.
        env: the process's environment; CXR_ENV and PYTHON in it override the choice.
        fetch: gets an interpreter for an environment from elsewhere (uv). Asked only when none is
        found here. glibc: the version of the C library, None for another library.
        system: as sys.platform.
        machine: as platform.machine().
        earlier: the stamp of the last installation: its environment and interpreter stay unless
        `env` says otherwise.

    Raises:
        BootstrapError: no environment is possible, or the one asked for is not; with the reason and
        the way out.
    """
    wanted, named = env.get('CXR_ENV', ''), env.get('PYTHON', '')
    if wanted and wanted not in [environment.name for environment in available]:
        names = ', '.join(environment.name for environment in available)
        raise BootstrapError(
            f'CXR_ENV={wanted}: there is no such environment; requirements/ holds: {names}'
        )
    earlier = earlier or {}
    possible, passed_over = [], []
    for environment in sorted(available, key=lambda item: item.name != earlier.get('environment')):
        if wanted and environment.name != wanted:
            continue
        problem = platform_problem(environment, system, machine, glibc)
        if problem:
            passed_over.append(f'{environment.name}: {problem}')
        else:
            possible.append(environment)
    if not possible:
        raise BootstrapError(
            'no environment can be installed on this machine\n  ' + '\n  '.join(passed_over)
        )
    if named:
        return _choose_named(possible, named, passed_over, env)
    looked_at: list[str] = []
    for environment in possible:
        found = find_interpreter(environment, env, earlier.get('base'))
        if isinstance(found, tuple):
            interpreter, origin = found
            why = _why(environment, wanted, earlier)
            return Choice(
                environment,
                interpreter,
                (*passed_over, why, f'{interpreter.base}: found {_place(origin)}'),
            )
        passed_over.append(f'{environment.name}: no Python {environment.python_name} here')
        looked_at += found
    for environment in possible:
        path = fetch(environment)
        fetched = path if isinstance(path, FetchFailed) else probe(path)
        if isinstance(fetched, Interpreter):
            return Choice(
                environment,
                fetched,
                (_why(environment, wanted, earlier), f'{fetched.base}: fetched by uv'),
            )
        looked_at.append(f'uv, asked for Python {environment.python_name}: {fetched}')
    raise BootstrapError(no_python_message(possible, looked_at))


def _why(environment: Environment, wanted: str, earlier: Mapping[str, str]) -> str:
    if wanted:
        return f'{environment.name}: CXR_ENV={wanted}'
    if environment.name == earlier.get('environment'):
        return f'{environment.name}: as before (CXR_ENV=… changes it)'
    return f'{environment.name}: the newest that this machine can hold'


def _place(origin: str) -> str:
    return {'PATH': 'on PATH', 'an earlier run': 'by an earlier run'}.get(origin, f'under {origin}')


def _choose_named(
    possible: Sequence[Environment], named: str, passed_over: Sequence[str], env: Mapping[str, str]
) -> Choice:
    """The environment that the interpreter named by PYTHON fits."""
    path = next(on_path([named], env), named)
    found = probe(path)
    if isinstance(found, str):
        raise BootstrapError(f'PYTHON={named}: {found}')
    for environment in possible:
        if environment.python == found.version[:2]:
            return Choice(
                environment,
                found,
                (
                    *passed_over,
                    f'{environment.name}: fits PYTHON={named}',
                    f'{found.base}: named by PYTHON',
                ),
            )
    needs = '; '.join(
        [
            *(
                f'{environment.name} needs Python {environment.python_name}'
                for environment in possible
            ),
            *passed_over,
        ]
    )
    raise BootstrapError(f'PYTHON={named}: is Python {found.version_name}, and {needs}')


def no_python_message(possible: Sequence[Environment], looked_at: Sequence[str]) -> str:
    """What was looked at and what to install, in the words to type."""
    versions = [environment.python_name for environment in possible]
    lines = [
        f'found no Python {" or ".join(versions)}. Looked at:',
        *(f'  {line}' for line in dict.fromkeys(looked_at)),
    ]
    lines += ['Install one of these, then run the same command again:']
    lines += [f'  pyenv                 then: pyenv install {versions[0]}']
    lines += [
        f'  uv                    then: uv python install {versions[0]}   (a download: needs '
        'access to the internet)'
    ]
    lines += [
        f"  your distribution's   python{versions[0]}, python{versions[0]}-dev and "
        f'python{versions[0]}-venv, where it has them'
    ]
    lines += [f'or name an interpreter: PYTHON=/path/to/python{versions[0]}']
    return '\n'.join(lines)
