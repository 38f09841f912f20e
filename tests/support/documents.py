"""Finds the code blocks of README and docs."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([PROJECT / 'README.md', *PROJECT.glob('docs/*.md')])
# Commands a reader types; everything else is shown, not typed.
SHELL = 'sh'
LANGUAGES = {SHELL, 'text', 'yaml', 'json', 'python', 'mermaid'}


@dataclasses.dataclass(frozen=True)
class Block:
    """A fenced block: its document, the line of its opening fence, its language and its text."""

    document: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f'{self.document.relative_to(PROJECT)}:{self.line}'


def blocks(document: Path) -> list[Block]:
    """All fenced blocks of a Markdown file, in order."""
    found, fence = [], None
    lines: list[str] = []
    for number, line in enumerate(document.read_text(encoding='utf-8').splitlines(), start=1):
        match = re.match(r'\s*```(.*)', line)
        if fence is None and match:
            fence, lines = (number, match[1].strip()), []
        elif fence is not None and match:
            found.append(Block(document, *fence, '\n'.join(lines)))
            fence = None
        elif fence is not None:
            lines.append(line)
    assert fence is None, f'{document}: the code block that starts at line {fence} is never closed'
    return found


def shell_blocks(document: Path) -> list[Block]:
    """Those with commands."""
    return [block for block in blocks(document) if block.language == SHELL]
