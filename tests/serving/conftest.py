"""Databases and a gateway for the tests of the service."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.orm import Session, sessionmaker

from serving.database import connection
from tests.support import gateways, postgresql

_KINDS = ('sqlite', 'postgresql')
_NUMBERS = itertools.count(1)


@pytest.fixture(scope='session')
def postgresql_server() -> Iterator[postgresql.Server]:
    """A PostgreSQL server for all tests of this process."""
    with postgresql.running() as server:
        yield server


def _new_database(request: pytest.FixtureRequest, folder: Path) -> str:
    """The URL of an empty database of the kind that is the parameter of a fixture."""
    if request.param == 'sqlite':
        return connection.sqlite_url(folder / 'gateway.sqlite')
    server = request.getfixturevalue('postgresql_server')
    return server.url(f'test{next(_NUMBERS)}')


@pytest.fixture(params=_KINDS)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind."""
    return _new_database(request, tmp_path)


@pytest.fixture
def sessions(database_url: str) -> Iterator[sessionmaker[Session]]:
    """Sessions of a database whose tables are made."""
    made = connection.connect(database_url)
    yield made
    made.kw['bind'].dispose()


@pytest.fixture(scope='module', params=_KINDS)
def shared_sessions(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[sessionmaker[Session]]:
    """Sessions of a database that the tests of a module read."""
    made = connection.connect(_new_database(request, tmp_path_factory.mktemp('shared')))
    yield made
    made.kw['bind'].dispose()


@pytest.fixture(scope='session')
def pushed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A push directory with versions 1 (stable) and 2 (canary) of a small model; to read."""
    folder = tmp_path_factory.mktemp('pushed') / 'serving'
    gateways.push_tiny_models(folder)
    return folder
