"""Where the service of a root runs: once, and other commands find its model server."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

from storage.folder_lock import FolderLock, HeldError

# Below a run root: database, images and logs of its service.
FOLDER = 'service'
# Below the folder of a service: its uploaded files.
IMAGES = 'images'
# What is kept of DICOM headers, beside the images.
ORIGINS = 'origins'
_NAME = 'running.json'
_LOCK, _LOCK_OWNER = '.serve.lock', '.serve.lock-owner'


class TwiceError(RuntimeError):
    """Another process serves the same folder; the text says which."""


@contextlib.contextmanager
def alone(data: Path) -> Iterator[None]:
    """Keeps other processes from serving `data`, a folder with the database in it.

    Raises:
      TwiceError: one does already.
    """
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(FolderLock(str(data / _LOCK), str(data / _LOCK_OWNER)).held())
        except HeldError as error:
            raise TwiceError(
                f'{data}: {error} serves this folder already. '
                'Several gateways need PostgreSQL: --database'
            ) from None
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
