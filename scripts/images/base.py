"""Makes the base image if it cannot be pulled: Debian 13 from debootstrap, with a local Python."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

from scripts.images.engine import Engine, output_of

TAG = 'cxr-triage-base:debian13'
_LABEL = 'cxr-triage.made-of'
_SUITE = 'trixie'
# The Python of the environment `current`.
VERSION = '3.11'
# Certificates, and the shared libraries of a Python that was built on another system.
_PACKAGES = (
    *(
        'ca-certificates',
        'libssl3t64',
        'libffi8',
        'libsqlite3-0',
        'libbz2-1.0',
        'liblzma5',
        'libreadline8t64',
        'libncursesw6',
    ),
    *('zlib1g', 'libexpat1', 'libcrypt1', 'libuuid1'),
)
# Folders that Debian's own slim images omit too.
_EXCLUDED = (
    'usr/share/doc',
    'usr/share/man',
    'usr/share/locale',
    'usr/share/info',
    'var/cache/apt',
    'var/lib/apt/lists',
    'var/log',
)
# Not copied from the Python: its tests, installed packages, and files that only builds of Python
# use.
_EXCLUDED_FROM_PYTHON = (
    'test',
    'tests',
    'idlelib',
    'turtledemo',
    'site-packages',
    '__pycache__',
    '*.a',
    'EXTERNALLY-MANAGED',
    '*.pyc',
)


class BaseError(Exception):
    """The base image cannot be made; the message says what to install."""


def make(engine: Engine, project: Path, fresh: bool = False) -> str:
    """Makes the base image unless the engine already has it. Returns its tag.

    Raises:
      BaseError: debootstrap or the Python is missing or fails.
    """
    prefix = python_prefix(project)
    if prefix is None:
        raise BaseError(
            f'no Python {VERSION} for the image: install one (`uv python install {VERSION}` '
            f'or `pyenv install {VERSION}`)'
        )
    content = hashlib.sha256(' '.join([_SUITE, *_PACKAGES, str(prefix)]).encode()).hexdigest()[:16]
    if not fresh and _label(engine) == content:
        return TAG
    if os.geteuid() != 0:
        raise BaseError('debootstrap needs root: run this as root, or give an image with --base')
    if shutil.which('debootstrap') is None:
        raise BaseError(
            'debootstrap is not installed (Debian, Ubuntu: the package debootstrap); or give an '
            'image with --base'
        )
    with tempfile.TemporaryDirectory(prefix='cxr-triage-base-') as name:
        root = Path(name) / 'root'
        _debian(root, Path(name) / 'log')
        _python(root, prefix)
        _import(engine, root, content)
    return TAG


def python_prefix(project: Path) -> Path | None:
    """The folder of a Python from uv or pyenv; not the system's, whose folder is all of /usr."""
    find = ('uv', 'python', 'find', '--system', '--no-project', f'cpython-{VERSION}')
    path = output_of(str(project / 'scripts/with-uv'), *find)
    prefix = Path(path).resolve().parents[1] if path else Path('/usr')
    return None if prefix == Path('/usr') else prefix


def _label(engine: Engine) -> str:
    result = engine.run(
        'image',
        'inspect',
        '--format',
        f'{{{{index .Config.Labels "{_LABEL}"}}}}',
        TAG,
        check=False,
        capture_output=True,
        text=True,
    )
    return result.stdout.strip()


def _debian(root: Path, log: Path) -> None:
    with log.open('wb') as output:
        command = [
            'debootstrap',
            '--variant=minbase',
            f'--include={",".join(_PACKAGES)}',
            _SUITE,
            str(root),
        ]
        result = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, check=False)
    if result.returncode != 0:
        end = log.read_text(encoding='utf-8', errors='replace').splitlines()[-5:]
        raise BaseError(
            '\n'.join(
                [
                    'debootstrap failed; it needs 0.4 GB of disk and Debian 13 from a mirror. Its '
                    'last lines:',
                    *end,
                ]
            )
        )
    for folder in _EXCLUDED:
        _empty(root / folder)
    # apt needs these two folders.
    (root / 'var/lib/apt/lists/partial').mkdir()
    (root / 'var/cache/apt/archives/partial').mkdir(parents=True)


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _python(root: Path, prefix: Path) -> None:
    """Copies the Python to /usr/local; it finds its library relative to its own path."""
    name = f'python{VERSION}'
    ignore = shutil.ignore_patterns(*_EXCLUDED_FROM_PYTHON)
    for folder in (f'lib/{name}', f'include/{name}'):
        shutil.copytree(prefix / folder, root / 'usr/local' / folder, symlinks=True, ignore=ignore)
    shutil.copy2(prefix / 'bin' / name, root / 'usr/local/bin' / name)
    for library in _shared_libraries(prefix):
        shutil.copy2(library, root / 'usr/local/lib' / library.name, follow_symlinks=False)
    for link in ('python3', 'python'):
        (root / 'usr/local/bin' / link).symlink_to(name)
    for command in (['ldconfig'], [f'/usr/local/bin/{name}', '-m', 'ensurepip', '--default-pip']):
        result = subprocess.run(
            ['chroot', str(root), *command], capture_output=True, text=True, check=False
        )
        if result.returncode != 0:
            raise BaseError(
                f'{prefix}/bin/{name} does not run on Debian 13 ({" ".join(command)}): '
                f'{result.stderr.strip()[-500:]}'
            )


def _shared_libraries(prefix: Path) -> Iterable[Path]:
    return sorted((prefix / 'lib').glob('libpython*.so*'))


def _import(engine: Engine, root: Path, content: str) -> None:
    # The engine provides devices and processes.
    tar = [
        'tar',
        '-C',
        str(root),
        '--numeric-owner',
        '--exclude=./dev/*',
        '--exclude=./proc/*',
        '--exclude=./sys/*',
        '-c',
        '.',
    ]
    with subprocess.Popen(tar, stdout=subprocess.PIPE) as packer:
        changes = ('ENV LANG=C.UTF-8', 'CMD ["python3"]', f'LABEL {_LABEL}={content}')
        options = [option for change in changes for option in ('--change', change)]
        engine.run('import', *options, '-', TAG, stdin=packer.stdout, stdout=subprocess.DEVNULL)
    if packer.returncode != 0:
        raise BaseError(f'{root} could not be packed (tar: exit code {packer.returncode})')
