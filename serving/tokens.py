"""Access tokens: who may do what through the gateway."""

from __future__ import annotations

import datetime
import hashlib
import secrets

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from serving import audit, sites
from serving.database.tables import Token

UPLOAD, READ, RELEASE, ADMIN = 'upload', 'read', 'release', 'admin'
ROLES = (UPLOAD, READ, RELEASE, ADMIN)
_PREFIX = 'cxr_'
# Actors in the audit log that are not tokens.
_RESERVED = frozenset({'gateway', 'local'})
# Made once, as each request looks up a token.
_FIND = select(Token).where(Token.sha256 == bindparam('sha256'), Token.revoked_at.is_(None))


class TokenError(ValueError):
    """A token that cannot be made or revoked; the text says why."""


def create(session: Session, name: str, roles: list[str], actor: str, site: str = '') -> str:
    """Makes a token, and returns its secret, which is shown only here.

    Args:
      session: one with an open transaction.
      name: who or what uses it; readings and the audit log show it.
      roles: some of `ROLES`.
      actor: who makes it.
      site: of what is uploaded with it; '' for that of the gateway.

    Raises:
      TokenError: the name is taken, or a role does not exist.
      sites.SiteError: no site can have this name.
    """
    unknown = sorted(set(roles) - set(ROLES))
    if unknown or not roles:
        what = f'no role {unknown[0]!r}' if unknown else 'a token needs a role'
        raise TokenError(f'{what}: expected some of {", ".join(ROLES)}')
    if not name.strip() or len(name) > 100 or not name.isprintable():
        raise TokenError('a token needs a name of at most 100 printable characters')
    if name in _RESERVED:
        raise TokenError(f'the name {name!r} means the service itself in the audit log')
    if session.scalar(select(Token).where(Token.name == name)):
        raise TokenError(f'there is a token {name!r} already; revoked names are not used again')
    sites.check(site)
    secret = _PREFIX + secrets.token_urlsafe(32)
    session.add(Token(name=name, roles=roles, site=site, sha256=_digest(secret), created_at=_now()))
    audit.append(session, actor, 'token created', name, roles=roles, site=site)
    return secret


def revoke(session: Session, name: str, actor: str) -> None:
    """Makes a token useless.

    Raises:
      TokenError: there is no such token.
    """
    token = session.scalar(select(Token).where(Token.name == name, Token.revoked_at.is_(None)))
    if token is None:
        raise TokenError(f'there is no token {name!r} that can be revoked')
    token.revoked_at = _now()
    audit.append(session, actor, 'token revoked', name)


def all_tokens(session: Session) -> list[Token]:
    """All tokens, oldest first, also the revoked ones."""
    return list(session.scalars(select(Token).order_by(Token.number)))


def find(session: Session, secret: str) -> Token | None:
    """The token of a secret, unless it is unknown or revoked."""
    # The secret has 256 random bits, so that a plain hash is enough, and looking it up tells
    # nothing about its neighbours.
    return session.scalar(_FIND, {'sha256': _digest(secret)})


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode('utf-8')).hexdigest()


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc)
