"""Turns the message of a library into text for the screen: short, printable, without the
bytes of records.
"""

from __future__ import annotations

import re

from records.terminal import printable

# A failed run lists at most ten records or files a message; the longest of these messages has about
# 8,000 characters.
_MAX_LENGTH = 12_000
_MAX_LINE = 1_500
# What is looked at; messages of TFMA hold whole batches, twice.
_MAX_READ = 2_000_000
# Longer byte strings are records or images; shorter ones are names.
_MAX_BYTES = 64
# Byte strings as Python prints them (b'…') and as protocol buffers do ("…\377…"); the last one may
# be cut off.
_BYTES = re.compile(
    r"""(?<!\w)b'(?:[^'\\]|\\.)*(?:'|\\?\Z)"""
    r"""|(?<!\w)b"(?:[^"\\]|\\.)*(?:"|\\?\Z)"""
    r"""|"(?:[^"\\]|\\[^0-7x])*\\(?:[0-7]{3}|x[0-9a-f]{2})(?:[^"\\]|\\.)*(?:"|\\?\Z)""",
    re.DOTALL,
)


def presentable(text: str) -> str:
    """The text of an error as a person can read it.

    TensorFlow, TFMA and Beam put their inputs into their messages: whole records, with films and
    patients.

    Returns:
      `text` with byte strings of records replaced by their length, control characters escaped, and
      long lines and long texts cut; the log has all of it.
    """
    text = '\n'.join(
        _cut(line, _MAX_LINE) for line in _BYTES.sub(_shortened, text[:_MAX_READ]).split('\n')
    )
    return printable(_cut(text, _MAX_LENGTH), keep='\n\t')


def _cut(text: str, length: int) -> str:
    return (
        text
        if len(text) <= length
        else f'{text[:length]}… ({len(text) - length:,} more characters)'
    )


def _shortened(match: re.Match[str]) -> str:
    # An escape such as \xff is one byte.
    length = len(re.sub(r'\\(?:x[0-9a-f]{2}|[0-7]{3}|.)', '.', match[0], flags=re.DOTALL)) - (
        3 if match[0][0] == 'b' else 2
    )
    return match[0] if length <= _MAX_BYTES else f'<{length:,} bytes>'
