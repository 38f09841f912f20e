"""Groups concurrent requests of one signature into batches."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np

Inputs = Mapping[str, np.ndarray]
Outputs = dict[str, np.ndarray]


@dataclass
class _Request:
    inputs: Inputs
    size: int
    answer: Future = field(default_factory=Future)


class Batcher:
    """Runs requests in batches of at most `max_batch` rows.

    A batch takes what waits when the model is free and never waits for more, so that a single
    client pays nothing for batching. A request is never split.

    Args:
      run: inputs by name, each [rows, ...] -> outputs by name, each [rows, ...].
      max_batch: the most rows in a batch; a larger request runs alone.
      threads: how many batches run at the same time.
    """

    def __init__(self, run: Callable[[Inputs], Outputs], max_batch: int = 16, threads: int = 1):
        self._run, self._max_batch = run, max_batch
        self._waiting: queue.SimpleQueue[_Request | None] = queue.SimpleQueue()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def submit(self, inputs: Inputs) -> Future:
        """The outputs of a request, in time."""
        request = _Request(inputs, len(next(iter(inputs.values()))))
        self._waiting.put(request)
        return request.answer

    def close(self) -> None:
        """Ends the threads after the requests that wait already."""
        for _ in self._threads:
            self._waiting.put(None)

    def _work(self) -> None:
        left_over: _Request | None = None
        while True:
            first = left_over or self._waiting.get()
            if first is None:
                return
            batch, left_over, is_last = self._fill(first)
            self._answer(batch)
            if is_last:
                return

    def _fill(self, first: _Request) -> tuple[list[_Request], _Request | None, bool]:
        batch, rows = [first], first.size
        while rows < self._max_batch:
            try:
                request = self._waiting.get_nowait()
            except queue.Empty:
                break
            if request is None:
                return batch, None, True
            if rows + request.size > self._max_batch:
                return batch, request, False
            batch.append(request)
            rows += request.size
        return batch, None, False

    def _answer(self, batch: list[_Request]) -> None:
        try:
            outputs = self._run(_joined(batch))
        except Exception as error:  # noqa: BLE001 - the client of each request gets it
            if len(batch) == 1:
                batch[0].answer.set_exception(error)
                return
            # One bad request must not fail the others.
            for request in batch:
                self._answer([request])
            return
        row = 0
        for request in batch:
            rows = slice(row, row + request.size)
            request.answer.set_result({name: value[rows] for name, value in outputs.items()})
            row += request.size


def _joined(batch: list[_Request]) -> Inputs:
    if len(batch) == 1:
        return batch[0].inputs
    names = batch[0].inputs
    return {name: np.concatenate([request.inputs[name] for request in batch]) for name in names}
