"""The receiver of DICOM objects: C-ECHO, C-STORE and storage commitment."""

from __future__ import annotations

import logging
import re
import socket
import socketserver
import sys
import threading
import time
from typing import Any

import pydicom
from pydicom.uid import UID
from pynetdicom import _config, evt
from pynetdicom.transport import (
    AssociationSocket,
    RequestHandler,
    ThreadedAssociationServer,
)

from records.dicom import syntaxes
from serving.pacs import associations, commitment, intake
from serving.pacs.settings import PacsSettings, Peer

_log = logging.getLogger(__name__)
# Its own messages have values of data sets in them.
_config.LOG_HANDLER_LEVEL = 'none'
SOP_CLASSES = (
    pydicom.uid.ComputedRadiographyImageStorage,
    pydicom.uid.DigitalXRayImageStorageForPresentation,
    pydicom.uid.SecondaryCaptureImageStorage,
)
_VERIFICATION = UID('1.2.840.10008.1.1')
# A PDU of a message; what is negotiated, and what an association request has at most.
_MAX_PDU, _MAX_READ = 128 << 10, 256 << 10
_MAX_COMMENT = 64
# As reasons name it.
_TAG = re.compile(r'\(([0-9A-F]{4}),([0-9A-F]{4})\)')
# Rejected for good, by the user of the service: calling title not recognized (PS3.8, 9.3.4).
_NOT_RECOGNIZED = (1, 1, 3)


def transfer_syntaxes() -> list[str]:
    """The transfer syntaxes whose pixels can be read here, the preferred one first."""
    preferred = pydicom.uid.ExplicitVRLittleEndian
    return [preferred, *(syntax for syntax in syntaxes.ALL if syntax != preferred)]


class Receiver:
    """Takes associations from `start` to `close`; the port is its own before that.

    Args:
      settings: where, and from whom.
      objects: gets the objects.

    Raises:
      OSError: e.g. another program has the port.
      SettingError: a file of TLS cannot be used.
    """

    def __init__(self, settings: PacsSettings, objects: intake.Intake):
        self._settings, self._intake = settings, objects
        self._commitments = commitment.Commitments(settings, objects.known)
        entity = associations.entity(settings)
        entity.maximum_pdu_size = _MAX_PDU
        entity.maximum_associations = settings.max_associations
        entity.require_called_aet = True
        entity.add_supported_context(_VERIFICATION)
        for uid in SOP_CLASSES:
            entity.add_supported_context(uid, transfer_syntaxes())
        if settings.commits:
            entity.add_supported_context(commitment.SOP_CLASS)
        self._server = _Server(
            entity,
            (settings.host, settings.port or 0),
            settings.ae_title,
            entity.supported_contexts,
            settings.tls.for_server() if settings.tls else None,
            [
                (evt.EVT_REQUESTED, self._check_caller),
                (evt.EVT_C_STORE, self._store),
                (evt.EVT_N_ACTION, self._commit),
            ],
            _Handler,
        )
        self._server.most_bytes = objects.max_bytes + _MAX_READ
        self._server.timeout_s = settings.timeout_s
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={'poll_interval': 0.1}, name='dicom'
        )

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return self._server.server_address[1]

    def start(self) -> None:
        """Takes associations from now on."""
        self._thread.start()

    def close(self) -> None:
        """Ends all associations; an object that was not answered is sent again by its source."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        else:
            self._server.server_close()
        for association in self._server.active_associations:
            association.abort()
        self._commitments.close()

    def _check_caller(self, event: evt.Event) -> None:
        """Refuses callers that are not among the peers."""
        title, address = _caller(event), event.assoc.requestor.address
        if self._settings.peers and _peer(self._settings.peers, title, address) is None:
            _log.warning('association of %r at %s refused: not one of the peers', title, address)
            event.assoc.acse.send_reject(*_NOT_RECOGNIZED)
            event.assoc.kill()

    def _store(self, event: evt.Event) -> Any:
        title = _caller(event)
        try:
            site = self._settings.sites.get(title, '')
            self._intake.accept(event.encoded_dataset(), f'dicom:{title}', site=site)
        except intake.RefusedError as error:
            _log.warning('%s: object refused (0x%04X): %s', title, error.status, error)
            return _status(error.status, str(error))
        except Exception as error:  # noqa: BLE001 - the sender gets a status, whatever it sent
            _log.error('%s: object not stored: %s', title, type(error).__name__)
            return _status(intake.PROCESSING_FAILURE, 'internal error')
        return intake.SUCCESS

    def _commit(self, event: evt.Event) -> Any:
        title, address = _caller(event), event.assoc.requestor.address
        peer = _peer(self._settings.peers, title, address) or Peer(title)
        return self._commitments.answer(event, peer)


class _Socket(AssociationSocket):
    """One whose PDUs and messages have limits, and must arrive in time."""

    most_bytes = 0
    timeout_s = 0.0
    # Since the last complete message.
    received = 0

    def recv(self, nr_bytes: int) -> bytearray:
        self.received += nr_bytes
        if nr_bytes > _MAX_READ or self.received > self.most_bytes:
            raise OSError('the PDU or the message is too large')
        assert self.socket is not None
        data = bytearray(nr_bytes)
        view, position = memoryview(data), 0
        deadline = time.monotonic() + self.timeout_s
        while position < nr_bytes:
            self.socket.settimeout(max(0.001, deadline - time.monotonic()))
            count = self.socket.recv_into(view[position:])
            if not count:
                return data[:position]
            position += count
        self.socket.settimeout(self.timeout_s)
        return data


class _Handler(RequestHandler):
    """Gives each association its socket."""

    server: _Server

    def _create_association(self) -> Any:
        association = super()._create_association()
        limited = _Socket(association, client_socket=self.request)
        limited.most_bytes = self.server.most_bytes
        limited.timeout_s = self.server.timeout_s
        # The socket of the base class has announced the connection already.
        association.dul.event_queue.get_nowait()
        association.dul.socket = limited
        association.bind(evt.EVT_DIMSE_RECV, _message_received)
        return association


def _message_received(event: evt.Event) -> None:
    limited = event.assoc.dul.socket
    if isinstance(limited, _Socket):
        limited.received = 0


class _Server(ThreadedAssociationServer):
    """One that no client can hold up."""

    daemon_threads = True
    most_bytes = 0
    timeout_s = 30.0

    def get_request(self) -> Any:
        """Accepts a connection; its TLS handshake follows in its own thread."""
        assert self.socket is not None
        connection, address = self.socket.accept()
        connection.settimeout(self.timeout_s)
        if self.ssl_context:
            connection = self.ssl_context.wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            )
        return connection, address

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Takes no more connections than associations are allowed, and as many that are refused."""
        return len(self.active_associations) < 2 * self.ae.maximum_associations

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Serves a connection."""
        if self.ssl_context:
            request.do_handshake()
        super().finish_request(request, client_address)

    def shutdown(self) -> None:
        """Ends `serve_forever`, and closes the port."""
        socketserver.BaseServer.shutdown(self)
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Without a traceback: whoever connects may cause one."""
        error = sys.exc_info()[1]
        _log.warning('%s: %s: %s', client_address[0], type(error).__name__, error)


def _caller(event: evt.Event) -> str:
    """The title of the caller, as it says."""
    request = event.assoc.requestor.primitive
    title = str(request.calling_ae_title).strip() if request else ''
    # It gets into the log and the audit log.
    return ''.join(character for character in title if character.isprintable())


def _peer(peers: tuple[Peer, ...], title: str, address: str) -> Peer | None:
    """The peer with a title, at an address."""
    return next((p for p in peers if p.ae_title == title and _is_at(p.host, address)), None)


def _is_at(host: str, address: str) -> bool:
    if not host or host == address:
        return True
    try:
        return any(found[4][0] == address for found in socket.getaddrinfo(host, None))
    except OSError:
        return False


def _status(code: int, text: str) -> pydicom.Dataset:
    """A status with its reason, which has room for 64 characters."""
    status = pydicom.Dataset()
    status.Status, status.ErrorComment = code, text[:_MAX_COMMENT]
    if tag := _TAG.search(text):
        status.OffendingElement = int(tag[1] + tag[2], 16)
    return status
