"""Sends reports by HTTP: to DICOMweb archives, FHIR servers and webhooks."""

from __future__ import annotations

import time

from serving import related_parts
from serving.pacs import fhir, web, webhook
from serving.pacs.settings import Target, webhook_key

_MAX_ANSWER = 1 << 20
_FAILED_SOP_SEQUENCE = '00081198'
_ACCEPTED = range(200, 300)
_TRANSACTION_RESPONSE = ('Bundle', 'transaction-response')


def stow(target: Target, timeout_s: float, content: bytes, id: str) -> str:
    """Stores a DICOM file by STOW-RS; see `serving.pacs.targets.Send`."""
    del id
    body, content_type = related_parts.body(content)
    headers = {
        'Accept': 'application/dicom+json',
        'Content-Type': content_type,
        **web.authorization(target.user, target.password),
    }
    try:
        stored = _post(f'{target.url}/studies', body, headers, timeout_s).json()
    except web.WebError as error:
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
        **web.authorization(target.user, target.password),
    }
    try:
        done = _post(target.url, content, headers, timeout_s).json()
    except web.WebError as error:
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
    except web.WebError as error:
        # Whatever else it answers, this status means that it has the message.
        return '' if error.status in _ACCEPTED else str(error)
    return ''


def _post(url: str, body: bytes, headers: dict[str, str], timeout_s: float) -> web.Answer:
    return web.send(url, headers, body, timeout_s=timeout_s, max_bytes=_MAX_ANSWER)
