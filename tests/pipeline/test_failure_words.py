"""What a person is told of an error that ended a run."""

from __future__ import annotations

import errno
import os

import pytest

from pipeline import execute


@pytest.mark.parametrize(
    'error',
    [
        pytest.param(MemoryError(), id='Python'),
        pytest.param(OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)), id='the system'),
        pytest.param(
            RuntimeError("can't start new thread [while running 'WriteReports']"),
            id='a thread, as Beam tells it',
        ),
        pytest.param(RuntimeError('OOM when allocating tensor with shape[8,512]'), id='TensorFlow'),
    ],
)
def test_memory_that_ran_out_is_called_so_with_what_to_do(error: Exception) -> None:
    outer = RuntimeError('the step failed')
    outer.__cause__ = error
    for raised in (error, outer):
        words = execute._explain(raised)
        assert words.startswith('memory ran out: ')
        assert 'ulimit -v unlimited' in words
