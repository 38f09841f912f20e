"""Runs the application on a socket."""

from __future__ import annotations

import socket
from typing import Any

import uvicorn


class GatewayServer:
    """An HTTP server, bound when it is made.

    Raises:
      OSError: the address cannot be used.
    """

    def __init__(self, app: Any, host: str, port: int):
        family = socket.AF_INET6 if ':' in host else socket.AF_INET
        self._socket = socket.socket(family)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind((host, port))
        self._server = uvicorn.Server(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                server_header=False,
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
        """Serves until SIGINT or SIGTERM."""
        self._server.run(sockets=[self._socket])
