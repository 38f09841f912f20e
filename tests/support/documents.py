"""Finds the code blocks of README and docs."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([PROJECT / 'README.md', *PROJECT.glob('docs/*.md')])
# The language of blocks with commands for the reader.
SHELL = 'sh'
LANGUAGES = {SHELL, 'text', 'yaml', 'json', 'python', 'mermaid'}


@dataclasses.dataclass(frozen=True)
class Block:
    """A fenced block; `line` is the number of its opening fence."""

    document: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f'{self.document.relative_to(PROJECT)}:{self.line}'


def blocks(document: Path) -> list[Block]:
    """The fenced blocks of a Markdown file, in order."""
    results, fence = [], None
    lines: list[str] = []
    for number, line in enumerate(document.read_text(encoding='utf-8').splitlines(), start=1):
        match = re.match(r'\s*```(.*)', line)
        if fence is None and match:
            fence, lines = (number, match[1].strip()), []
        elif fence is not None and match:
            results.append(Block(document, *fence, '\n'.join(lines)))
            fence = None
        elif fence is not None:
            lines.append(line)
    assert fence is None, f'{document}: the code block that starts at line {fence} is never closed'
    return results


def shell_blocks(document: Path) -> list[Block]:
    """The fenced blocks with commands."""
    return [block for block in blocks(document) if block.language == SHELL]
