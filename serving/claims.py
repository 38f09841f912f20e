"""Shares the studies that wait among several gateways, so that each is scored by one of them."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator

from sqlalchemy import Engine, Select, func, select
from sqlalchemy.orm import Session, joinedload, sessionmaker

from serving import studies
from serving.database import connection
from serving.database.tables import PENDING, Answer, Image, Study

# How many studies that other gateways have claimed are passed over.
_LOOK_AHEAD = 200
_WAITS = ~Image.answers.any(Answer.role == studies.STABLE)


@contextlib.contextmanager
def claimed(
    sessions: sessionmaker[Session], limit: int, except_for: Collection[str] = ()
) -> Iterator[list[Study]]:
    """The oldest studies that wait for an answer, with the images that have none yet.

    On PostgreSQL, other gateways get other studies until the context, this process or its
    connection ends. No transaction is open meanwhile. A claim saves work, and no more: answers may
    be recorded only of what is `studies.still_pending`.

    Args:
      sessions: of the database.
      limit: how many.
      except_for: ids of studies to leave out.
    """
    query = (
        select(Study)
        .where(Study.state == PENDING, Study.id.not_in(list(except_for)))
        .order_by(Study.number)
        .limit(limit)
    )
    engine = sessions.kw['bind']
    with contextlib.ExitStack() as locks:
        if engine.dialect.name == 'postgresql':
            numbers = locks.enter_context(_locked(engine, query, limit))
            query = query.where(Study.number.in_(numbers))
        # After the locks: another gateway may have just recorded its answers.
        with connection.reading(sessions) as session:
            query = query.options(joinedload(Study.images.and_(_WAITS), innerjoin=True))
            waiting = list(session.scalars(query).unique())
        yield waiting


@contextlib.contextmanager
def _locked(engine: Engine, query: Select[tuple[Study]], limit: int) -> Iterator[list[int]]:
    """The numbers of the first studies of a query that no other connection has locked."""
    # Materialized, or the database might lock more studies than it returns.
    first = query.with_only_columns(Study.number).limit(limit + _LOOK_AHEAD).cte()
    number = first.prefix_with('MATERIALIZED').c.number
    # Negative, as the other advisory locks of the service have positive numbers.
    free = select(number).where(func.pg_try_advisory_lock(-number)).limit(limit)
    with engine.connect().execution_options(isolation_level='AUTOCOMMIT') as locking:
        try:
            yield list(locking.scalars(free))
        finally:
            if not locking.invalidated:
                locking.execute(select(func.pg_advisory_unlock_all()))
