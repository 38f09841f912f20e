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
from collections.abc import Callable
from pathlib import Path

_log = logging.getLogger(__name__)
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 30.0
# A child that lived this long was not broken from the start.
_HEALTHY_S = 60.0


class EmbeddedServerError(RuntimeError):
    """The model server cannot be started; the text has its last lines."""


class EmbeddedServer:
    """A model server on a port of this machine, from `start` until `close`.

    Args:
      config: TF Serving's model config file.
      log: a file for what the server writes.
    """

    def __init__(self, config: Path, log: Path):
        self._config, self._log = config, log
        # The same port after each restart, so that clients find it again.
        self.port = _free_port()
        self._closed = threading.Event()
        self._starting = threading.Lock()
        self._is_serving = False
        self._process: subprocess.Popen | None = None
        self._thread: threading.Thread | None = None
        self._when_started: Callable[[EmbeddedServerError | None], None] = lambda error: None

    def start(self) -> None:
        """Starts it, and returns when it serves.

        Raises:
          EmbeddedServerError: it ended before it served.
          OSError: it cannot be started.
        """
        self._start()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def start_meanwhile(self, when_started: Callable[[EmbeddedServerError | None], None]) -> None:
        """Starts it, and returns at once.

        Args:
          when_started: is called, in another thread, each time that it begins to serve; or once
            with an error, if it ends by itself before it serves the first time.

        Raises:
          OSError: it cannot be started.
        """
        self._when_started = when_started
        self._launch()
        self._thread = threading.Thread(target=self._watch_from_start, daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        """HOST:PORT."""
        return f'127.0.0.1:{self.port}'

    @property
    def pid(self) -> int:
        """The process that serves now."""
        assert self._process is not None
        return self._process.pid

    def close(self) -> None:
        """Stops the server after the requests that are under way, or at once while it starts."""
        with self._starting:
            self._closed.set()
        if self._process is not None:
            if self._is_serving:
                self._process.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(10)
            _kill(self._process)
        if self._thread is not None:
            self._thread.join()

    def _start(self) -> None:
        self._launch()
        self._await_serving()

    def _launch(self) -> None:
        with self._starting:
            if not self._closed.is_set():
                self._is_serving = False
                self._process = self._spawn()

    def _await_serving(self) -> None:
        process = self._process
        assert process is not None and process.stdout is not None
        try:
            self._is_serving = process.stdout.readline().startswith(b'listening on ')
        except BaseException:  # Ctrl-C
            _kill(process)
            raise
        if not self._is_serving:
            status = process.wait()
            raise EmbeddedServerError(
                f'the model server ended with status {status}: {self._last_lines()}'
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

    def _watch_from_start(self) -> None:
        try:
            self._await_serving()
        except EmbeddedServerError as error:
            assert self._process is not None
            # What cannot be served fails again, unlike a server that was killed.
            if self._process.returncode > 0:
                self._when_started(error)
                return
        else:
            self._when_started(None)
        self._watch()

    def _watch(self) -> None:
        pause, started = _FIRST_PAUSE_S, time.monotonic()
        while True:
            assert self._process is not None
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
                    self._when_started(None)
                    break
                except (EmbeddedServerError, OSError) as error:
                    if not self._closed.is_set():
                        _log.error('%s', error)

    def _last_lines(self) -> str:
        lines = self._log.read_text(encoding='utf-8', errors='replace').strip().splitlines()
        return ' | '.join(lines[-3:])


def _kill(process: subprocess.Popen) -> None:
    process.kill()
    process.wait()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(('127.0.0.1', 0))
        return listener.getsockname()[1]
