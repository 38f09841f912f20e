"""Lets coroutines wait until a study is answered."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator


class Announcements:
    """Events by id, which any thread may announce to the coroutines that expect them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._expected: dict[str, set[tuple[asyncio.AbstractEventLoop, asyncio.Event]]]
        self._expected = defaultdict(set)

    @contextlib.contextmanager
    def expected(self, id: str) -> Iterator[asyncio.Event]:
        """An event that is set when `id` is announced while the context is open."""
        entry = (asyncio.get_running_loop(), asyncio.Event())
        with self._lock:
            self._expected[id].add(entry)
        try:
            yield entry[1]
        finally:
            with self._lock:
                self._expected[id].discard(entry)
                if not self._expected[id]:
                    del self._expected[id]

    def announce(self, ids: Iterable[str]) -> None:
        """Sets the events of some ids."""
        with self._lock:
            entries = [entry for id in ids for entry in self._expected.get(id, ())]
        for loop, event in entries:
            with contextlib.suppress(RuntimeError):  # a loop that has ended has nobody who waits
                loop.call_soon_threadsafe(event.set)
