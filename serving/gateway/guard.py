"""ASGI middleware: limits of requests, requests of other sites, and the headers of each answer."""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
import urllib.parse
from collections import OrderedDict
from collections.abc import MutableMapping
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse

from serving.gateway import access, waiting
from serving.gateway.metrics import Metrics
from serving.gateway.settings import Limits

_HEADERS = {
    'Content-Security-Policy': (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    'X-Content-Type-Options': 'nosniff',
    'Referrer-Policy': 'no-referrer',
    'Cross-Origin-Opener-Policy': 'same-origin',
    'Cross-Origin-Resource-Policy': 'same-origin',
    'Permissions-Policy': 'camera=(), geolocation=(), microphone=()',
    'X-Frame-Options': 'DENY',
}
_MOST_CALLERS = 10_000
_UPLOADS = re.compile('/v1/studies|/dicom-web/studies(/[^/]*)?')
_FILES_OF_PAGES = '/static/'
# A page loads a dozen files, and a probe that is refused would end a gateway that works.
_WITHOUT_RATE = (_FILES_OF_PAGES, '/healthz', '/readyz')


class _LimitError(Exception):
    def __init__(self, status: int, text: str):
        super().__init__(text)
        self.status = status


class Guard:
    """Checks each request before the application sees it, and counts it.

    Args:
      app: the application.
      limits: what a client may send.
      hosts: the names by which the gateway may be called; empty for all.
      metrics: where requests are counted.
    """

    def __init__(self, app: Any, limits: Limits, hosts: tuple[str, ...], metrics: Metrics):
        self._app, self._limits, self._hosts, self._metrics = app, limits, hosts, metrics
        self._rates = _Rates(limits.requests_per_minute)

    async def __call__(self, scope: dict, receive: Any, send: Any) -> None:
        """Answers a request."""
        if scope['type'] != 'http':
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500

        async def send_with_headers(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message['type'] == 'http.response.start':
                status = message['status']
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault('Cache-Control', 'no-store')
            await send(message)

        try:
            await self._answer(scope, receive, send_with_headers)
        finally:
            # Files that never fail would hide the share of the requests that do.
            if not scope['path'].startswith(_FILES_OF_PAGES):
                # A client that waits for an answer does not make the gateway slow.
                waited = scope.get('state', {}).get(waiting.STATE, 0.0)
                self._metrics.count(scope, status, time.perf_counter() - started - waited)

    async def _answer(self, scope: dict, receive: Any, send: Any) -> None:
        request = Request(scope)
        if refusal := self._refusal(request):
            await refusal(scope, receive, send)
            return
        body = _Body(receive, self._limits, _most_bytes(scope, self._limits))
        is_started = False

        async def send_unless_cut_off(message: MutableMapping[str, Any]) -> None:
            nonlocal is_started
            # An application that is told of a cut-off body makes an answer of its own of it.
            if body.error is None or is_started:
                is_started = True
                await send(message)

        try:
            await self._app(scope, body.receive, send_unless_cut_off)
        except Exception:
            if body.error is None or is_started:
                raise
        if body.error is not None and not is_started:
            close = {'Connection': 'close'} if body.error.status == 408 else {}
            await _problem(body.error.status, str(body.error), **close)(scope, receive, send)
        if user := scope.get('state', {}).get(access.STATE):
            self._rates.allow(_secret(request), user)

    def _refusal(self, request: Request) -> JSONResponse | None:
        host = _host_name(request.headers.get('Host', ''))
        if self._hosts and host not in self._hosts:
            # A page of another site whose name leads to this address would be of the same origin.
            return _problem(421, f'this service is not called {host[:100]!r}')
        if access.is_cross_site(request):
            return _problem(403, 'requests of other sites are refused')
        length = request.headers.get('Content-Length', '')
        most = _most_bytes(request.scope, self._limits)
        if length.isdigit() and int(length[:20]) > most:
            return _problem(413, _too_large(most))
        address = request.client.host if request.client else ''
        has_rate = not request.scope['path'].startswith(_WITHOUT_RATE)
        if has_rate and not self._rates.take(_secret(request), address):
            per_minute = self._limits.requests_per_minute
            return _problem(
                429, f'more than {per_minute} requests a minute', **{'Retry-After': '5'}
            )
        return None


class _Body:
    """The body of a request, whose bytes and time are limited until it is complete."""

    def __init__(self, receive: Any, limits: Limits, most: int):
        self._receive, self._limits, self._most = receive, limits, most
        self._deadline = time.monotonic() + limits.request_s
        self._received, self._is_complete = 0, False
        self.error: _LimitError | None = None

    async def receive(self) -> dict:
        """The next part.

        Raises:
          _LimitError: it is too large or too late.
        """
        if self.error is not None:
            raise self.error
        if self._is_complete:
            return await self._receive()
        try:
            wait = max(0.0, self._deadline - time.monotonic())
            message = await asyncio.wait_for(self._receive(), wait)
        except (asyncio.TimeoutError, TimeoutError):
            text = f'the request did not arrive within {self._limits.request_s:g} s'
            self.error = _LimitError(408, text)
            raise self.error from None
        self._received += len(message.get('body', b''))
        self._is_complete = not message.get('more_body', False)
        if self._received > self._most:
            self.error = _LimitError(413, _too_large(self._most))
            raise self.error
        return message


class _Rates:
    """A bucket for each caller, which fills by the allowed rate.

    A caller is a token that was accepted before; whoever sends another one, or none, shares the
    bucket of its address. Otherwise each invented token would have a bucket.
    """

    def __init__(self, per_minute: int):
        self._rate, self._size = per_minute / 60.0, max(per_minute / 4.0, 1.0)
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, secret: str, address: str) -> bool:
        """Whether a caller may send a request now."""
        caller = _bucket(secret)
        if not secret or caller not in self._buckets:
            caller = f'address {address}'
        now = time.monotonic()
        left, then = self._buckets.pop(caller, (self._size, now))
        left = min(self._size, left + (now - then) * self._rate)
        self._buckets[caller] = (left - 1.0 if left >= 1.0 else left, now)
        while len(self._buckets) > _MOST_CALLERS:
            self._buckets.popitem(last=False)
        return left >= 1.0

    def allow(self, secret: str, user: access.User) -> None:
        """Gives an accepted token a bucket."""
        if secret and user.name != access.LOCAL_USER:
            self._buckets.setdefault(_bucket(secret), (self._size, time.monotonic()))


def _bucket(secret: str) -> str:
    return hashlib.sha256(secret.encode('utf-8', 'replace')).hexdigest()


def _secret(request: Request) -> str:
    return request.headers.get('Authorization') or request.cookies.get(access.COOKIE) or ''


def _host_name(host: str) -> str:
    """The name in a Host header, without port and brackets."""
    try:
        return urllib.parse.urlsplit(f'//{host}').hostname or ''
    except ValueError:
        return ''


def _most_bytes(scope: MutableMapping[str, Any], limits: Limits) -> int:
    is_upload = scope['method'] == 'POST' and _UPLOADS.fullmatch(scope['path'])
    return limits.max_body_bytes if is_upload else limits.max_text_bytes


def _problem(status: int, text: str, **headers: str) -> JSONResponse:
    return JSONResponse({'detail': text}, status, headers=headers)


def _too_large(most: int) -> str:
    return f'the request is larger than {most:,} bytes'
