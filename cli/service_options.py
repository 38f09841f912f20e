"""Options that the commands of the service share."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from cli import root_argument as roots
from components.serving_check.parameters import MODEL_NAME
from pipeline.run_root import RunRoot
from serving import running

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

_DATABASE = 'CXR_DATABASE'


class ServiceError(ValueError):
    """A folder or the database of the service is not there; the text says what to do."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds --root, --data, --target, --model and --model-server."""
    add_data_arguments(parser)
    parser.add_argument(
        '--target',
        type=Path,
        metavar='DIR',
        help='the push directory, where there is no run root (default: that of the root)',
    )
    parser.add_argument(
        '--model',
        default=MODEL_NAME,
        metavar='NAME',
        help=f'name of the model on the model server (default: {MODEL_NAME})',
    )
    parser.add_argument(
        '--model-server',
        metavar='grpc://HOST:PORT',
        help='a TF Serving that serves the push directory (default: the embedded server)',
    )


def add_data_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds --root and --data."""
    roots.add_argument(parser)
    parser.add_argument(
        '--data',
        type=Path,
        metavar='DIR',
        help='folder for database, images and logs (default: ROOT/service)',
    )


def add_database_argument(parser: argparse.ArgumentParser) -> None:
    """Adds --database."""
    parser.add_argument(
        '--database',
        metavar='URL',
        help='postgresql://USER:PASSWORD@HOST/NAME (default: SQLite in the folder of --data; also '
        f'from {_DATABASE}, which keeps the password out of the list of processes)',
    )


def data_folder(args: argparse.Namespace) -> Path:
    """The folder of the service.

    Raises:
      ServiceError: it is not given, and there is no root to have it.
      roots.RootError: there is no such root.
    """
    if args.data:
        return args.data
    if getattr(args, 'target', None):
        raise ServiceError('--target: give the folder of the service too, with --data')
    return roots.find(args.root) / running.FOLDER


def target(args: argparse.Namespace) -> Path:
    """The push directory, of --target or of the root.

    Raises:
      ServiceError: there is no such directory.
      roots.RootError: there is no such root.
    """
    if args.target is None:
        return RunRoot(roots.find(args.root)).serving
    if not args.target.is_dir():
        raise ServiceError(f'--target {args.target}: no such directory')
    return args.target.resolve()


def address(model_server: str) -> str:
    """HOST:PORT of --model-server; '' if it is not given.

    Raises:
      ServiceError: it has another form.
    """
    match = re.fullmatch(r'(?:grpc://)?([^/@\s]+:\d+)?', model_server)
    if not match:
        raise ServiceError(f'--model-server {model_server}: expected grpc://HOST:PORT')
    return match[1] or ''


def database(args: argparse.Namespace, data: Path) -> str:
    """The URL of the database, from --database or the environment; by default a file in `data`."""
    return args.database or os.environ.get(_DATABASE) or f'sqlite:///{_sqlite_file(data)}'


@contextlib.contextmanager
def open_database(
    args: argparse.Namespace, create: bool = False, readonly: bool = False
) -> Iterator[Session]:
    """A session of the service's database, committed at the end unless it is `readonly`.

    Args:
      args: of a command with --root, --data and --database.
      create: whether a missing SQLite file is made.
      readonly: whether nothing changes; the session then waits for no writer.

    Raises:
      ServiceError: there is no database.
      roots.RootError: there is no such root.
      serving.database.connection.DatabaseError: it cannot be used.
    """
    from sqlalchemy.exc import SQLAlchemyError

    from serving.database import connection

    # A deployment with its database elsewhere has no run root.
    remote = args.database or os.environ.get(_DATABASE)
    data = Path() if remote else data_folder(args)
    url = database(args, data)
    if not remote and not create and not _sqlite_file(data).exists():
        raise ServiceError(
            f'{_sqlite_file(data)}: no such file; `cxr-triage serve` makes it. '
            f'Another one: --data, --database or {_DATABASE}'
        )
    if not remote:
        make_data_folder(data)
    sessions = connection.connect(url)
    engine = sessions.kw['bind']
    try:
        with connection.reading(sessions) if readonly else sessions.begin() as session:
            yield session
    except SQLAlchemyError as error:
        raise connection.failed(engine, error) from None
    finally:
        engine.dispose()


def make_data_folder(data: Path) -> None:
    """Makes the folder of the service, which only its user may read.

    Raises:
      ServiceError: it cannot be made.
    """
    try:
        data.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        reason = 'not a folder' if isinstance(error, FileExistsError) else error.strerror
        raise ServiceError(
            f'{data}: {reason}. Give a folder that can be written to, with --data'
        ) from None


def _sqlite_file(data: Path) -> Path:
    return data / 'gateway.sqlite'
