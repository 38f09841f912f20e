"""Studies that wait are shared among gateways."""

from __future__ import annotations

import contextlib

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session, sessionmaker

from serving import studies
from serving.claims import claimed
from serving.uploads import Upload

# SQLite is for one gateway.
_shared = pytest.mark.parametrize('database_url', ['postgresql'], indirect=True)


def _accept(sessions: sessionmaker[Session]) -> str:
    image = studies.NewImage(studies.new_id(), Upload('png', 600, 500), 'ab' * 32, 1234)
    with sessions() as session, session.begin():
        return studies.accept(session, [image], 'ward').id


def _claim(
    stack: contextlib.ExitStack, sessions: sessionmaker[Session], limit: int = 10, **options
) -> list[str]:
    return [study.id for study in stack.enter_context(claimed(sessions, limit, **options))]


def test_the_oldest_studies_are_claimed_with_their_images(sessions: sessionmaker[Session]) -> None:
    first, second, third = (_accept(sessions) for _ in range(3))
    with claimed(sessions, 2, except_for=[first]) as found:
        assert [study.id for study in found] == [second, third]
        assert all(len(study.images) == 1 for study in found)
    with claimed(sessions, 2) as found:
        assert [study.id for study in found] == [first, second]
    with sessions() as session, session.begin():
        (study,) = studies.still_pending(session, found[:1])
        studies.record_answers(session, [(study, [studies.Outcome(1, 0.5, True)])])
    with claimed(sessions, 10) as found:
        assert [study.id for study in found] == [second, third]


@_shared
def test_gateways_claim_different_studies_until_they_end(sessions: sessionmaker[Session]) -> None:
    ids = [_accept(sessions) for _ in range(5)]
    with contextlib.ExitStack() as stack:
        assert _claim(stack, sessions, 2) == ids[:2]
        assert _claim(stack, sessions, 2) == ids[2:4]
        assert _claim(stack, sessions, 2) == ids[4:]
        assert _claim(stack, sessions) == []
    with contextlib.ExitStack() as stack:
        assert _claim(stack, sessions) == ids


@_shared
def test_a_claim_ends_with_the_connection_of_its_gateway(sessions: sessionmaker[Session]) -> None:
    id = _accept(sessions)
    with pytest.raises(OperationalError), contextlib.ExitStack() as stack:
        assert _claim(stack, sessions) == [id]
        with sessions() as session, session.begin():
            others = text(
                'SELECT pg_terminate_backend(pid, 10000) FROM pg_locks '
                "WHERE locktype = 'advisory' AND pid <> pg_backend_pid()"
            )
            assert list(session.scalars(others)) == [True]
        assert _claim(stack, sessions) == [id]
    with contextlib.ExitStack() as stack:
        assert _claim(stack, sessions) == [id]


@_shared
def test_no_transaction_is_open_while_studies_are_claimed(sessions: sessionmaker[Session]) -> None:
    id = _accept(sessions)
    with contextlib.ExitStack() as stack:
        assert _claim(stack, sessions) == [id]
        with sessions() as session, session.begin():
            session.execute(text("SET LOCAL lock_timeout = '5s'"))
            study = studies.find(session, id)
            assert study is not None
            studies.add_reading(session, study, 'ann', 'normal', [], '')
            open_ones = (
                select(func.count())
                .select_from(text('pg_stat_activity'))
                .where(
                    text(
                        'datname = current_database() AND xact_start IS NOT NULL '
                        'AND pid <> pg_backend_pid()'
                    )
                )
            )
            assert session.scalar(open_ones) == 0
