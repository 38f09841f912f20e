"""ASGI middleware: limits of requests, requests of other sites, and the headers of each answer."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import MutableMapping
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse

from serving.gateway import access
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


class _TooLargeError(Exception):
    pass


class _TooSlowError(Exception):
    pass


class Guard:
    """Checks each request before the application sees it.

    Args:
      app: the application.
      limits: what a client may send.
      hosts: the names by which the gateway may be called; empty for all.
    """

    def __init__(self, app: Any, limits: Limits, hosts: tuple[str, ...]):
        self._app, self._limits, self._hosts = app, limits, hosts
        self._rates: OrderedDict[str, tuple[float, float]] = OrderedDict()

    async def __call__(self, scope: dict, receive: Any, send: Any) -> None:
        """Answers a request."""
        if scope['type'] != 'http':
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        refusal = self._refusal(request)
        started = False

        async def send_with_headers(message: MutableMapping[str, Any]) -> None:
            nonlocal started
            if message['type'] == 'http.response.start':
                started = True
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault('Cache-Control', 'no-store')
            await send(message)

        if refusal:
            await refusal(scope, receive, send_with_headers)
            return
        try:
            await self._app(scope, self._limited(receive), send_with_headers)
        except (_TooLargeError, _TooSlowError) as error:
            if started:
                raise
            status = 413 if isinstance(error, _TooLargeError) else 408
            answer = JSONResponse({'detail': str(error)}, status, headers={'Connection': 'close'})
            await answer(scope, receive, send_with_headers)

    def _refusal(self, request: Request) -> JSONResponse | None:
        host = request.headers.get('Host', '').rpartition(':')[0] or request.headers.get('Host', '')
        if self._hosts and host.strip('[]') not in self._hosts:
            # A page of another site whose name leads to this address would be of the same origin.
            return JSONResponse({'detail': f'this service is not called {host!r}'}, 421)
        if access.is_cross_site(request):
            return JSONResponse({'detail': 'requests of other sites are refused'}, 403)
        length = request.headers.get('Content-Length', '')
        if length.isdigit() and int(length) > self._limits.max_body_bytes:
            return JSONResponse({'detail': self._too_large()}, 413, headers={'Connection': 'close'})
        if not self._has_budget(request):
            return JSONResponse(
                {'detail': f'more than {self._limits.requests_per_minute} requests a minute'},
                429,
                headers={'Retry-After': '5'},
            )
        return None

    def _has_budget(self, request: Request) -> bool:
        """A bucket for each token or address, which fills by the allowed rate."""
        caller = request.headers.get('Authorization') or request.cookies.get(access.COOKIE)
        caller = caller or (request.client.host if request.client else '')
        rate, now = self._limits.requests_per_minute / 60.0, time.monotonic()
        size = max(self._limits.requests_per_minute / 4.0, 1.0)
        left, then = self._rates.pop(caller, (size, now))
        left = min(size, left + (now - then) * rate)
        self._rates[caller] = (left - 1.0 if left >= 1.0 else left, now)
        while len(self._rates) > _MOST_CALLERS:
            self._rates.popitem(last=False)
        return left >= 1.0

    def _limited(self, receive: Any) -> Any:
        """`receive` that counts bytes and time until the body is complete."""
        received, deadline, complete = 0, time.monotonic() + self._limits.request_s, False

        async def limited() -> dict:
            nonlocal received, complete
            if complete:
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), max(0.0, deadline - time.monotonic()))
            except (asyncio.TimeoutError, TimeoutError):
                raise _TooSlowError(
                    f'the request did not arrive within {self._limits.request_s:g} s'
                ) from None
            received += len(message.get('body', b''))
            complete = not message.get('more_body', False)
            if received > self._limits.max_body_bytes:
                raise _TooLargeError(self._too_large())
            return message

        return limited

    def _too_large(self) -> str:
        return f'the request is larger than {self._limits.max_body_bytes:,} bytes'
