"""What the tests of this folder share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.environment_runs import Direct


@pytest.fixture(scope='session')
def direct(films: Path, tmp_path_factory: pytest.TempPathFactory) -> Direct:
    """The run that the others are compared with."""
    return Direct(films, tmp_path_factory.mktemp('direct'))
