"""What `run` and `submit` share: the name and the note that people give a run."""

from __future__ import annotations

import argparse

NAME_LENGTH = 60
NOTE_LENGTH = 500
# TensorBoard shows a name as the name of a folder, so it has no slash.
_MARKS = frozenset(' ._-+=,()')


def add_arguments(parser: argparse.ArgumentParser, default_name: str) -> None:
    """Adds --name and --note.

    Args:
      parser: of the command.
      default_name: says for the help which name a run has without --name.
    """
    parser.add_argument(
        '--name',
        type=checked_name,
        metavar='NAME',
        help=f'a name for the run; two runs may have the same one (default: {default_name})',
    )
    parser.add_argument(
        '--note',
        type=checked_note,
        metavar='TEXT',
        help='what to remember about the run, shown with its name',
    )


def checked_name(text: str) -> str:
    """Returns the name without the spaces around it.

    >>> checked_name(' wider head, lr=1e-4 ')
    'wider head, lr=1e-4'

    Raises:
      argparse.ArgumentTypeError: it is empty, too long, or has other characters than allowed.
    """
    name = text.strip(' ')
    if not name:
        raise argparse.ArgumentTypeError(
            'the name is empty: give one, or leave out --name. Is a shell variable not set?'
        )
    _check_length('name', name, NAME_LENGTH)
    other = [letter for letter in name if not (letter.isalnum() or letter in _MARKS)]
    if other or not name[0].isalnum():
        marks = ' '.join(sorted(_MARKS - {' '}))
        raise argparse.ArgumentTypeError(
            f'{name!r} is not a name of a run: it needs a letter or digit first, then letters, '
            f'digits, spaces and {marks}' + (f'; it has {other[0]!r}' if other else '')
        )
    return name


def checked_note(text: str) -> str:
    """Returns the note, one line of text without the spaces around it.

    Raises:
      argparse.ArgumentTypeError: it is too long, or has a line break or a control character.
    """
    note = text.strip()
    _check_length('note', note, NOTE_LENGTH)
    if not note.isprintable():
        raise argparse.ArgumentTypeError(
            'the note has a line break or a control character: write it as one line'
        )
    return note


def _check_length(kind: str, text: str, most: int) -> None:
    if len(text) > most:
        raise argparse.ArgumentTypeError(
            f'the {kind} has {len(text)} characters, and {most} are allowed: shorten it'
        )
