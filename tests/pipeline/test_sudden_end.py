"""A sudden end of a run is reported on the screen; a normal end is not."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

_MESSAGE = 'ended by the system; see /runs/x.log'
_RUN = (
    'import os, signal, sys\nfrom pipeline import sudden_end\nwith sudden_end.reported(2, '
    '{message!r}):\n    {code}\n'
)


def _run(code: str) -> tuple[int, str]:
    """Runs Python code and returns its exit code and its output, with that of the watcher."""
    command = [sys.executable, '-c', _RUN.format(message=_MESSAGE, code=code)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return result.returncode, result.stderr


@pytest.mark.parametrize(
    ('code', 'exit_code'),
    [
        pytest.param('os.abort()', -signal.SIGABRT, id='native code aborts'),
        pytest.param(
            'os.kill(os.getpid(), signal.SIGKILL)',
            -signal.SIGKILL,
            id='killed, as when memory runs out',
        ),
        pytest.param('os.kill(os.getpid(), signal.SIGTERM)', -signal.SIGTERM, id='terminated'),
        pytest.param('os._exit(7)', 7, id='a library ends it'),
    ],
)
def test_a_sudden_end_is_reported(code: str, exit_code: int) -> None:
    assert _run(code) == (exit_code, f'\n{_MESSAGE}\n')


@pytest.mark.parametrize(
    ('code', 'exit_code'),
    [
        pytest.param('pass', 0, id='end of the code'),
        pytest.param('sys.exit(3)', 3, id='with an exit code'),
    ],
)
def test_a_normal_end_is_not_reported(code: str, exit_code: int) -> None:
    assert _run(code) == (exit_code, '')
