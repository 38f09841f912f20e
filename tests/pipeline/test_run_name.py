"""The name and the note of a run: what the command line accepts, and what the record keeps."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from cli import main as cli
from cli import run_name
from pipeline import run_record


@pytest.mark.parametrize('name', ['wider head, lr=1e-4', 'B0 (v1.2) +flip', 'Größe 2', '7'])
def test_a_name_is_kept_without_outer_spaces(name: str) -> None:
    assert run_name.checked_name(f'  {name} ') == name


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        pytest.param('  ', 'the name is empty', id='empty'),
        pytest.param('x' * 61, 'has 61 characters, and 60 are allowed', id='too long'),
        pytest.param('a/b', "it has '/'", id='slash'),
        pytest.param('a\nb', r"it has '\\n'", id='line break'),
        pytest.param('-a', 'a letter or digit first', id='like an option'),
        pytest.param('<b>', "it has '<'", id='markup'),
    ],
)
def test_other_names_are_refused(name: str, message: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=message):
        run_name.checked_name(name)


@pytest.mark.parametrize(
    ('note', 'message'),
    [
        pytest.param('x' * 501, 'has 501 characters, and 500 are allowed', id='too long'),
        pytest.param('a\nb', 'write it as one line', id='line break'),
    ],
)
def test_other_notes_are_refused(note: str, message: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=message):
        run_name.checked_note(note)


def test_a_note_may_have_any_printable_text() -> None:
    assert run_name.checked_note(' <b>half</b> the rate: 1/2 ✓ ') == '<b>half</b> the rate: 1/2 ✓'


@pytest.mark.parametrize('command', [['run'], ['submit', 'spec.yaml']])
def test_a_bad_name_ends_the_command_at_once(command: list[str], capsys) -> None:
    with pytest.raises(SystemExit, match='2'):
        cli.main([*command, '--config', 'none.yaml', '--name', 'a/b'])
    assert "argument --name: 'a/b' is not a name of a run" in capsys.readouterr().err


@pytest.mark.parametrize('command', [['run'], ['submit', 'spec.yaml']])
def test_a_run_needs_neither_name_nor_note(command: list[str]) -> None:
    args = cli.build_parser().parse_args([*command, '--config', 'none.yaml'])
    assert (args.name, args.note) == (None, None)


def test_the_record_keeps_name_note_and_settings(tmp_path: Path) -> None:
    described = {'display_name': 'wider head', 'note': 'n', 'settings': {'train': {'seed': 1}}}
    run_record.Recorder(str(tmp_path), 'r', 'p', str(tmp_path / 'a.log'), **described)
    record = run_record.read_all(tmp_path)['r']
    assert {key: getattr(record, key) for key in described} == described
