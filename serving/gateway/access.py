"""Who may call what: tokens, the cookie of the page, and requests of other sites."""

from __future__ import annotations

import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, HTTPException, Request
from fastapi.security import HTTPBearer
from sqlalchemy.orm import Session, sessionmaker

from serving import tokens
from serving.database import connection

COOKIE = 'cxr_token'
# The name in the audit log where tokens are off.
LOCAL_USER = 'local'
# Where the caller of a request is noted, in its ASGI state.
STATE = 'user'
# Documents the header of a token in the OpenAPI.
BEARER = Depends(HTTPBearer(auto_error=False, description='a token of `cxr-triage tokens create`'))
_READING = frozenset({'GET', 'HEAD', 'OPTIONS'})


@dataclass(frozen=True)
class User:
    """Who calls.

    Attributes:
      name: of the token.
      roles: of the token.
      site: of what it uploads; '' for that of the gateway.
    """

    name: str
    roles: frozenset[str]
    site: str = ''

    def may(self, role: str) -> bool:
        """Whether it has a role; an admin has all."""
        return role in self.roles or tokens.ADMIN in self.roles


def user(request: Request, session: Session | None = None) -> User | None:
    """Who calls, by the header `Authorization: Bearer` or the cookie; None if unknown.

    Args:
      request: of the caller.
      session: of the database; None opens one if it is needed.
    """
    if not request.app.state.settings.requires_token:
        return User(LOCAL_USER, frozenset(tokens.ROLES))
    scheme, _, secret = request.headers.get('Authorization', '').partition(' ')
    if scheme.lower() != 'bearer':
        secret = request.cookies.get(COOKIE, '')
    if not (secret := secret.strip()):
        return None
    return look_up(request.app.state.sessions, secret) if session is None else _of(session, secret)


def look_up(sessions: sessionmaker[Session], secret: str) -> User | None:
    """The user of a secret, unless it is unknown or revoked."""
    with connection.reading(sessions) as session:
        return _of(session, secret)


def _of(session: Session, secret: str) -> User | None:
    token = tokens.find(session, secret)
    return User(token.name, frozenset(token.roles), token.site) if token else None


def check(request: Request, role: str, session: Session | None = None) -> User:
    """The caller, who has a role.

    Args:
      request: of the caller.
      role: the role that is needed.
      session: see `user`.

    Raises:
      HTTPException: the caller is unknown, or does not have the role.
    """
    caller = user(request, session)
    if caller is None:
        raise HTTPException(
            401,
            'a token is needed: Authorization: Bearer TOKEN',
            headers={'WWW-Authenticate': 'Bearer'},
        )
    setattr(request.state, STATE, caller)
    if not caller.may(role):
        raise HTTPException(403, f'the token {caller.name!r} does not have the role {role}')
    return caller


def needs(role: str) -> Callable[[Request], User]:
    """A dependency that lets only users with a role pass."""

    def dependency(request: Request, bearer: Annotated[Any, BEARER] = None) -> User:
        del bearer
        return check(request, role)

    return dependency


def is_cross_site(request: Request) -> bool:
    """Whether a request that changes something was sent by a page of another site.

    Browsers send Sec-Fetch-Site or Origin with each of them, and pages cannot forge either.
    """
    if request.method in _READING:
        return False
    site = request.headers.get('Sec-Fetch-Site')
    if site is not None:
        return site not in ('same-origin', 'none')
    origin = request.headers.get('Origin')
    return origin is not None and urllib.parse.urlsplit(origin).netloc != request.headers.get(
        'Host'
    )
