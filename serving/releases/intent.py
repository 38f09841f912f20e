"""A release that is under way, on the disk: the next one finishes what a kill left undone."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from components.pusher import journal

_NAME = '.release.under-way'


def write(target: Path, entry: journal.Entry, labels: Mapping[str, int]) -> None:
    """Notes what is about to be recorded, and the labels that it leads to.

    Raises:
      OSError: the push directory cannot be written to.
    """
    unfinished = target / f'{_NAME}.new'
    with unfinished.open('w', encoding='utf-8') as stream:
        json.dump({'entry': asdict(entry), 'labels': dict(labels)}, stream)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(unfinished, target / _NAME)


def read(target: Path) -> tuple[journal.Entry, dict[str, int]] | None:
    """What a killed release was about to record, and its labels; None if all were finished."""
    try:
        content = json.loads((target / _NAME).read_text(encoding='utf-8'))
        return journal.Entry(**content['entry']), content['labels']
    except FileNotFoundError:
        return None


def remove(target: Path) -> None:
    """Forgets it: it was recorded, or the old labels are in force."""
    (target / _NAME).unlink(missing_ok=True)
