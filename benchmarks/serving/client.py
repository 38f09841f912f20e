"""A plain HTTP client of the gateway, which costs little beside what it measures."""

from __future__ import annotations

import http.client
import json
import urllib.parse
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

_BOUNDARY = 'cxr-benchmark-boundary'
# The longest that the gateway lets a client wait.
_WAIT_S = 60


@dataclass(frozen=True)
class Answer:
    """What the gateway answered: status and body."""

    status: int
    body: bytes

    def json(self) -> Any:
        """The body."""
        return json.loads(self.body)


class RefusedError(RuntimeError):
    """The gateway answered with an error; the text has its status and message."""


class Client:
    """A connection to a gateway, kept open; one thread may use it at a time.

    Args:
      url: of the gateway.
      token: '' where tokens are off.
      timeout_s: seconds without a byte after which a request fails.

    Requests raise OSError or http.client.HTTPException when the gateway is away.
    """

    def __init__(self, url: str, token: str = '', timeout_s: float = 60.0):
        address = urllib.parse.urlsplit(url).netloc
        self._connection = http.client.HTTPConnection(address, timeout=timeout_s)
        self._headers = {'Authorization': f'Bearer {token}'} if token else {}

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        content_type: str = '',
        wait_s: int = 0,
    ) -> Answer:
        """Sends a request, and reads the whole answer; the gateway may wait for a score first."""
        headers = {**self._headers, **({'Content-Type': content_type} if content_type else {})}
        if wait_s:
            headers['Prefer'] = f'wait={wait_s}'
        try:
            self._connection.request(method, path, body, headers)
            response = self._connection.getresponse()
            return Answer(response.status, response.read())
        except Exception:
            self._connection.close()
            raise

    def upload(self, *contents: bytes, names: Iterable[str] = ()) -> str:
        """Uploads files as one study, and returns its id.

        Raises:
          RefusedError: it was not accepted.
        """
        body, content_type = multipart(contents, names)
        answer = self.request('POST', '/v1/studies', body, content_type)
        return _expect(answer, 202)['id']

    def upload_and_wait(self, content: bytes) -> dict[str, Any]:
        """Uploads a file as a study, and returns the row of the study once it is scored.

        Raises:
          RefusedError: it was not accepted, or still waits after a minute.
        """
        answer = self.request('POST', '/v1/studies', *multipart([content]), wait_s=_WAIT_S)
        return _expect(answer, 200)

    def study(self, id: str, wait_s: int = 0) -> dict[str, Any]:
        """A study.

        Raises:
          RefusedError: the gateway does not show it.
        """
        return _expect(self.request('GET', f'/v1/studies/{id}', wait_s=wait_s), 200)

    def scored(self, id: str) -> dict[str, Any]:
        """A study as soon as its answer is visible.

        Raises:
          TimeoutError: it still waits after a minute.
        """
        if (study := self.study(id, _WAIT_S))['state'] == 'pending':
            raise TimeoutError(f'study {id} still waits after {_WAIT_S} s')
        return study

    def close(self) -> None:
        """Ends the connection."""
        self._connection.close()


def multipart(contents: Iterable[bytes], names: Iterable[str] = ()) -> tuple[bytes, str]:
    """A body of multipart/form-data with files, and its content type.

    Args:
      contents: of the files.
      names: of the files, sent as they are; '' names for the rest.
    """
    parts, names = [], iter(names)
    for content in contents:
        name = next(names, 'image').encode('utf-8', 'surrogateescape')
        parts.append(
            f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="files"; filename="'.encode()
            + name
            + b'"\r\nContent-Type: application/octet-stream\r\n\r\n'
            + content
            + b'\r\n'
        )
    parts.append(f'--{_BOUNDARY}--\r\n'.encode())
    return b''.join(parts), f'multipart/form-data; boundary={_BOUNDARY}'


def _expect(answer: Answer, status: int) -> Any:
    if answer.status != status:
        raise RefusedError(f'{answer.status}: {answer.body[:300].decode(errors="replace")}')
    return answer.json()
