"""A PostgreSQL server for tests; without one, they are skipped, or fail where it is required."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import pytest

from benchmarks.serving import postgresql
from benchmarks.serving.postgresql import Server

__all__ = ['Server', 'running']


@contextlib.contextmanager
def running() -> Iterator[Server]:
    """A server, stopped at the end."""
    try:
        postgresql.programs()
    except postgresql.MissingError as error:
        if os.environ.get('CXR_REQUIRE_POSTGRESQL'):
            pytest.fail(str(error))
        pytest.skip(str(error))
    # The tests kill servers, but not the machine, so nothing has to be on the disk.
    with postgresql.running('-c fsync=off') as server:
        yield server
