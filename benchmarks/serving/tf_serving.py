"""Runs TF Serving, a program that this project does not install."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

_START_TIMEOUT_S = 120.0


class TFServingError(RuntimeError):
    """TF Serving did not start; the text names its log."""


@contextlib.contextmanager
def running(program: str, config: Path, log: Path) -> Iterator[str]:
    """HOST:PORT of a `tensorflow_model_server` that serves a model config file.

    Raises:
      TFServingError: it ended, or opened no port within two minutes.
    """
    with socket.socket() as listener:
        listener.bind(('127.0.0.1', 0))
        port = listener.getsockname()[1]
    command = [program, f'--port={port}', f'--model_config_file={config}']
    command += ['--allow_version_labels_for_unavailable_models=true', '--grpc_max_threads=64']
    command += ['--file_system_poll_wait_seconds=1', '--load_retry_interval_micros=200000']
    with log.open('ab') as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=stream)
    try:
        _wait_for_port(process, port, log)
        yield f'127.0.0.1:{port}'
    finally:
        process.kill()
        process.wait()


def _wait_for_port(process: subprocess.Popen, port: int, log: Path) -> None:
    """Returns when the port is open, which is when the versions are loaded."""
    deadline = time.monotonic() + _START_TIMEOUT_S
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(('127.0.0.1', port), 1):
            return
        time.sleep(0.05)
    raise TFServingError(f'TF Serving did not start; see {log}')
