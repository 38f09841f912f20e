"""Runs a PostgreSQL server from the programs of the system, to measure, stop and start it."""

from __future__ import annotations

import argparse
import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path


class MissingError(RuntimeError):
    """PostgreSQL is not installed; the text says what to install."""


def programs() -> Path:
    """The folder of the programs of the newest PostgreSQL.

    Raises:
      MissingError: PostgreSQL is not installed.
    """
    folders = sorted(Path('/usr/lib/postgresql').glob('*/bin'))
    if not folders:
        raise MissingError('needs PostgreSQL (Debian: the package postgresql)')
    return folders[-1]


class Server:
    """A server that listens on a socket in its folder alone, as a user that is not root."""

    def __init__(self, folder: Path, options: str = ''):
        self.programs, self.folder, self._options = programs(), folder, options
        self._user = 'postgres' if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name
        if os.getuid() == 0:
            shutil.chown(folder, 'postgres')
        self._run('initdb', '-D', str(folder / 'data'), '-U', 'cxr', '-A', 'trust', '--no-sync')
        self.start()

    def url(self, database: str) -> str:
        """The URL of a database, which is made."""
        self._run('createdb', '-h', str(self.folder), '-U', 'cxr', database)
        return f'postgresql://cxr@/{database}?host={self.folder}'

    def start(self) -> None:
        """Starts the server."""
        options = f"-k {self.folder} -c listen_addresses='' {self._options}"
        log = str(self.folder / 'log')
        self._run(
            'pg_ctl', '-D', str(self.folder / 'data'), '-w', '-l', log, '-o', options, 'start'
        )

    def stop(self) -> None:
        """Stops the server at once, as a crash would."""
        self._run('pg_ctl', '-D', str(self.folder / 'data'), '-m', 'immediate', 'stop')

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self.programs / program), *arguments]
        if os.getuid() == 0:
            command = ['runuser', '-u', self._user, '--', *command]
        with tempfile.TemporaryFile() as output:
            done = subprocess.run(
                command, stdout=output, stderr=output, cwd=self.folder, check=False
            )
            if done.returncode:
                output.seek(0)
                raise RuntimeError(f'{program}: {output.read().decode(errors="replace")}')


@contextlib.contextmanager
def running(options: str = '') -> Iterator[Server]:
    """A server in a short path: a socket's name has at most 107 bytes.

    Args:
      options: of the server, e.g. '-c fsync=off'.

    Raises:
      MissingError: PostgreSQL is not installed.
    """
    programs()
    folder = Path(tempfile.mkdtemp(prefix='cxr-pg-'))
    folder.chmod(0o755)
    server = Server(folder, options)
    try:
        yield server
    finally:
        with contextlib.suppress(RuntimeError):
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def add_argument(parser: argparse.ArgumentParser) -> None:
    """Adds --postgresql."""
    parser.add_argument(
        '--postgresql', action='store_true', help='on a PostgreSQL server of its own, not on SQLite'
    )


@contextlib.contextmanager
def database(is_wanted: bool) -> Iterator[str]:
    """The URL of an empty database of a new server; '' for SQLite.

    Raises:
      SystemExit: PostgreSQL is not installed.
    """
    if not is_wanted:
        yield ''
        return
    try:
        programs()
    except MissingError as error:
        raise SystemExit(str(error)) from None
    with running() as server:
        yield server.url('gateway')


def name(url: str) -> str:
    """The kind of database that a URL of `database` means."""
    return 'PostgreSQL' if url else 'SQLite'
