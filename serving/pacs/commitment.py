"""Storage commitment: tells a sender which of its objects are on the disk."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pydicom
from pynetdicom import build_role, evt

from serving.pacs import associations
from serving.pacs.settings import PacsSettings, Peer

_log = logging.getLogger(__name__)
SOP_CLASS = pydicom.uid.UID('1.2.840.10008.1.20.1')
# The only instance of its class; see DICOM PS3.4, J.3.5.
_INSTANCE = '1.2.840.10008.1.20.1.1'
_REQUEST, _ALL_STORED, _SOME_MISSING = 1, 1, 2
_SUCCESS, _NO_SUCH_ACTION, _INVALID, _BUSY = 0x0000, 0x0123, 0x0115, 0x0213
_NO_SUCH_OBJECT = 0x0112
_MOST_OBJECTS, _MOST_WAITING = 10_000, 1_000
_ATTEMPTS, _PAUSE_S = 4, 5.0


@dataclass(frozen=True)
class _Result:
    peer: Peer
    association: Any
    event_type: int
    report: pydicom.Dataset


class Commitments:
    """Answers requests, each by a report to the sender, until `close`.

    A peer whose port is set gets the report in an association of its own, as most archives expect;
    others get it in the association of the request.

    Args:
      settings: with the peers.
      known: says which of some SOP Instance UIDs are stored.
    """

    def __init__(self, settings: PacsSettings, known: Callable[[set[str]], set[str]]):
        self._settings, self._known = settings, known
        self._results: queue.Queue[_Result | None] = queue.Queue(_MOST_WAITING)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._work, name='commitments', daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends its thread; a sender whose report is lost asks again."""
        self._closed.set()
        self._results.put(None)
        self._thread.join()

    def answer(self, event: evt.Event, peer: Peer) -> tuple[int, None]:
        """Answers a request (N-ACTION); its report follows."""
        if event.action_type != _REQUEST:
            return _NO_SUCH_ACTION, None
        try:
            request = event.action_information
            wanted = {
                str(item.ReferencedSOPInstanceUID): str(item.ReferencedSOPClassUID)
                for item in request.ReferencedSOPSequence
            }
            transaction = str(request.TransactionUID)
        except Exception:  # noqa: BLE001 - what a damaged request makes a library raise
            return _INVALID, None
        if not wanted or len(wanted) > _MOST_OBJECTS:
            return _INVALID, None
        stored = self._known(set(wanted))
        report = pydicom.Dataset()
        report.TransactionUID = transaction
        report.ReferencedSOPSequence = [_item(uid, wanted[uid]) for uid in wanted if uid in stored]
        missing = [_item(uid, wanted[uid], True) for uid in wanted if uid not in stored]
        if missing:
            report.FailedSOPSequence = missing
        if not report.ReferencedSOPSequence:
            del report.ReferencedSOPSequence
        kind = _SOME_MISSING if missing else _ALL_STORED
        try:
            self._results.put_nowait(_Result(peer, event.assoc, kind, report))
        except queue.Full:
            return _BUSY, None
        return _SUCCESS, None

    def _work(self) -> None:
        while (result := self._results.get()) is not None:
            for attempt in range(_ATTEMPTS):
                if attempt:
                    self._closed.wait(_PAUSE_S)
                try:
                    problem = self._send(result)
                except Exception as error:  # noqa: BLE001 - other senders wait
                    problem = type(error).__name__
                if not problem or self._closed.is_set():
                    break
            else:
                title = result.peer.ae_title
                _log.error('%s: commitment not delivered: %s', title, problem)

    def _send(self, result: _Result) -> str:
        """Sends a report; returns why it was not taken, or ''."""
        if not result.peer.port:
            # The answer to the request has to be on its way first.
            time.sleep(0.1)
            return (
                _send(result.association, result)
                if result.association.is_established
                else ('the sender has ended its association, and its port is not known')
            )
        caller = associations.entity(self._settings)
        caller.add_requested_context(SOP_CLASS)
        # This side is the provider, though it asks for the association.
        roles = [build_role(SOP_CLASS, scp_role=True)]
        association = associations.associate(caller, result.peer, self._settings.tls, ext_neg=roles)
        if not association.is_established:
            return 'no association'
        try:
            return _send(association, result)
        finally:
            association.release()


def _send(association: Any, result: _Result) -> str:
    status, _ = association.send_n_event_report(
        result.report, result.event_type, SOP_CLASS, _INSTANCE
    )
    code = status.get('Status')
    return '' if code == _SUCCESS else f'status {code}'


def _item(instance: str, sop_class: str, is_missing: bool = False) -> pydicom.Dataset:
    item = pydicom.Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, instance
    if is_missing:
        item.FailureReason = _NO_SUCH_OBJECT
    return item
