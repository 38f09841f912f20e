"""Prints text from files and records, with everything escaped that would control the terminal."""

from __future__ import annotations

import os
import unicodedata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

# Control characters (ESC among them), invisible ones that reorder text, half characters of names
# that are not UTF-8, and Unicode's own line ends.
_ESCAPED = frozenset({'Cc', 'Cf', 'Cs', 'Zl', 'Zp'})


def printable(text: object, keep: str = '') -> str:
    r"""Escapes control characters (`\x1b`) and bytes of a file name that are not UTF-8 (`\xff`).

    Args:
      text: a file name, an image id, or a message that may hold them.
      keep: control characters to leave as they are, such as '\n' in a message of several lines.

    Example:
        >>> printable('red\x1b[31m')
        'red\\x1b[31m'
    """
    text = str(text)
    if text.isprintable():
        return text
    return ''.join(_escape(letter) if letter not in keep else letter for letter in text)


def error_text(error: Exception) -> str:
    """The message of an error; of an OSError, the file and the reason without the number."""
    if isinstance(error, OSError) and isinstance(error.filename, str | bytes) and error.strerror:
        return (
            f'{printable(os.fsdecode(error.filename))}: '
            f'{error.strerror[0].lower()}{error.strerror[1:]}'
        )
    return str(error)


def console(**options: Any) -> Console:
    """A rich Console that escapes control characters in all text.

    File names, image ids and cells of tables come from outside and reach the screen in tables and
    messages; escaping at the console covers all of them.
    """
    from rich.console import Console

    class SafeConsole(Console):
        def render_str(self, text: str, **options: Any):
            return super().render_str(printable(text, keep='\n\t'), **options)

    return SafeConsole(**options)


def _escape(letter: str) -> str:
    if unicodedata.category(letter) not in _ESCAPED:
        return letter
    code = ord(letter)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that Python could not decode (PEP 383)
        return f'\\x{code - 0xDC00:02x}'
    return (
        letter.encode('unicode_escape', 'surrogatepass').decode('ascii')
        if code < 0xD800 or code > 0xDFFF
        else f'\\u{code:04x}'
    )
