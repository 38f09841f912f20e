"""Sends a DICOM file to an archive, by C-STORE or STOW-RS."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pydicom
from pydicom.uid import ComprehensiveSRStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from serving.pacs import associations
from serving.pacs.settings import PacsSettings, Target

Send = Callable[[bytes], str]
_SUCCESS = 0x0000
# Accepted with a remark, such as that an attribute was changed.
_WARNINGS = range(0xB000, 0xC000)
_MAX_ANSWER = 1 << 20
_FAILED_SOP_SEQUENCE = '00081198'


@contextlib.contextmanager
def opened(target: Target, settings: PacsSettings) -> Iterator[Send]:
    """A function that sends one file, and returns why it was not accepted, or ''."""
    if target.peer is None:
        yield lambda content: _stow(target, settings, content)
        return
    caller = associations.entity(settings)
    caller.add_requested_context(
        ComprehensiveSRStorage, [ExplicitVRLittleEndian, ImplicitVRLittleEndian]
    )
    tls = settings.tls if target.is_tls else None
    association = associations.associate(caller, target.peer, tls)
    try:
        yield lambda content: _store(association, content)
    finally:
        if association.is_established:
            association.release()


def _store(association: Any, content: bytes) -> str:
    if association.is_rejected:
        return 'the archive rejects the association: does it know the title of this gateway?'
    if not association.is_established:
        return 'the archive does not answer'
    try:
        status = association.send_c_store(pydicom.dcmread(io.BytesIO(content)))
    except (RuntimeError, ValueError) as error:
        # It has ended the association, or takes no reports.
        return str(error)
    code = status.get('Status')
    if code is None:
        return 'the archive did not answer'
    return '' if code == _SUCCESS or code in _WARNINGS else associations.status_text(status)


def _stow(target: Target, settings: PacsSettings, content: bytes) -> str:
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
    }
    if target.user:
        credentials = base64.b64encode(f'{target.user}:{target.password}'.encode()).decode()
        headers['Authorization'] = f'Basic {credentials}'
    request = urllib.request.Request(f'{target.url}/studies', body, headers)
    context = settings.tls.for_client() if settings.tls and target.is_tls else None
    try:
        with urllib.request.urlopen(request, timeout=settings.timeout_s, context=context) as answer:
            stored = json.loads(answer.read(_MAX_ANSWER) or b'{}')
    except urllib.error.HTTPError as error:
        return f'status {error.code} {error.reason}'
    except OSError as error:
        return f'the archive does not answer: {getattr(error, "reason", error)}'
    except ValueError:
        return 'the archive does not answer in JSON'
    # A list of data sets is allowed, too.
    answers = stored if isinstance(stored, list) else [stored]
    # Orthanc has the sequence in each answer, without items if nothing failed.
    if any(dataset.get(_FAILED_SOP_SEQUENCE, {}).get('Value') for dataset in answers):
        return 'the archive refuses the report'
    return ''
