"""The append-only record of releases beside the versions: who released what, when and why."""

from __future__ import annotations

import datetime
import errno
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

NAME = 'releases.jsonl'
HOLD, RESUME = 'hold', 'resume'


class JournalError(RuntimeError):
    """The record cannot be read; the text names the file and the line."""


@dataclass(frozen=True)
class Entry:
    """A change of a label.

    Attributes:
      at: UTC, ISO 8601.
      who: the user or program.
      action: promote, canary, withdraw, rollback, hold, resume or prune.
      label: stable or canary; '' for prune.
      before, after: the version under the label; None for none. `hold` and `resume` change none.
      why: free text.
    """

    at: str
    who: str
    action: str
    label: str
    before: int | None
    after: int | None
    why: str = ''


def append(target: Path, entry: Entry) -> None:
    """Adds an entry; it is on the disk when this returns.

    Raises:
      OSError: e.g. the disk is full; nothing is added then.
    """
    line = (json.dumps(asdict(entry), ensure_ascii=False) + '\n').encode('utf-8')
    path = target / NAME
    with path.open('ab', buffering=0) as stream:
        before = stream.tell()
        try:
            if stream.write(line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
            os.fsync(stream.fileno())
        except OSError:
            stream.truncate(before)
            raise


def read(target: Path) -> list[Entry]:
    """All entries, oldest first.

    Raises:
      JournalError: a line is not an entry.
    """
    path = target / NAME
    if not path.exists():
        return []
    entries = []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            entries.append(Entry(**json.loads(line)))
        except (ValueError, TypeError) as error:
            raise JournalError(
                f'{path}, line {number}: not an entry of the record: {error}'
            ) from None
    return entries


def held(entries: Sequence[Entry]) -> Entry | None:
    """The entry with which a person stopped automatic decisions; None if they are allowed."""
    notes = [entry for entry in entries if entry.action in (HOLD, RESUME)]
    return notes[-1] if notes and notes[-1].action == HOLD else None


def canary_since(entries: Sequence[Entry], version: int) -> datetime.datetime | None:
    """When a version became canary last; None if that is not recorded."""
    times = [entry.at for entry in entries if entry.action == 'canary' and entry.after == version]
    return datetime.datetime.fromisoformat(times[-1]) if times else None


def now() -> str:
    """The time for an entry."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec='seconds')
