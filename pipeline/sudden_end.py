"""Says on the screen that a run was ended by the system: native code that aborts, or a kill, cannot
say it.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator

_ENDED = b'.'


@contextlib.contextmanager
def told(screen: int, message: str) -> Iterator[None]:
    """Has a small process write `message` to the file descriptor `screen` if this process dies
    inside the context.

    Enter it before TensorFlow is imported: the process is a fork of this one and keeps its memory.
    """
    reading, writing = os.pipe()
    try:
        watcher = os.fork()
    except OSError:  # no more processes are allowed: the run itself still is
        os.close(reading)
        os.close(writing)
        yield
        return
    if watcher == 0:
        os.close(writing)
        _watch(reading, screen, message)
    os.close(reading)
    try:
        yield
    finally:
        # Also after an exception, which the run tells of by itself.
        os.write(writing, _ENDED)
        os.close(writing)
        os.waitpid(watcher, 0)


def _watch(reading: int, screen: int, message: str) -> None:
    """Waits for the end of the run; never returns."""
    try:
        # Ctrl-C goes to all processes of the terminal, and the run answers it.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        if os.read(reading, 1) != _ENDED:
            os.write(screen, f'\n{message}\n'.encode())
    finally:
        os._exit(0)
