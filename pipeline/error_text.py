"""Turns a library's error message into text for the screen: short, printable, without raw bytes."""

from __future__ import annotations

import re

from records.terminal import printable

# Messages of this project list at most ten records or files and have up to about 8,000 characters.
_MAX_LENGTH = 12_000
_MAX_LINE = 1_500
# Characters that are searched; a message of TFMA can contain a whole batch, twice.
_MAX_READ = 2_000_000
# Longer byte strings are records or images; shorter ones are names.
_MAX_BYTES = 64
# Byte strings as printed by Python (b'…') and by protocol buffers ("…\377…"); the last one can be
# incomplete.
_BYTES = re.compile(
    r"""(?<!\w)b'(?:[^'\\]|\\.)*(?:'|\\?\Z)"""
    r"""|(?<!\w)b"(?:[^"\\]|\\.)*(?:"|\\?\Z)"""
    r"""|"(?:[^"\\]|\\[^0-7x])*\\(?:[0-7]{3}|x[0-9a-f]{2})(?:[^"\\]|\\.)*(?:"|\\?\Z)""",
    re.DOTALL,
)


def presentable(text: str) -> str:
    """Makes the text of an error readable.

    Messages of TensorFlow, TFMA and Beam contain their inputs: whole records, with images and
    patient ids.

    Returns:
      `text` with long byte strings replaced by their length, control characters escaped, and long
      lines and long texts cut. The log has the full text.
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
