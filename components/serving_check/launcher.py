"""Starts the session probe in another process, with limits on time and memory.

This module does not import TensorFlow.
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
# The probe gets only the environment variables that it needs to find files and libraries, so that
# no setting of this process changes how the model behaves.
_ENVIRONMENT = ('PATH', 'HOME', 'LANG', 'LC_ALL', 'TMPDIR', 'LD_LIBRARY_PATH', 'SYSTEMROOT', 'TZ')


class ProbeError(RuntimeError):
    """The probe failed before it loaded the model: the installation or the machine is broken."""


def run(folder: str, parameters: ServingCheckParameters) -> dict[str, Any]:
    """Runs the probe.

    A model that crashes the process or exceeds a limit fails the check that was running.

    Args:
      folder: prepared as `session_probe` describes.
      parameters: with the limits `timeout_s` and `memory_gb`.

    Returns:
      The content of the probe's `result.json`. If the probe did not finish, `checks` has the one
      that failed, and `latency` is empty.

    Raises:
      ProbeError: the process could not be started, or ended before it began to load the model.
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
        last_output = '\n'.join(stream.read().strip().splitlines()[-_STDERR_LINES:])
    stage_path = os.path.join(folder, session_probe.STAGE)
    if not os.path.exists(stage_path):
        raise ProbeError(
            f'the session probe {end} before it loaded the model. Its last output:\n{last_output}'
        )
    with open(stage_path, encoding='utf-8') as stream:
        stage = stream.read()
    reason = f'the process {end}. Its last output: {last_output or "none"}'
    return {'checks': [{'name': stage, 'passed': False, 'reasons': [reason]}], 'latency': {}}


def _environment() -> dict[str, str]:
    inherited = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    return {
        **inherited,
        'PYTHONPATH': _ROOT,
        # Every machine has a CPU, and this process may be using the GPU.
        'CUDA_VISIBLE_DEVICES': '',
        'TF_CPP_MIN_LOG_LEVEL': '1',
    }


def _wait(process: subprocess.Popen, parameters: ServingCheckParameters) -> str:
    """Waits until the process ends, and kills it at a limit.

    Returns:
      The limit at which it was killed; '' if none.
    """
    deadline = time.monotonic() + parameters.timeout_s
    probe = psutil.Process(process.pid)
    try:
        while process.poll() is None:
            if time.monotonic() > deadline:
                return f'was killed after {parameters.timeout_s:g} s (timeout_s)'
            used = _resident_gb(probe)
            if used > parameters.memory_gb:
                return (
                    f'was killed at {used:.2f} GiB of memory '
                    f'(memory_gb is {parameters.memory_gb:g})'
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
        return f'was killed by {signal.Signals(-returncode).name}'
    return f'ended with exit code {returncode}'
