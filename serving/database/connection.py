"""Connects to the database and brings its tables up to date."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, create_engine, event, func, make_url, select
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

_MIGRATIONS = Path(__file__).parent / 'migrations'
# Seconds that a connection waits for another one to finish writing.
_SQLITE_TIMEOUT_S = 30
# Seconds until a PostgreSQL server that does not answer counts as down.
_CONNECT_TIMEOUT_S = 5
# The advisory lock of PostgreSQL that a migration holds: any number that is not used otherwise.
_LOCK = 0x637872
_SQLITE_FULL = 'disk is full'


class DatabaseError(RuntimeError):
    """The database cannot be used; the text says which and why, without its password."""


def sqlite_url(path: Path) -> str:
    """The URL of a SQLite file."""
    return f'sqlite+pysqlite:///{path}'


def connect(url: str) -> sessionmaker[Session]:
    """Sessions of a database whose tables are up to date.

    Args:
      url: `sqlite:///FILE` or `postgresql://USER:PASSWORD@HOST/NAME`.

    Raises:
      DatabaseError: it cannot be reached, or is of a newer release.
    """
    engine = _engine(url)
    try:
        with engine.begin() as connection:
            if engine.dialect.name == 'postgresql':
                # Gateways that start at the same time would make the same tables.
                connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
            config = Config()
            config.set_main_option('script_location', str(_MIGRATIONS))
            config.attributes['connection'] = connection
            command.upgrade(config, 'head')
    except SQLAlchemyError as error:
        raise failed(engine, error) from None
    except command.util.CommandError as error:
        raise DatabaseError(f'{_shown(engine)}: {error}. Is it of a newer release?') from None
    return sessionmaker(engine, expire_on_commit=False)


def failed(engine: Engine, error: SQLAlchemyError) -> DatabaseError:
    """The error to show for one of a database."""
    original = _original(error)
    is_damaged = isinstance(original, sqlite3.DatabaseError) and not isinstance(
        original, sqlite3.OperationalError
    )
    advice = '. Restore a backup of it' if is_damaged else ''
    # All lines, which say what was tried at each address. `reason` is for logs.
    return DatabaseError(f'{_shown(engine)}: {" ".join(str(original).split())}{advice}')


def _shown(engine: Engine) -> str:
    return engine.url.render_as_string(hide_password=True)


def revision(session: Session) -> str:
    """The last migration of a database."""
    return str(MigrationContext.configure(session.connection()).get_current_revision())


@contextlib.contextmanager
def reading(sessions: sessionmaker[Session]) -> Iterator[Session]:
    """A session that changes nothing, and so waits for no other."""
    with sessions() as session:
        session.connection(execution_options={'readonly': True})
        yield session


def reason(error: Exception) -> str:
    """What a database said, on one line, without the values of the statement: users sent them."""
    return str(_original(error)).strip().split('\n')[0]


def is_full(error: Exception) -> bool:
    """Whether an error means that the disk of the database is full.

    Nothing of the transaction is stored then. After other errors of a commit, such as a broken
    connection, nobody knows.
    """
    original = _original(error)
    return type(original).__name__ == 'DiskFull' or _SQLITE_FULL in str(original)


def _original(error: Exception) -> Exception:
    """The error of the driver."""
    return getattr(error, 'orig', None) or error


def _engine(url: str) -> Engine:
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise DatabaseError(f'{url}: not a database URL, such as sqlite:///FILE') from None
    if parsed.get_backend_name() == 'postgresql':
        return create_engine(
            parsed.set(drivername='postgresql+psycopg'),
            pool_pre_ping=True,
            # Values are what users sent; messages with them would end up in the log.
            hide_parameters=True,
            connect_args={'connect_timeout': _CONNECT_TIMEOUT_S},
        )
    if parsed.get_backend_name() != 'sqlite':
        raise DatabaseError(f'{parsed.drivername}: only sqlite and postgresql are supported')
    if parsed.database:
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(
        parsed, hide_parameters=True, connect_args={'timeout': _SQLITE_TIMEOUT_S}
    )
    event.listen(engine, 'connect', _set_up_sqlite)
    event.listen(engine, 'begin', _begin_immediate)
    return engine


def _set_up_sqlite(connection: Any, record: Any) -> None:
    connection.isolation_level = None  # `_begin_immediate` starts the transactions
    cursor = connection.cursor()
    cursor.execute('PRAGMA journal_mode=WAL')
    # A commit is on the disk when it returns.
    cursor.execute('PRAGMA synchronous=FULL')
    cursor.execute('PRAGMA foreign_keys=ON')
    cursor.close()


def _begin_immediate(connection: Any) -> None:
    # A transaction that starts as a reader cannot become a writer beside another one.
    readonly = connection.get_execution_options().get('readonly')
    connection.exec_driver_sql('BEGIN' if readonly else 'BEGIN IMMEDIATE')
