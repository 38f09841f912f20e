"""The audit log: every answer, reading, release and token, in a chain of hashes.

Each entry has the SHA-256 over itself and the digest of the entry before it. Whoever changes,
removes or inserts an entry has to change all later ones, and the last digest no longer matches a
copy kept elsewhere.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import insert, select, text
from sqlalchemy.orm import Session

from pipeline import csv_text
from serving.database.tables import AuditEntry

FIRST = '0' * 64
FIELDS = ('number', 'at', 'actor', 'action', 'subject', 'details', 'previous', 'digest')
_LAST = select(AuditEntry.number, AuditEntry.digest).order_by(AuditEntry.number.desc()).limit(1)
# Into the table, past the ORM, which takes three times as long.
_INSERT = insert(AuditEntry.__table__)  # type: ignore[arg-type]
# Any number that no other program of the database uses.
_LOCK = 5_309_201_117


@dataclass(frozen=True)
class Event:
    """What an entry is about.

    Attributes:
      actor: the name of the token or program that acts.
      action: e.g. 'answer', 'reading', 'release'.
      subject: the id of the study, version or token.
      details: more about it, as JSON; nothing that identifies a patient.
    """

    actor: str
    action: str
    subject: str
    details: Mapping[str, Any] = field(default_factory=dict)


def append(session: Session, actor: str, action: str, subject: str, **details: Any) -> None:
    """Adds an entry in the transaction of `session`; see `Event`."""
    append_all(session, [Event(actor, action, subject, details)])


def append_all(session: Session, events: Iterable[Event]) -> None:
    """Adds an entry for each event, in their order.

    Args:
      session: one with an open transaction.
      events: what happened.
    """
    # First the locks of changed rows, then that of the log: whoever has the log waits for no row.
    session.flush()
    lock(session)
    last = session.execute(_LAST).first()
    last_number, previous = last._tuple() if last else (0, FIRST)
    at = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec='milliseconds')
    rows: list[dict[str, Any]] = []
    for number, event in enumerate(events, start=last_number + 1):
        details = json.dumps(event.details, sort_keys=True, ensure_ascii=False)
        values = (number, at, event.actor, event.action, event.subject, details, previous)
        previous = _digest(values)
        rows.append(dict(zip(FIELDS, (*values, previous), strict=True)))
    if rows:
        session.execute(_INSERT, rows)


def lock(session: Session) -> None:
    """Keeps others from adding entries until the transaction of `session` ends."""
    if session.get_bind().dialect.name == 'postgresql':
        # Two transactions must not follow the same entry. SQLite has one writer anyway.
        session.execute(text('SELECT pg_advisory_xact_lock(:lock)'), {'lock': _LOCK})


def digest(entry: AuditEntry) -> str:
    """The SHA-256 (hex) over all other fields of an entry."""
    return _digest([getattr(entry, name) for name in FIELDS if name != 'digest'])


def _digest(values: Sequence[Any]) -> str:
    return hashlib.sha256(json.dumps(values, ensure_ascii=False).encode('utf-8')).hexdigest()


def entries(session: Session) -> Iterator[AuditEntry]:
    """All entries, oldest first."""
    yield from session.scalars(
        select(AuditEntry).order_by(AuditEntry.number).execution_options(yield_per=1000)
    )


def verify(session: Session) -> tuple[int, str, list[str]]:
    """The number of entries, the last digest, and a sentence for each break of the chain."""
    count, previous, problems = 0, FIRST, []
    for entry in entries(session):
        count += 1
        if entry.number != count:
            problems.append(f'entry {count} is missing: the next one is {entry.number}')
            count = entry.number
        if entry.previous != previous:
            problems.append(f'entry {entry.number} does not follow the entry before it')
        if entry.digest != digest(entry):
            problems.append(f'entry {entry.number} was changed')
        previous = entry.digest
    return count, previous, problems


def contains(session: Session, digest: str) -> bool:
    """Whether an entry has a digest, such as one that was noted earlier."""
    return session.scalar(select(AuditEntry.number).where(AuditEntry.digest == digest)) is not None


def to_json_lines(session: Session) -> Iterator[str]:
    """The log as JSON Lines, an entry a line."""
    for entry in entries(session):
        row = {name: getattr(entry, name) for name in FIELDS}
        # Of an entry that was changed, they may be any text.
        with contextlib.suppress(ValueError):
            row['details'] = json.loads(entry.details)
        yield json.dumps(row, ensure_ascii=False) + '\n'


def to_csv(session: Session) -> Iterator[str]:
    """The log as CSV with a header; `details` is JSON."""
    return csv_text.lines(
        FIELDS, ([getattr(entry, name) for name in FIELDS] for entry in entries(session))
    )
