"""The tools an installation needs: uv (a usable one found, or the pinned one fetched) and a C/C++
compiler with Python's headers.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from scripts.environment.choose import (
    BootstrapError,
    FetchFailed,
    Interpreter,
    on_path,
    pyenv_roots,
    run_quietly,
    version_of,
)
from scripts.environment.pip_settings import pip_environment

_LINES = 8  # of what pip says
UV_MINIMUM = (
    0,
    5,
    0,
)  # the first with --require-hashes, build constraints and UV_DEFAULT_INDEX as used here


def pinned_uv(requirements: Path) -> str:
    """The version of uv that requirements/uv.txt pins."""
    match = re.search(
        r'^uv==(\S+)', (requirements / 'uv.txt').read_text(encoding='utf-8'), re.MULTILINE
    )
    if not match:
        raise BootstrapError(f'{requirements / "uv.txt"} pins no uv: write it with `make lock`')
    return match.group(1)


def find_uv(tools: Path, env: Mapping[str, str], exact: str | None = None) -> str | None:
    """A uv that runs and is new enough: on PATH, where its installer puts it, in `tools`, or under
    any pyenv version.

    Each is run, since a pyenv shim called uv fails while another Python is selected.

    Args:
        tools: the project's own folder of tools.
        env: the process's environment.
        exact: take this version only.
    """
    home = Path(env.get('HOME', '/'))
    paths = [*on_path(['uv'], env), str(home / '.local/bin/uv'), str(home / '.cargo/bin/uv')]
    paths += sorted(map(str, tools.glob('uv-*/bin/uv')), reverse=True)
    paths += [
        str(path)
        for root in pyenv_roots(env)
        for path in sorted(root.glob('versions/*/bin/uv'), reverse=True)
    ]
    for path in paths:
        version = version_of(run_quietly(path, '--version'))
        if version == version_of(exact) if exact else version >= UV_MINIMUM:
            return path
    return None


def fetch_uv(
    tools: Path, requirements: Path, pythons: Sequence[str], env: Mapping[str, str] = os.environ
) -> str | FetchFailed:
    """Has pip put the pinned uv, checked against its hash, into `tools`; returns its path, or what
    pip said where none could.

    Args:
        tools: the project's own folder of tools.
        requirements: the folder with uv.txt.
        pythons: interpreters whose pip may be used, in this order.
        env: the process's environment.
    """
    failed = FetchFailed('there is no pip here that could fetch it')
    target = tools / f'uv-{pinned_uv(requirements)}'
    tools.mkdir(parents=True, exist_ok=True)
    for python in pythons:
        if not run_quietly(python, '-m', 'pip', '--version'):
            continue
        with tempfile.TemporaryDirectory(dir=tools) as scratch:
            pip = [
                python,
                '-m',
                'pip',
                'install',
                '--quiet',
                '--no-input',
                '--no-deps',
                '--only-binary',
                ':all:',
            ]
            new = Path(scratch) / 'uv'
            done = subprocess.run(
                [
                    *pip,
                    '--require-hashes',
                    '--target',
                    str(new),
                    '-r',
                    str(requirements / 'uv.txt'),
                ],
                capture_output=True,
                text=True,
                env=pip_environment(env),
                check=False,
            )
            if done.returncode == 0 and run_quietly(str(new / 'bin/uv'), '--version'):
                shutil.rmtree(target, ignore_errors=True)
                new.rename(target)
                return str(target / 'bin/uv')
            said = (done.stderr.strip() or f'exit code {done.returncode}').splitlines()
            if done.returncode == 0:
                said.append('what it fetched does not run')
            failed = FetchFailed(
                '\n'.join(
                    [
                        f'pip of {python} could not fetch it:',
                        *(f'  {line}' for line in said[-_LINES:]),
                    ]
                )
            )
    return failed


def fetch_python(uv: str, version: str, env: Mapping[str, str]) -> str | FetchFailed:
    """Has uv download Python `version`; returns its path."""
    done = subprocess.run(
        [uv, 'python', 'install', version],
        capture_output=True,
        text=True,
        env=dict(env),
        check=False,
    )
    if done.returncode != 0:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()] or [
            f'exit code {done.returncode}'
        ]
        return FetchFailed(
            ' … '.join(dict.fromkeys([lines[0], lines[-1]]))
        )  # the first says what, the last says why
    return run_quietly(
        uv, 'python', 'find', '--python-preference', 'only-managed', version
    ) or FetchFailed('fetched, but then not found')


def check_compilers(interpreter: Interpreter, env: Mapping[str, str]) -> None:
    """Compiles one line of C and of C++ against Python's headers: some dependencies (pyfarmhash,
    crcmod) have no wheels.

    Raises:
        BootstrapError: a compiler or the headers are missing; with the packages to install.
    """
    missing = []
    minor = '.'.join(map(str, interpreter.version[:2]))
    if not (Path(interpreter.include) / 'Python.h').is_file():
        missing.append(
            f'the headers of Python {minor} ({interpreter.include}/Python.h): Debian, Ubuntu: the '
            f'package python{minor}-dev'
        )
    sources = (
        (
            interpreter.compilers[0],
            'C',
            '.c',
            'CC',
            '#include <stdlib.h>\nint main(void) { return 0; }\n',
        ),
        (
            interpreter.compilers[1],
            'C++',
            '.cpp',
            'CXX',
            '#include <vector>\nint main() { return 0; }\n',
        ),
    )
    for default, language, suffix, variable, source in sources:
        command = shlex.split(env.get(variable) or default)
        problem = _compile_problem(command, suffix, source, env)
        if problem:
            missing.append(
                f'a {language} compiler ({problem}): Debian, Ubuntu: the packages gcc, g++ and '
                'libc6-dev; Fedora, Red Hat: gcc-c++'
            )
    if missing:
        reason = (
            'some dependencies (pyfarmhash of tfx-bsl, crcmod of Beam) are built from source; '
            'this machine lacks'
        )
        raise BootstrapError(
            '\n'.join(
                [
                    reason,
                    *(f'  {line}' for line in missing),
                    'Install these, then run the same command again.',
                ]
            )
        )


def _compile_problem(
    command: Sequence[str], suffix: str, source: str, env: Mapping[str, str]
) -> str | None:
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / f'probe{suffix}'
        path.write_text(source, encoding='utf-8')
        try:
            done = subprocess.run(
                [*command, str(path), '-o', os.path.join(scratch, 'probe')],
                capture_output=True,
                text=True,
                env=dict(env),
                check=False,
            )
        except OSError as error:
            return f'{command[0]}: {error.strerror}'
    if done.returncode == 0:
        return None
    return f'{command[0]}: {(done.stderr.strip() or "failed").splitlines()[0]}'
