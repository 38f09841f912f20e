"""A local server over the pages of a root, which are written again when a run came or went on."""

from __future__ import annotations

import functools
import http.server
import logging
import os
import threading
from http import HTTPStatus
from pathlib import Path

from pages import site, store

HOST = '127.0.0.1'
# A page of another site could reach a local server under a name of its own; these are the names of this one.
_OWN_HOSTS = ('localhost', '127.0.0.1', '[::1]')
_log = logging.getLogger(__name__)


class Refresher:
    """Writes the pages when the metadata store, the logs or the served versions are newer than they are."""

    def __init__(self, root: Path):
        self._root, self._lock, self._seen = root, threading.Lock(), ''

    def refresh(self) -> None:
        """Does nothing when nothing is new; what goes wrong is logged, and the pages stay as they were."""
        with self._lock:
            now = self._state()
            if now == self._seen:
                return
            try:
                written = site.write(self._root)
            except (OSError, RuntimeError) as error:
                _log.error('the pages stay as they were: %s', error)
                return
            for problem in written.problems:
                _log.error('%s', problem)
            self._seen = now

    def _state(self) -> str:
        watched = [*self._root.glob(f'{store.STORE_FILE}*'), self._root / 'logs', self._root / 'serving', self._root / '.lock-owner']
        return ' '.join(f'{path.name}:{path.stat().st_mtime_ns}' for path in sorted(watched) if path.exists())


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves the folder of pages and nothing else."""

    def __init__(self, *args, refresher: Refresher, **kwargs):
        self._refresher = refresher
        super().__init__(*args, **kwargs)

    def send_head(self):
        """Refreshes before a page is sent, and refuses what was not asked of this server by its own name."""
        if self.headers.get('Host', '').rpartition(':')[0] not in _OWN_HOSTS and self.headers.get('Host') not in _OWN_HOSTS:
            self.send_error(HTTPStatus.FORBIDDEN, 'ask for localhost')
            return None
        if self.path.partition('?')[0].endswith(('/', '.html')):
            self._refresher.refresh()
        return super().send_head()

    def list_directory(self, path):
        """Folders without a page of their own are not shown."""
        self.send_error(HTTPStatus.NOT_FOUND, 'no such page')

    def end_headers(self):
        """Pages change under the same name."""
        self.send_header('Cache-Control', 'no-cache')
        super().end_headers()

    def log_message(self, format, *args):
        """Requests are no news."""
        _log.debug(format, *args)


def server(root: Path, port: int) -> http.server.ThreadingHTTPServer:
    """A server for this machine alone, with the pages written.

    Raises:
      OSError: the port is taken, or the pages cannot be written.
      RuntimeError: the metadata store cannot be read.
      pages.assets.AssetError: see there.
    """
    refresher = Refresher(root)
    folder = root / site.FOLDER
    os.makedirs(folder, exist_ok=True)
    made = http.server.ThreadingHTTPServer((HOST, port), functools.partial(Handler, directory=str(folder), refresher=refresher))
    made.daemon_threads = True
    refresher.refresh()
    return made
