"""Parallel work: in order, bounded, with its errors, and without leftover processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import psutil
import pytest

from records import parallel
from records.parallel import ordered_map

REPO = Path(parallel.__file__).parents[1]


def slow_first(number: int) -> int:
    time.sleep(0.3 if number == 0 else 0)
    return number * number


def fail_at_3(number: int) -> int:
    if number == 3:
        raise ValueError('three')
    return number


def die(_: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize('workers', [1, 3])
def test_results_come_in_the_order_of_the_work(workers: int) -> None:
    assert list(ordered_map(slow_first, range(30), workers)) == [
        number * number for number in range(30)
    ]


@pytest.mark.parametrize('workers', [1, 2])
def test_no_work(workers: int) -> None:
    assert list(ordered_map(slow_first, [], workers)) == []


@pytest.mark.parametrize('workers', [1, 2])
def test_an_error_comes_through_behind_the_results_before_it(workers: int) -> None:
    results = ordered_map(fail_at_3, range(10), workers)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match='three'):
        next(results)


def test_work_starts_only_as_results_are_fetched() -> None:
    started = []

    def work() -> Iterator[int]:
        for number in range(1000):
            started.append(number)
            yield number

    results = ordered_map(slow_first, work(), 2)
    next(results)
    assert len(started) <= 10
    results.close()  # type: ignore[attr-defined]


def test_a_killed_worker_is_an_error_not_a_wait() -> None:
    with pytest.raises(BrokenProcessPool):
        list(ordered_map(die, range(2), 2))


def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    script = tmp_path / 'main.py'
    lines = (
        'import time',
        'from records.parallel import ordered_map',
        'if __name__ == "__main__":',
        '    list(ordered_map(time.sleep, [60] * 4, 2))',
    )
    script.write_text('\n'.join(lines))
    parent = subprocess.Popen([sys.executable, script], env={**os.environ, 'PYTHONPATH': str(REPO)})
    deadline = time.monotonic() + 60
    workers: list[psutil.Process] = []
    while len(workers) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
        workers = [
            child
            for child in psutil.Process(parent.pid).children()
            if 'spawn_main' in ' '.join(child.cmdline())
        ]
    assert len(workers) == 2
    time.sleep(2)
    parent.kill()
    parent.wait()
    _, alive = psutil.wait_procs(workers, timeout=30)
    assert not alive
