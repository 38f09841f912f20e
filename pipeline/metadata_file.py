"""Looks after the file of a root's metadata store: checks it, keeps copies of it, and makes it fit
the files around it.
"""

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

_KEPT = 3
# A run that works in the root holds the store for moments only.
_PATIENCE_S = 30.0
# (table, column, the table whose id it holds)
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
# Nothing is ever deleted from these, so that their ids have no gaps.
_GROWING = ('Type', 'Artifact', 'Context', 'Event', 'Association', 'Attribution')
# Where TFX keeps what belongs to an execution of a step, by its number, under the folder of the
# step.
EXECUTIONS = ('.system', 'executor_execution')

_log = logging.getLogger(__name__)


class StoreError(RuntimeError):
    """A metadata store that cannot be used; the text names the file, what is wrong and what to
    do.
    """


def damaged(path: str, what: object) -> StoreError:
    """The error for a store that cannot be used: `what` is wrong with it."""
    folder = RunRoot(os.path.dirname(path)).backups
    copies = _copies(folder)
    copy = (
        f'Put back the copy from before the last run (cp {os.path.join(folder, copies[-1])} '
        f'{path}), or start'
        if copies
        else 'Start'
    )
    return StoreError(
        f'{path}: the metadata store is damaged ({what}). {copy} a new root with --root.'
    )


def check(path: str) -> None:
    """Checks that a store is whole; one that is not there yet is.

    SQLite's own check compares each table with its indexes, which hold nearly every value a second
    time.

    Raises:
      StoreError: bytes or rows of it are missing or wrong.
      sqlite3.OperationalError: it cannot be read now, e.g. since the disk is full.
    """
    if not os.path.exists(path):
        return
    try:
        with _open(path) as database:
            # One transaction: a run that writes meanwhile must not look like a loss.
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
    """Whether the system refused to read or write a store, which says nothing about what is in
    it.
    """
    return any(
        words in str(error)
        for words in ('locked', 'is full', 'readonly', 'unable to open', 'I/O error')
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
    for table in _GROWING:
        ((rows, last),) = database.execute(f'SELECT count(*), coalesce(max(id), 0) FROM {table}')
        expected = max(last, numbers.get(table, 0))
        if rows != expected:
            yield f'table {table} has {rows} of {expected} rows'


@contextlib.contextmanager
def _open(path: str) -> Iterator[sqlite3.Connection]:
    # Never while MLMD has the store open in this process: it brings an SQLite of its own, and two
    # of them in one process undo each other's locks.
    # With mode=rw, SQLite can undo what a killed run began to write, and does not make a new file.
    uri = f'file:{urllib.parse.quote(os.path.abspath(path))}?mode=rw'
    with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=_PATIENCE_S)) as database:
        yield database


def back_up(path: str) -> None:
    """Copies a checked store into the folder of copies beside it; the oldest copies go.

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
    for name in _copies(folder)[:-_KEPT]:
        os.remove(os.path.join(folder, name))


def _copies(folder: str) -> list[str]:
    """The names of the copies, oldest first."""
    return [name for name in storage.names(folder) if name.endswith('.sqlite')]


def number_from_here(path: str, artifacts: str) -> None:
    """Lets the next execution have a number that no folder under `artifacts` has, so that each step
    writes into an empty place.

    A store that was deleted, or put back from a copy, would count again from numbers whose folders
    are full.
    """
    last = max(_folder_numbers(artifacts), default=0)
    with _open(path) as database:
        ((last_known,),) = database.execute(
            "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'Execution'"
        )
        if last <= last_known:
            return
        with database:
            database.execute("DELETE FROM sqlite_sequence WHERE name = 'Execution'")
            database.execute(
                "INSERT INTO sqlite_sequence (name, seq) VALUES ('Execution', ?)", (last,)
            )
    _log.warning(
        '%s holds artifacts that the metadata store does not know, up to number %d: the store was '
        'deleted or replaced. They are not used; '
        'delete what you do not need.',
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
    """Lets a store that was copied with its root refer to the artifacts of the copy and not to
    those of the original.

    TFX's cache knows inputs by their paths: steps that read these artifacts run once more.
    """
    with _open(path) as database:
        rows = database.execute('SELECT id, uri FROM Artifact WHERE uri IS NOT NULL').fetchall()
        own = artifacts.rstrip('/') + '/'
        elsewhere = [(number, uri, *_split(uri)) for number, uri in rows if not uri.startswith(own)]
        originals = {
            before
            for _, _, before, rest in elsewhere
            if rest and storage.exists(storage.join(artifacts, rest))
        }
        # Another name of the same folder, through a link, is no other folder.
        originals = {
            before
            for before in originals
            if os.path.realpath(before) != os.path.realpath(artifacts)
        }
        moved = [
            (own + rest, number)
            for number, _, before, rest in elsewhere
            if before in originals and rest
        ]
        if not moved:
            return
        with database:
            database.executemany('UPDATE Artifact SET uri = ? WHERE id = ?', moved)
    _log.warning(
        'this root was copied or moved from %s: its %d artifacts are used from %s now, and steps '
        'that read them run once more',
        ', '.join(sorted(originals)),
        len(moved),
        artifacts,
    )


def _split(uri: str) -> tuple[str, str]:
    """(folder of artifacts, STEP/KEY/NUMBER) of an artifact's path; the second is empty for a path
    of another form.
    """
    parts = uri.rsplit('/', 3)
    return (
        (parts[0], '/'.join(parts[1:])) if len(parts) == 4 and parts[-1].isdecimal() else (uri, '')
    )
