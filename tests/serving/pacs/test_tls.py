"""DICOM over TLS: both sides need a certificate of the same authority."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from pynetdicom import AE

from serving.database import connection
from serving.pacs.settings import PacsSettings, SettingError, Tls
from tests.support import certificates, gateways

_VERIFICATION = '1.2.840.10008.1.1'


def _echoes(port: int, context: ssl.SSLContext | None) -> bool:
    entity = AE('ROOM1')
    entity.acse_timeout = entity.connection_timeout = 10
    entity.add_requested_context(_VERIFICATION)
    tls = (context, '127.0.0.1') if context else None
    association = entity.associate('127.0.0.1', port, ae_title='CXRTRIAGE', tls_args=tls)
    if not association.is_established:
        return False
    status = association.send_c_echo().get('Status')
    association.release()
    return status == 0


def test_only_clients_with_a_certificate_are_served(tmp_path: Path) -> None:
    own, other = certificates.own(tmp_path / 'own'), certificates.own(tmp_path / 'other')
    stranger = other.for_client()
    stranger.load_verify_locations(own.authorities)
    database = connection.sqlite_url(tmp_path / 'gateway.sqlite')
    pacs = PacsSettings(port=0, tls=own, timeout_s=5.0)
    with gateways.running(tmp_path, database, tmp_path, pacs=pacs) as gateway:
        port = gateway.services.pacs.port
        assert port is not None
        assert _echoes(port, own.for_client())
        assert not _echoes(port, stranger)
        assert not _echoes(port, None)
        assert _echoes(port, own.for_client())


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    tls = Tls(tmp_path / 'none.pem', tmp_path / 'none.key', tmp_path / 'none.ca')
    with pytest.raises(SettingError, match=r'none\.pem.*No such file'):
        tls.for_server()
