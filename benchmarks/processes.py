"""Runs a command, and measures its time and memory."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

_INTERVAL_S = 0.1


@dataclass(frozen=True)
class Usage:
    """The time and memory that a command used.

    Attributes:
      exit_code: of the command.
      seconds: wall clock.
      cpu_seconds: of all its processes, as of the last sample of each.
      peak_bytes: the largest resident set of any of its processes.
      resident: samples of the time, in seconds since 1970, and the bytes of the largest process.
    """

    exit_code: int
    seconds: float
    cpu_seconds: float
    peak_bytes: int
    resident: tuple[tuple[float, int], ...]

    def peak_between(self, start: float, end: float) -> int:
        """The largest process in a period, in bytes; 0 if there is no sample in it."""
        return max(
            (size for timestamp, size in self.resident if start <= timestamp <= end), default=0
        )


def watch(command: Sequence[str], log: Path) -> Usage:
    """Runs a command, and writes its output to `log`.

    The peak of a process is the kernel's figure (VmHWM), which is read ten times a second. Shorter
    processes can be missed.
    """
    start = time.monotonic()
    peak = 0
    resident = []
    cpu: dict[int, float] = {}
    with log.open('wb') as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
        )
        root = psutil.Process(process.pid)
        try:
            while process.poll() is None:
                largest = 0
                for member in _with_children(root):
                    memory = _memory(member.pid)
                    peak, largest = max(peak, memory['VmHWM']), max(largest, memory['VmRSS'])
                    cpu[member.pid] = max(cpu.get(member.pid, 0.0), _cpu(member))
                resident.append((time.time(), largest))
                time.sleep(_INTERVAL_S)
        finally:
            if process.poll() is None:
                for member in _with_children(root):
                    member.kill()
                process.wait()
    return Usage(
        process.returncode, time.monotonic() - start, sum(cpu.values()), peak, tuple(resident)
    )


def _with_children(root: psutil.Process) -> list[psutil.Process]:
    try:
        return [root, *root.children(recursive=True)]
    except psutil.Error:
        return []


def _memory(pid: int) -> dict[str, int]:
    """VmRSS and VmHWM in bytes; 0 for a process that has ended."""
    sizes = {'VmRSS': 0, 'VmHWM': 0}
    try:
        status = Path(f'/proc/{pid}/status').read_text(encoding='ascii', errors='replace')
    except OSError:
        return sizes
    for line in status.splitlines():
        name, _, value = line.partition(':')
        if name in sizes:
            sizes[name] = int(value.split()[0]) * 1024
    return sizes


def _cpu(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.Error:
        return 0.0
    return times.user + times.system
