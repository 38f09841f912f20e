"""A plain HTTP client of the gateway, which costs little beside what it measures."""

from __future__ import annotations

import http.client
import json
import time
import urllib.parse
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

_BOUNDARY = 'cxr-benchmark-boundary'
_POLL_S = 0.002


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
        self, method: str, path: str, body: bytes | None = None, content_type: str = ''
    ) -> Answer:
        """Sends a request, and reads the whole answer."""
        headers = {**self._headers, **({'Content-Type': content_type} if content_type else {})}
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

    def study(self, id: str) -> dict[str, Any]:
        """A study.

        Raises:
          RefusedError: the gateway does not show it.
        """
        return _expect(self.request('GET', f'/v1/studies/{id}'), 200)

    def scored(self, id: str, poll_s: float = _POLL_S, timeout_s: float = 60.0) -> dict[str, Any]:
        """A study as soon as its answer is visible.

        Raises:
          TimeoutError: it still waits.
        """
        deadline = time.monotonic() + timeout_s
        while (study := self.study(id))['state'] == 'pending':
            if time.monotonic() > deadline:
                raise TimeoutError(f'study {id} still waits after {timeout_s:g} s')
            time.sleep(poll_s)
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
