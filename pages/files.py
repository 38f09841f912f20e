"""Replaces files that a browser may be reading, in one step."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path


def write_text(path: Path, text: str) -> None:
    """Writes a file in one step; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _aside(path) as new:
        new.write_text(text, encoding='utf-8')


def copy(source: Path, target: Path) -> None:
    """Copies a file in one step, unless it is there already."""
    if (
        target.exists()
        and target.stat().st_size == source.stat().st_size
        and target.read_bytes() == source.read_bytes()
    ):
        return
    with _aside(target) as new:
        shutil.copyfile(source, new)


@contextlib.contextmanager
def _aside(path: Path) -> Iterator[Path]:
    """A temporary file that replaces `path` at the end."""
    aside = path.with_name(f'.{path.name}.{os.getpid()}')
    try:
        yield aside
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)
