"""Work spread over processes, with results in the order of the work and a bounded number of them in
memory.
"""

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

# Enough that no worker waits for the one that is slow, few enough that results do not pile up
# behind it.
_AHEAD = 4


def default_workers() -> int:
    """The number of cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


def ordered_map(
    function: Callable[[Work], Result], work: Iterable[Work], workers: int
) -> Iterator[Result]:
    """Yields `function` of each piece of `work`, in its order; with one worker in this very
    process.

    `function` must be importable, and it, work and results must be picklable. Processes are started
    afresh, not forked, as the caller may have threads (TensorFlow's, a progress bar's).

    Raises:
      BrokenProcessPool: a process was killed, as happens when memory runs out.
    """
    if workers <= 1:
        yield from map(function, work)
        return
    with ProcessPoolExecutor(
        workers, mp_context=get_context('spawn'), initializer=_end_with_parent
    ) as pool:
        waiting: deque[Future[Result]] = deque()
        try:
            for piece in work:
                waiting.append(pool.submit(function, piece))
                if len(waiting) >= _AHEAD * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _end_with_parent() -> None:
    """Ends this worker when its parent is gone: a parent that is killed cannot tell its workers,
    and they would wait for ever.
    """
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
