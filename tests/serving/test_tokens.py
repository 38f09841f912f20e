"""Access tokens, in the database and by command; the command for the audit log."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from cli import main as cli
from serving import audit, tokens
from serving.database import connection
from serving.database.tables import AuditEntry, Token
from serving.tokens import READ, UPLOAD, TokenError


def _create(sessions: sessionmaker[Session], name: str, *roles: str) -> str:
    with sessions() as session, session.begin():
        return tokens.create(session, name, list(roles), 'admin')


def test_a_token_is_found_by_its_secret_until_it_is_revoked(
    sessions: sessionmaker[Session],
) -> None:
    secret = _create(sessions, 'ward', UPLOAD, READ)
    other = _create(sessions, 'room', READ)
    with sessions() as session:
        token = tokens.find(session, secret)
        assert token is not None and (token.name, token.roles) == ('ward', [UPLOAD, READ])
        assert tokens.find(session, secret[:-1]) is None
    with sessions() as session, session.begin():
        tokens.revoke(session, 'ward', 'admin')
    with sessions() as session:
        assert tokens.find(session, secret) is None
        assert tokens.find(session, other) is not None
        assert [token.name for token in tokens.all_tokens(session)] == ['ward', 'room']


def test_secrets_are_not_stored(sessions: sessionmaker[Session]) -> None:
    secret = _create(sessions, 'ward', UPLOAD)
    with sessions() as session:
        (token,) = session.scalars(select(Token))
        (entry,) = session.scalars(select(AuditEntry))
        stored = [str(getattr(row, name)) for row in (token, entry) for name in row.__dict__]
    assert len(secret) > 40
    assert not any(secret.removeprefix('cxr_') in value for value in stored)


@pytest.mark.parametrize(
    ('name', 'roles', 'message'),
    [
        ('ward', [READ], "already a token|a token 'ward' already"),
        ('room', [], 'needs a role'),
        ('room', ['king'], "no role 'king'"),
        ('', [READ], 'needs a name'),
        ('r' * 101, [READ], 'at most 100'),
        ('a\nb', [READ], 'printable'),
        ('gateway', [READ], 'the service itself'),
    ],
)
def test_a_token_that_cannot_be_made(
    sessions: sessionmaker[Session], name: str, roles: list[str], message: str
) -> None:
    _create(sessions, 'ward', UPLOAD)
    with pytest.raises(TokenError, match=message):
        _create(sessions, name, *roles)


def test_each_change_is_in_the_audit_log(sessions: sessionmaker[Session]) -> None:
    _create(sessions, 'ward', UPLOAD)
    with sessions() as session, session.begin():
        tokens.revoke(session, 'ward', 'boss')
    with pytest.raises(TokenError, match='ward'), sessions() as session, session.begin():
        tokens.revoke(session, 'ward', 'boss')
    with sessions() as session:
        entries = [(e.actor, e.action, e.subject) for e in audit.entries(session)]
    assert entries == [('admin', 'token created', 'ward'), ('boss', 'token revoked', 'ward')]


def _command(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = cli.main(arguments)
    output = capsys.readouterr()
    return code, output.out, output.err


@pytest.fixture
def service(database_url: str, tmp_path: Path) -> list[str]:
    """The options that choose a database."""
    if database_url.startswith('sqlite'):
        return ['--data', str(tmp_path)]
    return ['--database', database_url]


def test_the_command_prints_the_secret_once(
    service: list[str], database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    create = ['tokens', 'create', 'ward', '--role', 'upload', '--role', 'read', *service]
    code, secret, _ = _command(capsys, *create)
    assert code == 0 and secret.startswith('cxr_') and secret.count('\n') == 1
    sessions = connection.connect(database_url)
    with sessions() as session:
        token = tokens.find(session, secret.strip())
        assert token is not None and token.roles == ['upload', 'read']
    sessions.kw['bind'].dispose()

    code, _, error = _command(capsys, *create)
    assert code == 1 and "a token 'ward' already" in error
    assert _command(capsys, 'tokens', 'revoke', 'ward', *service)[:2] == (0, 'Revoked: ward\n')
    assert _command(capsys, 'tokens', 'revoke', 'ward', *service)[0] == 1
    code, table, _ = _command(capsys, 'tokens', 'list', *service)
    name, *rest = table.splitlines()[1].split()
    # Both times have a day and an hour.
    assert code == 0 and (name, rest[:2], len(rest)) == ('ward', ['upload', 'read'], 6)
    assert secret.strip() not in table


def test_the_commands_do_not_make_a_service_by_mistake(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments in (['tokens', 'list'], ['tokens', 'revoke', 'x'], ['audit', 'verify']):
        code, _, error = _command(capsys, *arguments, '--data', str(tmp_path / 'nothing'))
        assert code == 1 and 'no such file' in error
    assert not (tmp_path / 'nothing').exists()


def test_the_audit_log_is_verified_and_exported(
    service: list[str],
    database_url: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ('a', 'b', 'c'):
        _command(capsys, 'tokens', 'create', name, '--role', 'read', *service)
    code, text, _ = _command(capsys, 'audit', 'verify', *service)
    assert code == 0 and text.startswith('3 entries, an unbroken chain')
    last = text.split()[-1]
    assert _command(capsys, 'audit', 'verify', '--digest', last, *service)[0] == 0

    _, lines, _ = _command(capsys, 'audit', 'export', *service)
    path = tmp_path / 'log.csv'
    assert _command(capsys, 'audit', 'export', '--format=csv', f'--out={path}', *service)[0] == 0
    rows = list(csv.DictReader(io.StringIO(path.read_text())))
    assert [json.loads(line)['subject'] for line in lines.splitlines()] == ['a', 'b', 'c']
    assert [row['subject'] for row in rows] == ['a', 'b', 'c'] and rows[2]['digest'] == last

    sessions = connection.connect(database_url)
    with sessions() as session, session.begin():
        session.delete(session.get_one(AuditEntry, 3))
    # Only a digest that was kept elsewhere shows that the newest entries are gone.
    assert _command(capsys, 'audit', 'verify', *service)[0] == 0
    code, _, error = _command(capsys, 'audit', 'verify', '--digest', last, *service)
    assert code == 1 and 'no entry has the digest' in error
    with sessions() as session, session.begin():
        session.get_one(AuditEntry, 1).actor = 'somebody'
    code, _, error = _command(capsys, 'audit', 'verify', *service)
    assert code == 1 and 'entry 1 was changed' in error
    sessions.kw['bind'].dispose()
