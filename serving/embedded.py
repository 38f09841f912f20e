"""Starts the embedded model server as a child process, and starts it again when it dies."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

_log = logging.getLogger(__name__)
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 30.0
# A child that lived this long was not broken from the start.
_HEALTHY_S = 60.0


class EmbeddedServerError(RuntimeError):
    """The model server cannot be started; the text has its last lines."""


class EmbeddedServer:
    """A model server on a port of this machine, until `close`.

    Args:
      config: TF Serving's model config file.
      log: a file for what the server writes.

    Raises:
      EmbeddedServerError: it ended before it served.
    """

    def __init__(self, config: Path, log: Path):
        self._config, self._log = config, log
        # The same port after each restart, so that clients find it again.
        self.port = _free_port()
        self._closed = threading.Event()
        self._starting = threading.Lock()
        self._is_serving = False
        self._start()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        """HOST:PORT."""
        return f'127.0.0.1:{self.port}'

    @property
    def pid(self) -> int:
        """The process that serves now."""
        return self._process.pid

    def close(self) -> None:
        """Stops the server after the requests that are under way, or at once while it starts."""
        with self._starting:
            self._closed.set()
        if self._is_serving:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(10)
        self._kill()
        self._thread.join()

    def _kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def _start(self) -> None:
        with self._starting:
            if self._closed.is_set():
                return
            self._is_serving = False
            self._process = self._spawn()
        assert self._process.stdout is not None
        try:
            self._is_serving = self._process.stdout.readline().startswith(b'listening on ')
        except BaseException:  # Ctrl-C
            self._kill()
            raise
        if not self._is_serving:
            self._process.wait()
            raise EmbeddedServerError(
                f'the model server ended with status {self._process.returncode}: '
                f'{self._last_lines()}'
            )

    def _spawn(self) -> subprocess.Popen:
        command = [sys.executable, '-m', 'serving.model_server', '--config', str(self._config)]
        command += ['--port', str(self.port), '--parent', str(os.getpid())]
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open('ab') as log:
            return subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=log,
                env={
                    **os.environ,
                    'TF_CPP_MIN_LOG_LEVEL': os.environ.get('TF_CPP_MIN_LOG_LEVEL', '2'),
                },
                # Ctrl-C reaches this process alone, which ends the child after the last request.
                start_new_session=True,
            )

    def _watch(self) -> None:
        pause, started = _FIRST_PAUSE_S, time.monotonic()
        while True:
            status = self._process.wait()
            if self._closed.is_set():
                return
            if time.monotonic() - started > _HEALTHY_S:
                pause = _FIRST_PAUSE_S
            _log.error('the model server ended with status %d; starting it again', status)
            while not self._closed.wait(pause):
                pause, started = min(2 * pause, _LONGEST_PAUSE_S), time.monotonic()
                try:
                    self._start()
                    break
                except (EmbeddedServerError, OSError) as error:
                    if not self._closed.is_set():
                        _log.error('%s', error)

    def _last_lines(self) -> str:
        lines = self._log.read_text(encoding='utf-8', errors='replace').strip().splitlines()
        return ' | '.join(lines[-3:])


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(('127.0.0.1', 0))
        return listener.getsockname()[1]
