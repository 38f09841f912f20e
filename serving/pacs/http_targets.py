"""Sends reports by HTTP: to DICOMweb archives, FHIR servers and webhooks."""

from __future__ import annotations

import base64
import json
import time
import urllib.error
import urllib.request
import uuid
from typing import Any

from serving.pacs import fhir, webhook
from serving.pacs.settings import Target, webhook_key

_MAX_ANSWER = 1 << 20
_FAILED_SOP_SEQUENCE = '00081198'
_TRANSACTION_RESPONSE = ('Bundle', 'transaction-response')


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirected POST would become a GET, whose success says nothing about the report."""

    def redirect_request(self, *_: Any) -> None:
        """Makes the redirect an error."""


_OPENER = urllib.request.build_opener(_NoRedirects)


class _NotAcceptedError(Exception):
    """Why a target does not take a report."""


def stow(target: Target, timeout_s: float, content: bytes, id: str) -> str:
    """Stores a DICOM file by STOW-RS; see `serving.pacs.targets.Send`."""
    del id
    boundary = uuid.uuid4().hex
    body = b''.join(
        (
            f'--{boundary}\r\nContent-Type: application/dicom\r\n\r\n'.encode(),
            content,
            f'\r\n--{boundary}--\r\n'.encode(),
        )
    )
    headers = {
        'Accept': 'application/dicom+json',
        'Content-Type': f'multipart/related; type="application/dicom"; boundary={boundary}',
        **_credentials(target),
    }
    try:
        stored = _json(_post(f'{target.url}/studies', body, headers, timeout_s))
    except _NotAcceptedError as error:
        return str(error)
    # A list of data sets is allowed, too.
    answers = stored if isinstance(stored, list) else [stored]
    # Orthanc has the sequence in each answer, without items if nothing failed.
    if any(dataset.get(_FAILED_SOP_SEQUENCE, {}).get('Value') for dataset in answers):
        return 'the archive refuses the report'
    return ''


def put_fhir(target: Target, timeout_s: float, content: bytes, id: str) -> str:
    """Sends a transaction to a FHIR server; see `serving.pacs.targets.Send`."""
    del id
    headers = {
        'Accept': fhir.MEDIA_TYPE,
        'Content-Type': fhir.MEDIA_TYPE,
        **_credentials(target),
    }
    try:
        done = _json(_post(target.url, content, headers, timeout_s))
    except _NotAcceptedError as error:
        return str(error)
    kind = (done.get('resourceType'), done.get('type')) if isinstance(done, dict) else None
    if kind != _TRANSACTION_RESPONSE:
        return 'it answers, but not as a FHIR server answers a transaction'
    return ''


def call_webhook(target: Target, timeout_s: float, content: bytes, id: str) -> str:
    """Sends JSON with a signature; see `serving.pacs.targets.Send`."""
    key = webhook_key(target.password)
    headers = {
        'Content-Type': 'application/json',
        **webhook.headers(key, id, int(time.time()), content),
    }
    try:
        _post(target.url, content, headers, timeout_s)
    except _NotAcceptedError as error:
        return str(error)
    return ''


def _credentials(target: Target) -> dict[str, str]:
    if not target.password:
        return {}
    if not target.user:
        return {'Authorization': f'Bearer {target.password}'}
    pair = base64.b64encode(f'{target.user}:{target.password}'.encode()).decode()
    return {'Authorization': f'Basic {pair}'}


def _post(url: str, body: bytes, headers: dict[str, str], timeout_s: float) -> bytes:
    """The answer to a POST that succeeds."""
    request = urllib.request.Request(url, body, headers)
    try:
        with _OPENER.open(request, timeout=timeout_s) as answer:
            return answer.read(_MAX_ANSWER)
    except urllib.error.HTTPError as error:
        # Its body may have values of the report in it.
        raise _NotAcceptedError(f'status {error.code} {error.reason}'.strip()) from None
    except OSError as error:
        reason = getattr(error, 'reason', error)
        raise _NotAcceptedError(f'it does not answer: {reason}') from None


def _json(answer: bytes) -> Any:
    try:
        return json.loads(answer or b'{}')
    except ValueError:
        raise _NotAcceptedError('it does not answer in JSON') from None
