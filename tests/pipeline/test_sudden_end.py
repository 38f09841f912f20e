"""A run that the system ends is told of on the screen; one that ends by itself tells of itself."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

_MESSAGE = 'ended by the system; see /runs/x.log'
_RUN = (
    'import os, signal, sys\nfrom pipeline import sudden_end\nwith sudden_end.reported(2, '
    '{message!r}):\n    {work}\n'
)


def _run(work: str) -> tuple[int, str]:
    """Exit code and screen of a run that does `work`; the screen is complete when the watcher is
    gone too.
    """
    command = [sys.executable, '-c', _RUN.format(message=_MESSAGE, work=work)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ('work', 'code'),
    [
        pytest.param('os.abort()', -signal.SIGABRT, id='native code aborts'),
        pytest.param(
            'os.kill(os.getpid(), signal.SIGKILL)',
            -signal.SIGKILL,
            id='killed, as when memory runs out',
        ),
        pytest.param('os.kill(os.getpid(), signal.SIGTERM)', -signal.SIGTERM, id='asked to end'),
        pytest.param('os._exit(7)', 7, id='a library ends it'),
    ],
)
def test_a_sudden_end_is_told(work: str, code: int) -> None:
    found, screen = _run(work)
    assert found == code
    assert screen == f'\n{_MESSAGE}\n'


@pytest.mark.parametrize(
    ('work', 'code'),
    [
        pytest.param('pass', 0, id='to its end'),
        pytest.param('sys.exit(3)', 3, id='with an exit code'),
    ],
)
def test_a_run_that_ends_by_itself_is_not_told_of(work: str, code: int) -> None:
    assert _run(work) == (code, '')
