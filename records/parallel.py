"""Spreads work over processes. Results come in the order of the work, a few at a time."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from typing import TypeVar

Work = TypeVar('Work')
Result = TypeVar('Result')

# Work ahead per worker: enough that no worker waits for a slow one, few enough that results do not
# pile up behind it.
_AHEAD = 4


def default_workers() -> int:
    """The number of cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


def ordered_map(
    function: Callable[[Work], Result], work: Iterable[Work], workers: int
) -> Iterator[Result]:
    """Yields `function` of each item of `work`, in order. One worker means this process.

    `function` must be importable; `function`, work and results must be picklable. Processes are
    spawned, not forked, because the caller may have threads (TensorFlow, a progress bar).

    Raises:
      BrokenProcessPool: a process was killed, for example because memory ran out.
    """
    if workers <= 1:
        yield from map(function, work)
        return
    with ProcessPoolExecutor(
        workers, mp_context=get_context('spawn'), initializer=_end_with_parent
    ) as pool:
        waiting: deque[Future[Result]] = deque()
        try:
            for item in work:
                waiting.append(pool.submit(function, item))
                if len(waiting) >= _AHEAD * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _end_with_parent() -> None:
    """Ends this worker when its parent is gone. Workers of a killed parent would wait forever."""
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
