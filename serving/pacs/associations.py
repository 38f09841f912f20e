"""What all associations share: time limits, how one is asked for, and the text of a status."""

from __future__ import annotations

from typing import Any

import pydicom
from pynetdicom import AE

from serving.pacs.settings import PacsSettings, Peer, Tls


def entity(settings: PacsSettings) -> AE:
    """The gateway's application entity, with its title and time limits, without contexts."""
    result = AE(settings.ae_title)
    result.acse_timeout = result.dimse_timeout = settings.timeout_s
    result.connection_timeout = result.network_timeout = settings.timeout_s
    return result


def associate(caller: AE, peer: Peer, tls: Tls | None = None, **options: Any) -> Any:
    """Asks a peer for an association; the answer may be one that is not established.

    Args:
      caller: with the contexts that it asks for.
      peer: with its host and port.
      tls: None for a connection that is not encrypted.
      options: more arguments of pynetdicom's `AE.associate`.
    """
    tls_args = (tls.for_client(), peer.host) if tls else None
    return caller.associate(
        peer.host, peer.port, ae_title=peer.ae_title, tls_args=tls_args, **options
    )


def status_text(status: pydicom.Dataset) -> str:
    """The status of an answer, with its comment."""
    code = status.get('Status')
    if code is None:
        return 'no answer'
    return f'status 0x{code:04X} {status.get("ErrorComment", "")}'.strip()
