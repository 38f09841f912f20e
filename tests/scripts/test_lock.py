"""How each requirements file is locked: for which Python and system, and by whose versions."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.environment import lock

FILES = {
    'big.in': '# python: 3.11\n# glibc: 2.39\na\n',
    'big.txt': 'a==1 \\\n    --hash=sha256:0\nb[extra]==2.0 \\\n    --hash=sha256:1\n',
    'a-part.in': '# part of: big\na\n',
    'a-extra.in': '# adds to: big\na[gpu]\n',
    'tool.in': 'tool\n',
    'uv.txt': 'uv==0.13.8\n',
}


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Locked file -> what uv was called with, in the order of the calls."""
    (tmp_path / 'requirements').mkdir()
    for name, text in FILES.items():
        (tmp_path / 'requirements' / name).write_text(text)
    uv = tmp_path / 'uv'
    uv.write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/calls\n')
    uv.chmod(0o755)
    monkeypatch.setattr('scripts.environment.tools.find_uv', lambda *arguments, **more: str(uv))
    lock.lock(tmp_path, upgrade=False)
    calls = [line.split() for line in (tmp_path / 'calls').read_text().splitlines()]
    return {call[call.index('--output-file') + 1]: call for call in calls}


def _option(command: list[str], name: str) -> str:
    return command[command.index(name) + 1]


def test_what_goes_by_a_lock_comes_after_it(commands: dict[str, list[str]]) -> None:
    assert list(commands) == ['big.txt', 'tool.txt', 'a-extra.txt', 'a-part.txt']


@pytest.mark.parametrize(
    ('file', 'python', 'system'),
    [
        ('big', '3.11', '2_39'),
        ('a-part', '3.11', '2_39'),
        ('a-extra', '3.11', '2_39'),
        ('tool', '3.10', '2_28'),
    ],
)
def test_it_is_locked_for_the_python_and_system_of_its_environment(
    commands: dict[str, list[str]], file: str, python: str, system: str
) -> None:
    command = commands[f'{file}.txt']
    assert _option(command, '--python-version') == python
    assert _option(command, '--python-platform').endswith(f'manylinux_{system}')


def test_parts_and_additions_have_the_versions_of_the_environment(
    commands: dict[str, list[str]],
) -> None:
    for file in ('a-part.txt', 'a-extra.txt'):
        assert _option(commands[file], '--constraint') == 'big.txt'
    left_out = [word for word in commands['a-extra.txt'] if word.startswith('--no-emit-package')]
    assert left_out == ['--no-emit-package=a', '--no-emit-package=b']
    assert not any('--no-emit-package' in word for word in commands['a-part.txt'])
    assert '--constraint' not in commands['big.txt'] + commands['tool.txt']
