"""An archive with DICOMweb that answers as a test wants: rightly, with errors, or not at all."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import ssl
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pydicom

_TAGS = {
    'StudyInstanceUID': '0020000D',
    'SeriesInstanceUID': '0020000E',
    'SOPInstanceUID': '00080018',
    'Modality': '00080060',
}


@dataclass
class WebArchive:
    """What an archive holds, and how it answers.

    Attributes:
      files: the DICOM files.
      pair: USER:PASSWORD that it wants; '' for none.
      page: the most answers that it gives at a time, with a warning if there are more.
      filters: whether it looks at the modality of series.
      answers: the end of a path -> what it does instead, with the request.
      paths: of all requests, with their queries.
    """

    files: list[bytes]
    pair: str = ''
    page: int = 100
    filters: bool = True
    answers: dict[str, Callable[[BaseHTTPRequestHandler], None]] = field(default_factory=dict)
    paths: list[str] = field(default_factory=list)
    port: int = 0
    scheme: str = 'http'

    @property
    def url(self) -> str:
        """Its address, without credentials."""
        return f'{self.scheme}://127.0.0.1:{self.port}/dicom-web'

    def fetched(self) -> list[str]:
        """The SOP Instance UIDs that it was asked for, in order."""
        parts = [path.split('/') for path in self.paths if '?' not in path]
        return [p[-1] for p in parts if p[-2] == 'instances']

    def handle(self, request: BaseHTTPRequestHandler) -> None:
        """Answers a request."""
        self.paths.append(request.path)
        path, _, query = request.path.removeprefix('/dicom-web/').partition('?')
        expected = f'Basic {base64.b64encode(self.pair.encode()).decode()}'
        if self.pair and request.headers.get('Authorization') != expected:
            answer(request, 401)
            return
        for end, act in self.answers.items():
            if path.endswith(end):
                act(request)
                return
        parts = path.split('/')
        uids = dict(zip(parts[::2], parts[1::2], strict=False))
        keys = dict(urllib.parse.parse_qsl(query))
        wanted = [pydicom.dcmread(io.BytesIO(content)) for content in self.files]
        for level, name in (
            ('studies', 'StudyInstanceUID'),
            ('series', 'SeriesInstanceUID'),
            ('instances', 'SOPInstanceUID'),
        ):
            if level in uids:
                wanted = [dataset for dataset in wanted if dataset[name].value == uids[level]]
        if 'instances' in uids:
            self._send_file(request, wanted)
        else:
            self._send_list(request, parts[-1], wanted, keys)

    def _send_file(self, request: BaseHTTPRequestHandler, wanted: list[pydicom.Dataset]) -> None:
        if not wanted:
            answer(request, 404)
            return
        assert 'transfer-syntax=*' in request.headers['Accept']
        instance = wanted[0].SOPInstanceUID
        (content,) = (c for c in self.files if instance.encode() in c)
        answer(request, 200, related(content), 'multipart/related; boundary=cut')

    def _send_list(
        self,
        request: BaseHTTPRequestHandler,
        level: str,
        wanted: list[pydicom.Dataset],
        keys: dict[str, str],
    ) -> None:
        if level == 'studies':
            first, _, last = keys['StudyDate'].partition('-')
            wanted = [d for d in wanted if first <= d.StudyDate <= (last or first)]
            wanted = [d for d in wanted if d.Modality == keys['ModalitiesInStudy']]
        if level == 'series' and self.filters:
            wanted = [d for d in wanted if d.Modality == keys['Modality']]
        name = {
            'studies': 'StudyInstanceUID',
            'series': 'SeriesInstanceUID',
            'instances': 'SOPInstanceUID',
        }[level]
        unique = {str(d[name].value): d for d in wanted}
        start = int(keys['offset'])
        rows = list(unique.values())[start : start + min(self.page, int(keys['limit']))]
        is_more = start + len(rows) < len(unique)
        headers = {'Warning': '299 archive: there are more'} if is_more else {}
        content = [_row(d) for d in rows]
        if not content:
            answer(request, 204)
            return
        answer(request, 200, json.dumps(content).encode(), 'application/dicom+json', **headers)


def _row(dataset: pydicom.Dataset) -> dict[str, Any]:
    return {tag: {'vr': 'UI', 'Value': [str(dataset[name].value)]} for name, tag in _TAGS.items()}


def related(*contents: bytes) -> bytes:
    """A body of the type multipart/related, cut at `cut`."""
    part = b'--cut\r\nContent-Type: application/dicom\r\n\r\n'
    return b''.join(part + content + b'\r\n' for content in contents) + b'--cut--\r\n'


def answer(
    request: BaseHTTPRequestHandler,
    status: int,
    body: bytes = b'',
    content_type: str = 'text/plain',
    length: int | None = None,
    **headers: str,
) -> None:
    """Sends an answer; `length` is what it says about its length if that is wrong."""
    request.send_response(status)
    request.send_header('Content-Type', content_type)
    request.send_header('Content-Length', str(len(body) if length is None else length))
    for name, value in headers.items():
        request.send_header(name, value)
    request.end_headers()
    with contextlib.suppress(OSError):  # it does not want to read on
        request.wfile.write(body)


@contextlib.contextmanager
def running(archive: WebArchive, context: ssl.SSLContext | None = None) -> Iterator[WebArchive]:
    """Serves on a free port of this machine, with TLS if there is a context."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """Answers as the archive does."""
            archive.handle(self)

        def log_message(self, format: str, *args: Any) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        archive.scheme = 'https'
    archive.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield archive
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
