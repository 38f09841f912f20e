"""Fixtures for the tests of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.environment_runs import Direct


@pytest.fixture(scope='session')
def direct(data_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Direct:
    """The run that the tests compare others with."""
    return Direct(data_root, tmp_path_factory.mktemp('direct'))
