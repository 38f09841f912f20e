"""Rejects requests that name another host than this machine.

A page of another site could reach a local server under its own host name (DNS rebinding). The
browser then sends that name in the Host header.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus

REFUSAL = 'use localhost in the address'
_OWN_HOSTS = ('localhost', '127.0.0.1', '[::1]')


def is_own(host: str) -> bool:
    """Whether a request's Host header, with or without a port, names this machine."""
    return host in _OWN_HOSTS or host.rpartition(':')[0] in _OWN_HOSTS


def guarded(application: Callable) -> Callable:
    """Wraps a WSGI application so that it refuses requests for other hosts."""

    def respond(environ, start_response):
        if is_own(environ.get('HTTP_HOST', '')):
            return application(environ, start_response)
        body = f'{REFUSAL}\n'.encode()
        status = f'{HTTPStatus.FORBIDDEN.value} {HTTPStatus.FORBIDDEN.phrase}'
        start_response(status, [('Content-Type', 'text/plain'), ('Content-Length', str(len(body)))])
        return [body]

    return respond
