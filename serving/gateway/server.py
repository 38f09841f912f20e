"""Runs the application on a socket."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from serving.gateway.settings import Limits

# Connections beyond this get 503.
_MAX_CONNECTIONS = 512
_BACKLOG = 1024


class AddressError(OSError):
    """An address that a gateway cannot listen on; the text names it and says why."""


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens on an address; clients wait until a server answers them.

    Args:
      host: a name or number of this machine.
      port: 0 takes a free one.

    Raises:
      AddressError: e.g. another program has the port.
    """
    family = socket.AF_INET6 if ':' in host else socket.AF_INET
    # With its protocol, or asyncio leaves Nagle's algorithm on: an answer then waits 40 ms.
    made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((host, port))
        made.listen(_BACKLOG)
    except (OSError, OverflowError) as error:
        made.close()
        reason = getattr(error, 'strerror', None) or error
        raise AddressError(f'cannot listen on {host}, port {port}: {reason}') from None
    return made


class GatewayServer:
    """An HTTP server.

    Args:
      app: the ASGI application.
      listener: see `listen`.
      limits: what a client may send; the times apply here.
    """

    def __init__(self, app: Any, listener: socket.socket, limits: Limits):
        self._socket = listener
        self._server = uvicorn.Server(
            uvicorn.Config(
                app,
                http=_protocol(limits),
                ws='none',
                log_config=None,
                access_log=False,
                server_header=False,
                limit_concurrency=_MAX_CONNECTIONS,
                timeout_keep_alive=15,
                timeout_graceful_shutdown=10,
                h11_max_incomplete_event_size=64 << 10,
            )
        )

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return self._socket.getsockname()[1]

    def run(self) -> None:
        """Serves until SIGINT, SIGTERM or `stop`."""
        self._server.run(sockets=[self._socket])

    def stop(self) -> None:
        """Ends `run`, which may be in another thread, after the requests that are under way."""
        self._server.should_exit = True


def _protocol(limits: Limits) -> type[H11Protocol]:
    """The protocol of uvicorn, which also cuts off clients that are slow outside of a body.

    `serving.gateway.guard` sees to bodies.
    """

    class Protocol(H11Protocol):
        _head_timer: asyncio.TimerHandle | None = None
        _send_timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._expect_head()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_timers()
            super().connection_lost(exc)

        def handle_events(self) -> None:
            before = self.cycle
            super().handle_events()
            if self.cycle is not before and self._head_timer is not None:
                self._head_timer.cancel()

        def on_response_complete(self) -> None:
            # Also covers the rest of a body that nobody reads.
            self._expect_head()
            super().on_response_complete()

        def pause_writing(self) -> None:
            super().pause_writing()
            self._send_timer = self.loop.call_later(limits.request_s, self.transport.abort)

        def resume_writing(self) -> None:
            super().resume_writing()
            if self._send_timer is not None:
                self._send_timer.cancel()

        def _expect_head(self) -> None:
            if self._head_timer is not None:
                self._head_timer.cancel()
            self._head_timer = self.loop.call_later(limits.head_s, self.transport.close)

        def _stop_timers(self) -> None:
            for timer in (self._head_timer, self._send_timer):
                if timer is not None:
                    timer.cancel()

    return Protocol
