"""A local server for the pages of a root, which updates them when a run starts or continues."""

from __future__ import annotations

import functools
import http.server
import logging
import os
import sys
import threading
import urllib.parse
from http import HTTPStatus
from pathlib import Path

from pages import own_host, site
from pipeline import run_record
from pipeline.exit_codes import cannot_write
from pipeline.run_root import STORE_FILE, RunRoot

HOST = '127.0.0.1'
_log = logging.getLogger(__name__)


class PagesError(RuntimeError):
    """The pages cannot be written; the text names the path and what to do."""


class Refresher:
    """Writes the pages when the store, the logs, the records or the served versions change."""

    def __init__(self, root: Path):
        self._root, self._lock, self._written_state = RunRoot(root), threading.Lock(), ''

    def refresh(self) -> None:
        """Writes the pages if anything changed; an error is logged, and the old pages stay."""
        with self._lock:
            state = self._state()
            if state == self._written_state:
                return
            try:
                result = site.write(self._root.path)
            except (OSError, RuntimeError) as error:
                _log.error(
                    'the pages were not updated: %s',
                    cannot_write(error) if isinstance(error, OSError) else error,
                )
                return
            for problem in result.problems:
                _log.error('%s', problem)
            self._written_state = state

    def _state(self) -> str:
        paths = [
            *self._root.path.glob(f'{STORE_FILE}*'),
            self._root.logs,
            self._root.serving,
            self._root.records,
        ]
        files = [
            f'{path.name}:{path.stat().st_mtime_ns}' for path in sorted(paths) if path.exists()
        ]
        # A run that is killed does not change any file.
        running = [
            name
            for name, record in run_record.read_all(self._root.path).items()
            if record.is_running(str(self._root.path))
        ]
        return ' '.join([*files, *running])


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves only the folder of pages."""

    def __init__(self, *args, refresher: Refresher, **kwargs):
        self._refresher = refresher
        super().__init__(*args, **kwargs)

    def send_head(self):
        """Refreshes the pages before it sends one, and refuses requests for other hosts."""
        if not own_host.is_own(self.headers.get('Host', '')):
            self.send_error(HTTPStatus.FORBIDDEN, own_host.REFUSAL)
            return None
        if '\0' in urllib.parse.unquote(self.path):
            self.send_error(HTTPStatus.BAD_REQUEST, 'a path cannot contain a zero byte')
            return None
        if self.path.partition('?')[0].endswith(('/', '.html')):
            self._refresher.refresh()
        return super().send_head()

    def list_directory(self, path):
        """Refuses folders without an index page."""
        self.send_error(HTTPStatus.NOT_FOUND, 'no such page')

    def end_headers(self):
        """Forbids caching, because pages change under the same name."""
        self.send_header('Cache-Control', 'no-cache')
        super().end_headers()

    def log_message(self, format, *args):
        """Logs requests only for debugging."""
        _log.debug(format, *args)


class Server(http.server.ThreadingHTTPServer):
    """A server that ignores clients that close the connection early."""

    daemon_threads = True

    def handle_error(self, request, client_address):
        """Logs an error in one line, unless the client closed the connection."""
        error = sys.exc_info()[1]
        if not isinstance(error, ConnectionError | TimeoutError):
            _log.error(
                'a request could not be answered: %s: %s',
                type(error).__name__,
                error,
                exc_info=_log.isEnabledFor(logging.DEBUG),
            )


def server(root: Path, port: int) -> Server:
    """Writes the pages and makes a server that only this machine can reach.

    Raises:
      OSError: the port is in use.
      OverflowError: the port is not a valid number.
      PagesError: the pages cannot be written.
      RuntimeError: the metadata store cannot be read.
      pages.assets.AssetError: a file of TFMA is missing.
    """
    refresher = Refresher(root)
    folder = RunRoot(root).pages
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise PagesError(cannot_write(error)) from error
    local_server = Server(
        (HOST, port), functools.partial(Handler, directory=str(folder), refresher=refresher)
    )
    refresher.refresh()
    return local_server
