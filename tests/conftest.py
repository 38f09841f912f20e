"""What all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Before anything imports TensorFlow: its start-up messages would bury a failure.
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
os.environ.setdefault('CUDA_VISIBLE_DEVICES', '')

_REAL_DATA = Path(__file__).resolve().parents[2] / 'shared' / 'data'


@pytest.fixture(scope='session')
def real_data() -> Path:
    """The folder with real NIH X-rays in the real record format; the test is skipped where it is not there."""
    if not _REAL_DATA.is_dir():
        pytest.skip(f'real X-rays are not at {_REAL_DATA}')
    return _REAL_DATA
