"""Sends reports to targets of each kind."""

from __future__ import annotations

import contextlib
import functools
import io
from collections.abc import Callable, Iterator
from typing import Any

import pydicom
from pydicom.uid import ComprehensiveSRStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from serving.pacs import associations, http_targets
from serving.pacs.settings import Kind, PacsSettings, Target

# Sends a report under an id, which is the same for each attempt. Returns why it was not accepted,
# without any of its content, or ''.
Send = Callable[[bytes, str], str]
_BY_HTTP = {
    Kind.STOW_RS: http_targets.stow,
    Kind.FHIR: http_targets.put_fhir,
    Kind.WEBHOOK: http_targets.call_webhook,
}
_SUCCESS = 0x0000
# Accepted with a remark, such as that an attribute was changed.
_WARNINGS = range(0xB000, 0xC000)


@contextlib.contextmanager
def opened(target: Target, settings: PacsSettings) -> Iterator[Send]:
    """A function that sends reports to a target, over one association if it takes C-STORE."""
    if target.peer is None:
        yield functools.partial(_BY_HTTP[target.kind], target, settings.timeout_s)
        return
    caller = associations.entity(settings)
    caller.add_requested_context(
        ComprehensiveSRStorage, [ExplicitVRLittleEndian, ImplicitVRLittleEndian]
    )
    tls = settings.tls if target.is_tls else None
    association = associations.associate(caller, target.peer, tls)
    try:
        yield functools.partial(_store, association)
    finally:
        if association.is_established:
            association.release()


def _store(association: Any, content: bytes, id: str) -> str:
    del id  # the SOP Instance UID is in the file
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
