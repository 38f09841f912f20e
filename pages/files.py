"""Replaces files in one step, because a browser can read them at any time."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path


def write_text(path: Path, text: str) -> None:
    """Writes a file as UTF-8 in one step, and creates its folder."""
    write_bytes(path, text.encode('utf-8'))


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file in one step, and creates its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _replacement(path) as new:
        new.write_bytes(content)


def copy(source: Path, target: Path) -> None:
    """Copies a file in one step, unless the target already has the same content."""
    if (
        target.exists()
        and target.stat().st_size == source.stat().st_size
        and target.read_bytes() == source.read_bytes()
    ):
        return
    with _replacement(target) as new:
        shutil.copyfile(source, new)


@contextlib.contextmanager
def _replacement(path: Path) -> Iterator[Path]:
    """A temporary file that replaces `path` at the end."""
    temporary = path.with_name(f'.{path.name}.{os.getpid()}')
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
