"""Where the service of a root runs: once, and other commands find its model server."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path

# Below a run root: database, images and logs of its service.
FOLDER = 'service'
_NAME = 'running.json'
_LOCK = '.serve.lock'


class TwiceError(RuntimeError):
    """Another process serves the same folder; the text says which."""


@contextlib.contextmanager
def alone(data: Path) -> Iterator[None]:
    """Keeps other processes from serving `data`, a folder with the database in it.

    Raises:
      TwiceError: one does already.
    """
    with (data / _LOCK).open('a+') as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.seek(0)
            raise TwiceError(
                f'{data}: process {stream.read()} serves this folder already. '
                'Several gateways need PostgreSQL: --database'
            ) from None
        stream.truncate(0)
        stream.write(str(os.getpid()))
        stream.flush()
        yield


@contextlib.contextmanager
def recorded(data: Path, model_server: str) -> Iterator[None]:
    """Has `model_server` find a model server (HOST:PORT) while the context is open."""
    path = data / _NAME
    path.write_text(json.dumps({'pid': os.getpid(), 'model_server': model_server}))
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def model_server(data: Path) -> str:
    """HOST:PORT of the model server of a service that runs on this machine; '' if none does."""
    try:
        content = json.loads((data / _NAME).read_text())
        os.kill(content['pid'], 0)
        return content['model_server']
    except (OSError, ValueError, KeyError, TypeError):
        return ''
