"""Recreates requirements/*.txt from *.in: `python -m scripts.environment.lock [--upgrade]`, called
by `make lock`.

Always with the pinned uv, so that the files do not change with who writes them. Existing pins stay
unless *.in asks otherwise.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from scripts.environment import choose, tools
from scripts.environment.choose import BootstrapError, FetchFailed, on_path
from scripts.environment.install import say
from scripts.environment.pip_settings import uv_environment

_OPTIONS = [
    '--quiet',
    '--generate-hashes',
    '--no-emit-index-url',
    '--no-emit-find-links',
    '--annotation-style',
    'line',
    '--no-header',
]
# In a file's head: its packages have the versions that they have in the environment; with the
# second, those that are in it are left out.
_PART_OF, _ADDS_TO = 'part of', 'adds to'
_OLDEST = {
    'python': '3.10',
    'glibc': '2.28',
}  # for uv.txt and build.txt, which serve every environment


def lock(root: Path, upgrade: bool) -> None:
    """Writes a lock file with hashes for each requirements/*.in of the working copy `root`.

    Raises:
        BootstrapError: uv cannot be had, or finds no set of versions.
    """
    requirements = root / 'requirements'
    pythons = [sys.executable, *on_path(['python3'], os.environ)]
    uv = tools.find_uv(root / '.tools', os.environ, exact=tools.pinned_uv(requirements))
    uv = uv or tools.fetch_uv(root / '.tools', requirements, pythons)
    if isinstance(uv, FetchFailed):
        raise BootstrapError(f'uv {tools.pinned_uv(requirements)} is not here, and {uv}')
    env = uv_environment(pythons, os.environ)
    # What goes by an environment's lock comes after it.
    for source in sorted(
        requirements.glob('*.in'), key=lambda path: (_related(path) is not None, path.name)
    ):
        target = source.with_suffix('.txt')
        relation, environment = _related(source) or ('', '')
        head = {
            **_OLDEST,
            **choose.head(requirements / f'{environment}.in' if environment else source),
        }
        # Chosen for the oldest system that the environment names, whatever this one is.
        system = f'{choose.MACHINE}-manylinux_{head["glibc"].replace(".", "_")}'
        say(f'locking {source.relative_to(root)}')
        command = [
            uv,
            'pip',
            'compile',
            *_OPTIONS,
            '--python-version',
            head['python'],
            '--python-platform',
            system,
        ]
        command += ['--upgrade'] if upgrade else []
        if environment:
            command += ['--constraint', f'{environment}.txt']
        if relation == _ADDS_TO:
            command += [
                f'--no-emit-package={name}' for name in locked(requirements / f'{environment}.txt')
            ]
        command += (
            ['--no-deps']
            if re.search(
                r'^# without dependencies$', source.read_text(encoding='utf-8'), re.MULTILINE
            )
            else []
        )
        done = subprocess.run(
            [*command, source.name, '--output-file', target.name],
            cwd=requirements,
            env=env,
            check=False,
        )
        if done.returncode != 0:
            raise BootstrapError(
                f'{source.relative_to(root)} could not be locked; {target.name} is as it was'
            )


def locked(lock_file: Path) -> list[str]:
    """The names of the packages in a lock file."""
    return re.findall(
        r'^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==', lock_file.read_text(encoding='utf-8'), re.MULTILINE
    )


def _related(source: Path) -> tuple[str, str] | None:
    """How a requirements file goes by an environment's lock, and which, from its head; None where
    it stands for itself.
    """
    found = re.search(
        rf'^# ({_PART_OF}|{_ADDS_TO}): (\S+)$', source.read_text(encoding='utf-8'), re.MULTILINE
    )
    return (found[1], found[2]) if found else None


if __name__ == '__main__':
    try:
        lock(Path(__file__).resolve().parents[2], '--upgrade' in sys.argv[1:])
    except BootstrapError as problem:
        say(str(problem))
        sys.exit(1)
