"""What became of a version after its push, from the record of releases beside it."""

from __future__ import annotations

from pathlib import Path

from components.pusher import journal
from components.pusher.target import ServedVersion
from pipeline.run_root import RunRoot

# Where the figures of an automatic decision begin in its reason.
_FIGURES = ' {'


def rows(root: Path, version: ServedVersion) -> list[tuple[str, str, str, str]]:
    """(time, event, who, why) of each release that a version took part in, oldest first.

    Args:
      root: the run root, in case the version was deleted from its push directory.
      version: of the run.
    """
    if not version.version.isdecimal():  # an artifact of another Pusher
        return []
    number = int(version.version)
    for target in (Path(version.path).parent, RunRoot(root).serving):
        if (target / journal.NAME).exists():
            break
    try:
        entries = journal.read(target)
    except (journal.JournalError, OSError) as error:
        return [('', 'The record of releases cannot be read', '', str(error))]
    return [
        (
            entry.at[:19].replace('T', ' '),
            _event(entry, number),
            entry.who,
            entry.why.partition(_FIGURES)[0],
        )
        for entry in entries
        if number in (entry.before, entry.after)
    ]


def _event(entry: journal.Entry, number: int) -> str:
    if entry.action in (journal.HOLD, journal.RESUME):
        return f'automatic decisions {"stopped" if entry.action == journal.HOLD else "allowed"}'
    if entry.after == number:
        return {
            'canary': 'became canary',
            'promote': 'became stable',
            'rollback': 'became stable again',
        }.get(entry.action, entry.action)
    return {
        'prune': 'deleted',
        'withdraw': 'withdrawn as canary',
        'rollback': f'rolled back to version {entry.after}',
    }.get(entry.action, f'replaced by version {entry.after}')
