"""Maintains the file of a root's metadata store: checks it, copies it, adapts it to the root."""

from __future__ import annotations

import contextlib
import datetime
import logging
import os
import sqlite3
import urllib.parse
from collections.abc import Iterator

import storage
from pipeline.run_root import RunRoot

_COPIES = 3
# A run locks the store for moments only.
_TIMEOUT_S = 30.0
# (table, column, the table whose id is in the column)
_REFERENCES = (
    ('Artifact', 'type_id', 'Type'),
    ('Execution', 'type_id', 'Type'),
    ('Context', 'type_id', 'Type'),
    ('ArtifactProperty', 'artifact_id', 'Artifact'),
    ('ExecutionProperty', 'execution_id', 'Execution'),
    ('ContextProperty', 'context_id', 'Context'),
    ('TypeProperty', 'type_id', 'Type'),
    ('Event', 'artifact_id', 'Artifact'),
    ('Event', 'execution_id', 'Execution'),
    ('EventPath', 'event_id', 'Event'),
    ('Association', 'context_id', 'Context'),
    ('Association', 'execution_id', 'Execution'),
    ('Attribution', 'context_id', 'Context'),
    ('Attribution', 'artifact_id', 'Artifact'),
)
# Rows are never deleted from these tables, so their ids have no gaps.
_APPEND_ONLY = ('Type', 'Artifact', 'Context', 'Event', 'Association', 'Attribution')
# The path under the folder of a step where TFX has a folder for each execution.
EXECUTIONS = ('.system', 'executor_execution')

_log = logging.getLogger(__name__)


class StoreError(RuntimeError):
    """A metadata store that cannot be used; the text names file, problem and remedy."""


def damaged(path: str, problem: object) -> StoreError:
    """Makes the error for a damaged store."""
    folder = RunRoot(os.path.dirname(path)).backups
    copies = _copies(folder)
    copy = (
        f'Put back the copy from before the last run (cp {os.path.join(folder, copies[-1])} '
        f'{path}), or start'
        if copies
        else 'Start'
    )
    return StoreError(
        f'{path}: the metadata store is damaged ({problem}). {copy} a new root with --root.'
    )


def check(path: str) -> None:
    """Checks that a store is complete; a missing file is valid.

    SQLite's own check compares each table with its indexes, which contain nearly all values too.

    Raises:
      StoreError: bytes or rows are missing or wrong.
      sqlite3.OperationalError: the file cannot be read now, e.g. because the disk is full.
    """
    if not os.path.exists(path):
        return
    try:
        with _open(path) as database:
            # One transaction, so that the writes of another process do not look like lost rows.
            database.execute('BEGIN')
            (answer,) = database.execute('PRAGMA integrity_check(1)').fetchone()
            problem = None if answer == 'ok' else answer
            problem = problem or next(_lost_rows(database), None)
    except sqlite3.OperationalError as error:
        if is_refused(error):
            raise
        raise damaged(path, error) from None
    except (sqlite3.DatabaseError, UnicodeDecodeError, ValueError, TypeError) as error:
        raise damaged(path, error) from None
    if problem:
        raise damaged(path, problem)


def is_refused(error: Exception) -> bool:
    """Whether the system refused to read or write the file, so that it need not be damaged."""
    return any(
        message in str(error)
        for message in ('locked', 'is full', 'readonly', 'unable to open', 'I/O error')
    )


def _lost_rows(database: sqlite3.Connection) -> Iterator[str]:
    tables = {
        name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
    }
    if not tables:
        return  # a run was killed before anything was written
    if missing := {table for table, _, _ in _REFERENCES} - tables:
        yield f'table {sorted(missing)[0]} is missing'
        return
    for table, column, other in _REFERENCES:
        query = (
            f'SELECT {column} FROM {table} WHERE {column} NOT IN (SELECT id FROM {other}) LIMIT 1'
        )
        if row := database.execute(query).fetchone():
            yield f'{other} {row[0]} is missing, which {table} refers to'
    numbers = dict(database.execute('SELECT name, seq FROM sqlite_sequence'))
    for table in _APPEND_ONLY:
        ((rows, last),) = database.execute(f'SELECT count(*), coalesce(max(id), 0) FROM {table}')
        expected = max(last, numbers.get(table, 0))
        if rows != expected:
            yield f'table {table} has {rows} of {expected} rows'


@contextlib.contextmanager
def _open(path: str) -> Iterator[sqlite3.Connection]:
    # Never while MLMD has the store open in this process: MLMD has its own copy of SQLite, and two
    # copies in one process release each other's locks.
    # With mode=rw, SQLite can roll back an unfinished write of a killed run, but creates no file.
    uri = f'file:{urllib.parse.quote(os.path.abspath(path))}?mode=rw'
    with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=_TIMEOUT_S)) as database:
        yield database


def back_up(path: str) -> None:
    """Copies a checked store to the folder of backups, and deletes the oldest copies.

    Raises:
      OSError, sqlite3.OperationalError: the copy cannot be written.
    """
    if not os.path.exists(path):
        return
    folder = RunRoot(os.path.dirname(path)).backups
    os.makedirs(folder, exist_ok=True)
    copy = os.path.join(folder, f'{datetime.datetime.now():%Y%m%d-%H%M%S-%f}.sqlite')
    unfinished = f'{copy}.part'
    try:
        with _open(path) as database, contextlib.closing(sqlite3.connect(unfinished)) as target:
            database.backup(target)
        os.replace(unfinished, copy)
    finally:
        if os.path.exists(unfinished):
            os.remove(unfinished)
    for name in _copies(folder)[:-_COPIES]:
        os.remove(os.path.join(folder, name))


def _copies(folder: str) -> list[str]:
    """The names of the copies, oldest first."""
    return [name for name in storage.names(folder) if name.endswith('.sqlite')]


def skip_used_numbers(path: str, artifacts: str) -> None:
    """Makes the next execution number larger than the number of any folder under `artifacts`.

    After a store was deleted, or restored from a copy, it would otherwise use numbers again whose
    folders have files.
    """
    last = max(_folder_numbers(artifacts), default=0)
    with _open(path) as database:
        ((last_in_store,),) = database.execute(
            "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'Execution'"
        )
        if last <= last_in_store:
            return
        with database:
            database.execute("DELETE FROM sqlite_sequence WHERE name = 'Execution'")
            database.execute(
                "INSERT INTO sqlite_sequence (name, seq) VALUES ('Execution', ?)", (last,)
            )
    _log.warning(
        '%s has artifacts that are not in the metadata store, up to number %d: the store was '
        'deleted or replaced. They are not used; '
        'delete those that you do not need.',
        artifacts,
        last,
    )


def _folder_numbers(artifacts: str) -> Iterator[int]:
    for step in storage.names(artifacts):
        folder = storage.join(artifacts, step)
        for key in storage.names(folder):
            parts = EXECUTIONS if key == EXECUTIONS[0] else (key,)
            yield from (
                int(name)
                for name in storage.names(storage.join(folder, *parts))
                if name.isdecimal()
            )


def adopt_artifacts(path: str, artifacts: str) -> None:
    """Updates the artifact paths in a store whose root was copied or moved.

    Paths of inputs are part of the keys of TFX's cache, so steps that read these artifacts run
    again.
    """
    with _open(path) as database:
        rows = database.execute('SELECT id, uri FROM Artifact WHERE uri IS NOT NULL').fetchall()
        own = artifacts.rstrip('/') + '/'
        elsewhere = [(number, uri, *_split(uri)) for number, uri in rows if not uri.startswith(own)]
        originals = {
            folder
            for _, _, folder, rest in elsewhere
            if rest and storage.exists(storage.join(artifacts, rest))
        }
        # A link to the same folder is not another folder.
        originals = {
            folder
            for folder in originals
            if os.path.realpath(folder) != os.path.realpath(artifacts)
        }
        moved = [
            (own + rest, number)
            for number, _, folder, rest in elsewhere
            if folder in originals and rest
        ]
        if not moved:
            return
        with database:
            database.executemany('UPDATE Artifact SET uri = ? WHERE id = ?', moved)
    _log.warning(
        'this root was copied or moved from %s: its %d artifacts are now used from %s, and steps '
        'that read them run again',
        ', '.join(sorted(originals)),
        len(moved),
        artifacts,
    )


def _split(uri: str) -> tuple[str, str]:
    """(folder of artifacts, STEP/KEY/NUMBER) of an artifact's path; (path, '') for other paths."""
    parts = uri.rsplit('/', 3)
    return (
        (parts[0], '/'.join(parts[1:])) if len(parts) == 4 and parts[-1].isdecimal() else (uri, '')
    )
