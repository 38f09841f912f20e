"""Remembers Ctrl-C, so that it ends a run even if a library swallows the exception."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType


@contextlib.contextmanager
def remembered() -> Iterator[Callable[[], None]]:
    """Yields a function that raises KeyboardInterrupt if Ctrl-C was pressed in this context.

    Python raises KeyboardInterrupt wherever the main thread happens to be. In a destructor or a
    callback of native code, it prints and drops the exception.
    """
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield lambda: None  # Ctrl-C is ignored, or whoever called this handles it
        return
    is_pressed = False

    def remember(number: int, frame: FrameType | None) -> None:
        nonlocal is_pressed
        is_pressed = True
        signal.default_int_handler(number, frame)

    def raise_if_pressed() -> None:
        if is_pressed:
            raise KeyboardInterrupt

    try:
        signal.signal(signal.SIGINT, remember)
    except ValueError:  # not the main thread, which alone gets signals
        yield lambda: None
        return
    try:
        yield raise_if_pressed
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
