"""Hands DICOM files to a gateway by STOW-RS, and asks it which it has had."""

from __future__ import annotations

import json
import time
import urllib.parse
from typing import Any

from serving import related_parts
from serving.pacs import web

_JSON = 'application/dicom+json'
_FAILED, _COMMENT, _INSTANCE = '00081198', '00000902', '00080018'
_TIMEOUT_S = 120.0
_MAX_ANSWER = 1 << 20
# The gateway takes 100 at a time.
_UIDS_PER_QUESTION = 50
_TOO_MANY, _REFUSED, _TOO_LARGE = 429, 409, 413
# It lets a caller send a number of requests in a minute.
_TRIES, _LONGEST_PAUSE_S = 30, 60.0


class GatewayError(RuntimeError):
    """The gateway does not answer, or takes nothing from this caller; the text says why."""


class GatewayClient:
    """A client of a gateway.

    Args:
      url: of the gateway, without a path.
      token: with the role `upload`; '' where none is needed.
    """

    def __init__(self, url: str, token: str = ''):
        self._url = url.rstrip('/')
        self._headers = {'Accept': _JSON, **web.authorization('', token)}

    def accepted(self, study: str, instances: list[str]) -> set[str]:
        """Those of some SOP Instance UIDs of a study that the gateway has accepted before.

        Raises:
          GatewayError: it does not say.
        """
        found = set()
        for start in range(0, len(instances), _UIDS_PER_QUESTION):
            uids = ','.join(instances[start : start + _UIDS_PER_QUESTION])
            query = urllib.parse.urlencode({'SOPInstanceUID': uids}, safe=',')
            try:
                rows = self._send(f'studies/{study}/instances?{query}').json()
                found |= {row[_INSTANCE]['Value'][0] for row in rows}
            except (web.WebError, KeyError, TypeError) as error:
                raise self._error(error) from None
        return found & set(instances)

    def store(self, study: str, content: bytes) -> None:
        """Stores a DICOM file of a study; when this returns, it is on the disk.

        Raises:
          web.WebError: the gateway refuses the file; the text says why.
          GatewayError: it does not answer, or takes no files from this caller.
        """
        body, content_type = related_parts.body(content)
        try:
            self._send(f'studies/{study}', body, {'Content-Type': content_type})
        except web.WebError as error:
            if error.status == _REFUSED:
                raise web.WebError(f'the gateway refuses it: {_comment(error.body)}') from None
            if error.status == _TOO_LARGE:
                raise web.WebError('the gateway refuses it: it is too large') from None
            raise self._error(error) from None

    def _send(
        self, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> web.Answer:
        for attempt in range(_TRIES):
            try:
                return web.send(
                    f'{self._url}/dicom-web/{path}',
                    {**self._headers, **(headers or {})},
                    body,
                    timeout_s=_TIMEOUT_S,
                    max_bytes=_MAX_ANSWER,
                )
            except web.WebError as error:
                if error.status != _TOO_MANY or attempt == _TRIES - 1:
                    raise
                seconds = error.retry_after
                pause = float(seconds) if seconds.isdecimal() else 1.0
                time.sleep(min(pause, _LONGEST_PAUSE_S))
        raise AssertionError

    def _error(self, error: Exception) -> GatewayError:
        if not isinstance(error, web.WebError):
            error = web.WebError('it does not answer as a gateway does')
        advice = {
            401: '; give a token with --token',
            403: '; the token needs the role upload',
            404: '; is it a gateway, of this release?',
        }.get(error.status, '')
        return GatewayError(f'the gateway at {self._url}: {error}{advice}')


def _comment(body: bytes) -> str:
    """Why a gateway has refused a file."""
    try:
        answer: Any = json.loads(body)
        return str(answer[_FAILED]['Value'][0][_COMMENT]['Value'][0])
    except (ValueError, KeyError, IndexError, TypeError):
        return 'no reason given'
