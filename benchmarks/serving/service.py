"""Runs `cxr-triage serve` as its users do, and looks at its processes from outside."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil

from benchmarks.serving.client import Client
from serving import running, tokens
from serving.database import connection

_START_TIMEOUT_S = 120.0


class ServiceError(RuntimeError):
    """The service did not start; the text has the end of its log."""


class Service:
    """A gateway and its model server, until `close`.

    Args:
      root: a run root, of which only the push directory is read.
      data: the folder of the service, made if it is missing.
      arguments: more arguments of `cxr-triage serve`.

    Raises:
      ServiceError: it does not start.
    """

    def __init__(self, root: Path, data: Path, arguments: Sequence[str] = ()):
        self.root, self.data, self._arguments = root, data, list(arguments)
        self.port = 0
        self._process: subprocess.Popen | None = None
        self.log = data / 'gateway.log'
        data.mkdir(parents=True, exist_ok=True)
        self.start()
        if '--model-server' not in arguments:
            self._await_model()

    @property
    def url(self) -> str:
        """The address of the gateway."""
        return f'http://127.0.0.1:{self.port}'

    @property
    def pid(self) -> int:
        """The gateway's process."""
        assert self._process is not None
        return self._process.pid

    @property
    def model_server(self) -> str:
        """HOST:PORT of the model server."""
        return running.model_server(self.data)

    @property
    def model_server_pid(self) -> int:
        """The embedded model server's process; 0 while there is none."""
        for child in psutil.Process(self.pid).children():
            # Beside it, a gateway can have a decoder of DICOM images.
            if 'serving.model_server' in child.cmdline():
                return child.pid
        return 0

    @property
    def is_running(self) -> bool:
        """Whether the gateway's process is alive."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Starts it, after the first time on the same port; it may still load the model then.

        Raises:
          ServiceError: it does not start.
        """
        command = [sys.executable, '-m', 'cxr_triage', 'serve', '--root', str(self.root)]
        command += ['--data', str(self.data), '--port', str(self.port), *self._arguments]
        with self.log.open('ab') as log:
            self._process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=log, stdin=subprocess.DEVNULL
            )
        assert self._process.stdout is not None
        line = self._process.stdout.readline().decode()
        if not line.startswith('http://'):
            self._process.wait(_START_TIMEOUT_S)
            log_end = self.log.read_text(errors='replace')[-2000:]
            raise ServiceError(f'cxr-triage serve did not start:\n{log_end}')
        self.port = int(line.split('/')[2].rsplit(':', 1)[1])

    def _await_model(self) -> None:
        client, deadline = self.client(), time.monotonic() + _START_TIMEOUT_S
        while client.request('GET', '/readyz').json()['model_server'] != 'ok':
            if time.monotonic() > deadline:
                raise ServiceError(f'no version is available after {_START_TIMEOUT_S:g} s')
            time.sleep(0.1)
        client.close()

    def kill(self) -> None:
        """Kills the gateway, as `kill -9` does; its model server ends with it."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def peak_bytes(self) -> int:
        """The most memory that the gateway's process had so far."""
        for line in Path(f'/proc/{self.pid}/status').read_text().splitlines():
            if line.startswith('VmHWM:'):
                return int(line.split()[1]) * 1024
        return 0

    def client(self, token: str = '', timeout_s: float = 60.0) -> Client:
        """A new connection."""
        return Client(self.url, token, timeout_s)

    def close(self) -> None:
        """Ends it as Ctrl-C does."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


@contextlib.contextmanager
def serving(root: Path, data: Path, *arguments: str) -> Iterator[Service]:
    """A service, closed at the end."""
    service = Service(root, data, arguments)
    try:
        yield service
    finally:
        service.close()


def new_folder(path: Path) -> Path:
    """An empty folder, without what an earlier benchmark left there."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    return path


def create_tokens(data: Path, count: int, database: str = '') -> list[str]:
    """The secrets of new tokens that may upload and read; each has its own rate limit."""
    data.mkdir(parents=True, exist_ok=True)
    sessions = connection.connect(database or connection.sqlite_url(data / 'gateway.sqlite'))
    try:
        with sessions() as session, session.begin():
            return [
                tokens.create(session, f'benchmark-{n}', [tokens.UPLOAD, tokens.READ], 'benchmark')
                for n in range(count)
            ]
    finally:
        sessions.kw['bind'].dispose()
