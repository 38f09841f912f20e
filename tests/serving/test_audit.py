"""The audit log: its chain of hashes, and its exports."""

from __future__ import annotations

import csv
import io
import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session, sessionmaker

from serving import audit
from serving.database.tables import AuditEntry


@pytest.fixture
def log(sessions: sessionmaker[Session]) -> sessionmaker[Session]:
    """A log of five entries."""
    for number in range(5):
        with sessions() as session, session.begin():
            audit.append(session, 'dr', 'reading', f'study{number}', verdict='normal', text='ä=1')
    return sessions


def _verify(sessions: sessionmaker[Session]) -> tuple[int, str, list[str]]:
    with sessions() as session:
        return audit.verify(session)


def test_a_log_that_nobody_changed_holds(log: sessionmaker[Session]) -> None:
    count, last, problems = _verify(log)
    assert (count, problems) == (5, [])
    with log() as session:
        assert last == session.scalar(select(AuditEntry.digest).where(AuditEntry.number == 5))


def test_an_empty_log_holds(sessions: sessionmaker[Session]) -> None:
    assert _verify(sessions) == (0, audit.FIRST, [])


@pytest.mark.parametrize(
    ('change', 'problem'),
    [
        (
            update(AuditEntry).where(AuditEntry.number == 3).values(actor='somebody'),
            'entry 3 was changed',
        ),
        (delete(AuditEntry).where(AuditEntry.number == 3), 'entry 3 is missing: the next one is 4'),
        (delete(AuditEntry).where(AuditEntry.number == 1), 'entry 1 is missing: the next one is 2'),
    ],
    ids=['changed', 'removed', 'first removed'],
)
def test_a_change_is_found(log: sessionmaker[Session], change, problem: str) -> None:
    with log() as session, session.begin():
        session.execute(change)
    assert problem in _verify(log)[2]


def test_a_changed_entry_with_a_new_digest_breaks_the_chain(log: sessionmaker[Session]) -> None:
    with log() as session, session.begin():
        entry = session.get_one(AuditEntry, 3)
        entry.details = '{}'
        entry.digest = audit.digest(entry)
    assert _verify(log)[2] == ['entry 4 does not follow the entry before it']


def test_writers_at_the_same_time_make_one_chain(sessions: sessionmaker[Session]) -> None:
    def write(number: int) -> None:
        with sessions() as session, session.begin():
            audit.append(session, 'gateway', 'answer', str(number))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(40)))
    count, _, problems = _verify(sessions)
    assert (count, problems) == (40, [])


def test_exports_have_every_entry(log: sessionmaker[Session]) -> None:
    with log() as session:
        lines = [json.loads(line) for line in audit.to_json_lines(session)]
        rows = list(csv.DictReader(io.StringIO(''.join(audit.to_csv(session)))))
    assert [line['subject'] for line in lines] == [f'study{number}' for number in range(5)]
    assert lines[0]['details'] == {'verdict': 'normal', 'text': 'ä=1'}
    assert [row['digest'] for row in rows] == [line['digest'] for line in lines]


def test_a_cell_is_not_a_formula(sessions: sessionmaker[Session]) -> None:
    with sessions() as session, session.begin():
        audit.append(session, '=cmd()', 'reading', '+1')
    with sessions() as session:
        (row,) = csv.DictReader(io.StringIO(''.join(audit.to_csv(session))))
    assert (row['actor'], row['subject']) == ("'=cmd()", "'+1")
