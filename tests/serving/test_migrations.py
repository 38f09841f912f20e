"""Migrations: the command of a deployment, and gateways that start at the same time."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import inspect, text

from serving.database import connection, migrate
from serving.database.tables import Base


def test_the_command_makes_the_tables(
    database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv('CXR_DATABASE', database_url)
    for _ in range(2):
        assert migrate.main() == 0
        assert capsys.readouterr().out.startswith('The tables are at revision 0')
    sessions = connection.connect(database_url)
    with sessions() as session:
        names = inspect(session.connection()).get_table_names()
    sessions.kw['bind'].dispose()
    assert set(Base.metadata.tables) <= set(names)


def test_a_database_of_a_newer_release_is_left_alone(
    database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sessions = connection.connect(database_url)
    with sessions.begin() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    monkeypatch.setenv('CXR_DATABASE', database_url)
    assert migrate.main() == 1
    assert 'Is it of a newer release?' in capsys.readouterr().err
    with connection.reading(sessions) as session:
        assert connection.revision(session) == '9999'
    sessions.kw['bind'].dispose()


def test_a_database_that_does_not_answer_is_named_without_its_password() -> None:
    environment = {'CXR_DATABASE': 'postgresql://cxr:hunter2@127.0.0.1:1/cxr'}
    result = subprocess.run(
        [sys.executable, '-m', 'serving.database.migrate'],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert result.stderr.startswith('postgresql+psycopg://cxr:***@127.0.0.1:1/cxr: ')
    assert 'hunter2' not in result.stderr
    assert 'Traceback' not in result.stderr


def test_without_a_database_the_command_says_what_to_set(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv('CXR_DATABASE', raising=False)
    assert migrate.main() == 1
    assert capsys.readouterr().err.startswith('CXR_DATABASE is not set')


def test_gateways_that_start_at_the_same_time_make_the_tables_once(database_url: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        for sessions in pool.map(connection.connect, [database_url] * 8):
            sessions.kw['bind'].dispose()
