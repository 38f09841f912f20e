"""Reports on the screen that the system ended a run.

A process that is killed, or aborts in native code, cannot report this itself.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator

_ENDED = b'.'


@contextlib.contextmanager
def reported(screen: int, message: str) -> Iterator[None]:
    """Writes `message` to the file descriptor `screen` if this process dies inside the context.

    A small process does this. Enter the context before TensorFlow is imported: the small process is
    a fork of this one and keeps its memory.
    """
    reading, writing = os.pipe()
    try:
        watcher = os.fork()
    except OSError:  # no more processes are allowed; the run goes on without the report
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
        # Also after an exception, which the run reports itself.
        os.write(writing, _ENDED)
        os.close(writing)
        os.waitpid(watcher, 0)


def _watch(reading: int, screen: int, message: str) -> None:
    """Waits for the end of the run; never returns."""
    try:
        # Ctrl-C goes to all processes of the terminal; only the run reacts.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        if os.read(reading, 1) != _ENDED:
            os.write(screen, f'\n{message}\n'.encode())
    finally:
        os._exit(0)
