"""Requests to servers of others by HTTP: with credentials, without redirects, within limits."""

from __future__ import annotations

import base64
import functools
import http.client
import json
import ssl
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from email.message import Message
from typing import Any

_CHUNK = 1 << 16


class WebError(Exception):
    """A server did not do what it was asked; the text has nothing of what was sent.

    Attributes:
      status: of its answer; 0 if there is none.
      body: the beginning of its answer, which may have values of the request in it.
      retry_after: what it says about when to ask again.
    """

    def __init__(self, text: str, status: int = 0, body: bytes = b'', retry_after: str = ''):
        super().__init__(text)
        self.status, self.body, self.retry_after = status, body, retry_after


@dataclass(frozen=True)
class Answer:
    """An answer with a status from 200 to 299."""

    status: int
    headers: Message
    body: bytes

    def json(self) -> Any:
        """Its JSON; {} if it is empty.

        Raises:
          WebError: it is not JSON.
        """
        try:
            return json.loads(self.body or b'{}')
        except ValueError:
            raise WebError('it does not answer in JSON', self.status) from None


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirected POST would become a GET, whose success says nothing about the report; and
    another server would get the password.
    """

    def redirect_request(self, *_: Any) -> None:
        """Makes the redirect an error."""


@functools.cache
def _opener(context: ssl.SSLContext | None) -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(_NoRedirects, urllib.request.HTTPSHandler(context=context))


def authorization(user: str, password: str) -> dict[str, str]:
    """The header for a user and password, for a bearer token if there is no user, or none."""
    if not password:
        return {}
    if not user:
        return {'Authorization': f'Bearer {password}'}
    pair = base64.b64encode(f'{user}:{password}'.encode()).decode()
    return {'Authorization': f'Basic {pair}'}


def send(
    url: str,
    headers: dict[str, str],
    body: bytes | None = None,
    *,
    timeout_s: float,
    max_bytes: int,
    total_s: float | None = None,
    context: ssl.SSLContext | None = None,
) -> Answer:
    """The answer to a GET, or to a POST if there is a body.

    Args:
      url: where to.
      headers: of the request.
      body: of the request.
      timeout_s: until the server has to say something.
      max_bytes: of the answer.
      total_s: until the answer has to be complete; None for any time.
      context: of TLS; None for the certificate authorities of the system.

    Raises:
      WebError: it does not answer, too late, too much, or with another status than 200 to 299.
    """
    request = urllib.request.Request(url, body, headers)
    deadline = time.monotonic() + total_s if total_s is not None else None
    try:
        with _opener(context).open(request, timeout=timeout_s) as answer:
            content = _read(answer, max_bytes, deadline)
            return Answer(answer.status, answer.headers, content)
    except urllib.error.HTTPError as error:
        raise WebError(
            f'status {error.code} {error.reason}'.strip(),
            error.code,
            _beginning(error),
            error.headers.get('Retry-After', ''),
        ) from None
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, 'reason', error)
        raise WebError(f'it does not answer: {reason or type(error).__name__}') from None


def _read(answer: Any, max_bytes: int, deadline: float | None) -> bytes:
    content = bytearray()
    while chunk := answer.read1(_CHUNK):
        content += chunk
        if len(content) > max_bytes:
            raise WebError(f'its answer has more than {max_bytes:,} bytes', answer.status)
        if deadline is not None and time.monotonic() > deadline:
            raise WebError('its answer takes too long', answer.status)
    length = answer.headers.get('Content-Length', '')
    if length.isdecimal() and len(content) < int(length):
        raise WebError('its answer ends too early', answer.status)
    return bytes(content)


def _beginning(error: urllib.error.HTTPError) -> bytes:
    try:
        return error.read(_CHUNK)
    except (OSError, http.client.HTTPException):
        return b''
