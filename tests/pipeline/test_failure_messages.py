"""The message of an error that ended a run."""

from __future__ import annotations

import errno
import os

import pytest

from pipeline import execute


@pytest.mark.parametrize(
    'error',
    [
        pytest.param(MemoryError(), id='Python'),
        pytest.param(OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)), id='operating system'),
        pytest.param(
            RuntimeError("can't start new thread [while running 'WriteReports']"),
            id='a thread in Beam',
        ),
        pytest.param(RuntimeError('OOM when allocating tensor with shape[8,512]'), id='TensorFlow'),
    ],
)
def test_exhausted_memory_is_reported_with_a_remedy(error: Exception) -> None:
    outer = RuntimeError('the step failed')
    outer.__cause__ = error
    for exception in (error, outer):
        message = execute._explain(exception)
        assert message.startswith('memory ran out: ')
        assert 'ulimit -v unlimited' in message
