"""Starts the session probe in a process of its own, bounded in time and memory. No TensorFlow
here.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil

from components.serving_check import session_probe
from components.serving_check.parameters import ServingCheckParameters

_POLL_S = 0.1
_STDERR_LINES = 15
_ROOT = str(Path(__file__).resolve().parents[2])
# The model is to be judged as it stands: no switch of this process reaches the probe, but what
# finding libraries and files takes.
_KEPT = ('PATH', 'HOME', 'LANG', 'LC_ALL', 'TMPDIR', 'LD_LIBRARY_PATH', 'SYSTEMROOT', 'TZ')


class ProbeError(RuntimeError):
    """The probe did not get as far as the model: something is wrong with the installation or the
    machine, not with the model.
    """


def run(folder: str, parameters: ServingCheckParameters) -> dict[str, Any]:
    """Runs the probe on a prepared folder and gives its result: `checks`, `latency`, `samples`,
    `tensorflow`.

    A model that crashes the process, takes too long or too much memory fails the check that was
    running.

    Raises:
      ProbeError: the process could not be started, or died before it began to load the model.
    """
    stderr_path = os.path.join(folder, 'stderr')
    with open(stderr_path, 'wb') as stderr:
        try:
            process = subprocess.Popen(
                [sys.executable, '-m', session_probe.__name__, folder, str(os.getpid())],
                env=_environment(),
                cwd=_ROOT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
            )
        except OSError as error:
            raise ProbeError(
                f'the session probe cannot be started: {error}; check the Python installation '
                f'{sys.executable}'
            ) from error
        end = _wait(process, parameters)
    result_path = os.path.join(folder, session_probe.RESULT)
    if not end and process.returncode == 0 and os.path.exists(result_path):
        with open(result_path, encoding='utf-8') as stream:
            return json.load(stream)
    end = end or _cause(process.returncode)
    with open(stderr_path, encoding='utf-8', errors='replace') as stream:
        last_words = '\n'.join(stream.read().strip().splitlines()[-_STDERR_LINES:])
    stage_path = os.path.join(folder, session_probe.STAGE)
    if not os.path.exists(stage_path):
        raise ProbeError(
            f'the session probe {end} before it came to the model. Its last words:\n{last_words}'
        )
    with open(stage_path, encoding='utf-8') as stream:
        stage = stream.read()
    reason = f'the process {end}. Its last words: {last_words or "none"}'
    return {'checks': [{'name': stage, 'passed': False, 'reasons': [reason]}], 'latency': {}}


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    # A CPU is what every machine has, and a GPU may be in use by this very process.
    return {**kept, 'PYTHONPATH': _ROOT, 'CUDA_VISIBLE_DEVICES': '', 'TF_CPP_MIN_LOG_LEVEL': '1'}


def _wait(process: subprocess.Popen, parameters: ServingCheckParameters) -> str:
    """Waits for the end of the process; kills it at a limit and says which one; '' when it ended by
    itself.
    """
    deadline = time.monotonic() + parameters.timeout_s
    watched = psutil.Process(process.pid)
    try:
        while process.poll() is None:
            if time.monotonic() > deadline:
                return f'was ended after {parameters.timeout_s:g} s (timeout_s)'
            used = _resident_gb(watched)
            if used > parameters.memory_gb:
                return (
                    f'was ended at {used:.2f} GiB of memory (memory_gb is {parameters.memory_gb:g})'
                )
            time.sleep(_POLL_S)
        return ''
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def _resident_gb(process: psutil.Process) -> float:
    try:
        return process.memory_info().rss / 2**30
    except psutil.Error:
        return 0.0


def _cause(returncode: int) -> str:
    if returncode == 0:
        return 'ended without a result'
    if returncode < 0:
        return f'died of {signal.Signals(-returncode).name}'
    return f'died of exit code {returncode}'
