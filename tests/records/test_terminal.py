"""Text from files and records on a terminal."""

from __future__ import annotations

import io
import os

import pytest
from rich.table import Table

from records import terminal


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        ('Grüße 肺 😀.png', 'Grüße 肺 😀.png'),
        ('\x1b[31mred', r'\x1b[31mred'),
        ('bell\x07, C1 \x9b, delete \x7f', r'bell\x07, C1 \x9b, delete \x7f'),
        ('two\nlines\r', r'two\nlines\r'),
        ('right to left \u202e\u2066', r'right to left \u202e\u2066'),
        ('line\u2028ends\x85', r'line\u2028ends\x85'),
        (os.fsdecode(b'gr\xfc\xdf.png'), r'gr\xfc\xdf.png'),
        ('half \ud83d', r'half \ud83d'),
    ],
    ids=[
        'letters',
        'ESC',
        'control characters',
        'line ends',
        'direction',
        'line ends of Unicode',
        'not UTF-8',
        'surrogate',
    ],
)
def test_printable(text: str, expected: str) -> None:
    assert terminal.printable(text) == expected
    assert terminal.printable(expected) == expected


def test_a_console_escapes_what_it_is_given_and_keeps_its_own_colours() -> None:
    file = io.StringIO()
    console = terminal.console(file=file, force_terminal=True, width=80, color_system='standard')
    table = Table('\x1b[2J')
    table.add_row('cell \x1b]0;title\x07')
    console.print(table)
    console.print('[red]two\n\x1b[2Jlines[/]', os.fsdecode(b'\xff'))
    text = file.getvalue()
    assert r'\x1b[2J' in text
    assert r'cell \x1b]0;title\x07' in text
    assert '\x1b[31mtwo' in text
    assert r'\xff' in text
    assert '\x1b[2J' not in text
    assert '\x1b]' not in text


@pytest.mark.parametrize(
    ('error', 'expected'),
    [
        (
            PermissionError(13, 'Permission denied', '/films/\x1b.tfrec'),
            r'/films/\x1b.tfrec: permission denied',
        ),
        (
            FileNotFoundError(2, 'No such file or directory', b'/gone.csv'),
            '/gone.csv: no such file or directory',
        ),
        (OSError('gs://bucket: no such bucket'), 'gs://bucket: no such bucket'),
        (ValueError('a message'), 'a message'),
    ],
    ids=['file', 'bytes', 'without a file', 'another error'],
)
def test_error_text(error: Exception, expected: str) -> None:
    assert terminal.error_text(error) == expected
