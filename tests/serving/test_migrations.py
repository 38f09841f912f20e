"""Migrations: the command of a deployment, and gateways that start at the same time."""

from __future__ import annotations

import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, inspect, text
from sqlalchemy.exc import ProgrammingError

from serving import audit, studies, tokens
from serving.claims import claimed
from serving.database import connection, migrate
from serving.database.tables import Base
from serving.gateway import bodies
from serving.studies import NewImage, Outcome
from serving.uploads import Upload
from tests.support import postgresql

_DOCS = Path(__file__).resolve().parents[2] / 'docs' / 'serving.md'


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


def test_a_study_of_the_release_before_is_still_scored(database_url: str) -> None:
    engine = create_engine(database_url.replace('postgresql:', 'postgresql+psycopg:'))
    with engine.begin() as opened:
        config = Config()
        config.set_main_option('script_location', str(Path(migrate.__file__).parent / 'migrations'))
        config.attributes['connection'] = opened
        command.upgrade(config, '0001')
        opened.execute(
            text(
                'INSERT INTO study (id, arrived_at, uploaded_by, reference, state, is_read) '
                "VALUES ('a1', '2026-01-02 03:04:05', 'ward', '', 'pending', false)"
            )
        )
        opened.execute(
            text(
                'INSERT INTO image (id, study_number, position, kind, sha256, size, width, height) '
                "VALUES ('b1', (SELECT number FROM study), 0, 'png', '', 1, 600, 500)"
            )
        )
    engine.dispose()
    sessions = connection.connect(database_url)
    with claimed(sessions, 8) as waiting, sessions() as session, session.begin():
        (current,) = studies.still_pending(session, waiting)
        studies.record_answers(session, [(current, [Outcome(7, 0.9, True, '', 0.5)])])
    with connection.reading(sessions) as session:
        study = studies.find(session, 'a1')
        assert study is not None and (study.state, study.probability) == ('scored', 0.9)
        # Notes about files came later.
        assert bodies.study(study, None, False).images[0].notes == []
    sessions.kw['bind'].dispose()


def test_gateways_that_start_at_the_same_time_make_the_tables_once(database_url: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        for sessions in pool.map(connection.connect, [database_url] * 8):
            sessions.kw['bind'].dispose()


def test_the_documented_role_can_serve_but_not_change_tables_or_the_audit_log(
    postgresql_server: postgresql.Server,
) -> None:
    owner_url = postgresql_server.url('roles')
    owner = connection.connect(owner_url)
    block = re.search(r'```text\n(GRANT .*?)```', _DOCS.read_text(), re.DOTALL)
    assert block
    with owner.begin() as session:
        session.execute(text('CREATE ROLE gateway LOGIN'))
        for statement in block[1].strip().split('\n'):
            session.execute(text(statement))
    owner.kw['bind'].dispose()
    sessions = connection.connect(owner_url.replace('//cxr@', '//gateway@'))
    with sessions.begin() as session:
        image = NewImage(studies.new_id(), Upload('png', 600, 500), 'ab' * 32, 1234)
        study = studies.accept(session, [image], 'ward', '')
        studies.record_answers(session, [(study, [Outcome(7, 0.9, True, '', 0.5)])])
        tokens.create(session, 'reader', ['read'], 'admin')
        tokens.revoke(session, 'reader', 'admin')
    with connection.reading(sessions) as session:
        count, _, problems = audit.verify(session)
        assert count > 2 and problems == []
    for statement in (
        "UPDATE audit_entry SET actor = 'x'",
        'DELETE FROM audit_entry',
        'DROP TABLE audit_entry',
        'ALTER TABLE study ADD COLUMN more int',
        "UPDATE alembic_version SET version_num = '1'",
    ):
        with sessions() as session, pytest.raises(ProgrammingError, match=r'permission|owner'):
            session.execute(text(statement))
    sessions.kw['bind'].dispose()
