"""The receiver over the network: what it accepts, what it refuses and why, and its limits."""

from __future__ import annotations

import io
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian
from pynetdicom import AE, evt
from sqlalchemy import event

from serving.database import connection
from serving.gateway import api
from serving.gateway.settings import Limits
from serving.pacs import commitment
from serving.pacs.settings import PacsSettings, Peer
from tests.support import gateways

_TITLE = 'CXRTRIAGE'
_LIMITS = Limits(max_file_bytes=1 << 20)


@pytest.fixture(scope='module')
def gateway(
    pushed_nothing: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[gateways.Gateway]:
    folder = tmp_path_factory.mktemp('gateway')
    pacs = PacsSettings(port=0, commits=True, timeout_s=5.0)
    database = connection.sqlite_url(folder / 'gateway.sqlite')
    with gateways.running(folder, database, pushed_nothing, limits=_LIMITS, pacs=pacs) as running:
        yield running


@pytest.fixture(scope='module')
def pushed_nothing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A push directory without versions: no image is scored here."""
    return tmp_path_factory.mktemp('pushed')


def _dataset(study: str, **tags: Any) -> pydicom.Dataset:
    content = gateways.dicom(gateways.pixels(1), **{'StudyInstanceUID': study, **tags})
    return pydicom.dcmread(io.BytesIO(content))


def _associate(gateway: gateways.Gateway, title: str = 'ROOM1', called: str = _TITLE) -> Any:
    entity = AE(title)
    entity.add_requested_context('1.2.840.10008.1.1')
    entity.add_requested_context(DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian)
    entity.add_requested_context(commitment.SOP_CLASS)
    port = gateway.services.pacs.port
    assert port is not None
    return entity.associate('127.0.0.1', port, ae_title=called)


def _send(gateway: gateways.Gateway, *datasets: pydicom.Dataset) -> list[pydicom.Dataset]:
    association = _associate(gateway)
    assert association.is_established
    try:
        return [association.send_c_store(dataset) for dataset in datasets]
    finally:
        association.release()


def _studies(gateway: gateways.Gateway) -> list[dict[str, Any]]:
    return gateway.body('/v1/worklist')['studies']


def test_images_of_a_study_are_one_study_on_the_disk(gateway: gateways.Gateway) -> None:
    before = len(_studies(gateway))
    first, second = _dataset('1.2.3'), _dataset('1.2.3')
    assert [s.Status for s in _send(gateway, first, second, first)] == [0, 0, 0]
    after = _studies(gateway)
    assert len(after) == before + 1
    study = gateway.body(f'/v1/studies/{after[0]["id"]}')
    assert [image['kind'] for image in study['images']] == ['dicom', 'dicom']
    image = gateway.get(f'/v1/studies/{study["id"]}/image')
    assert image.headers['Content-Type'] == 'image/png'
    for image in study['images']:
        stored = gateway.services.files.read(image['id'])
        assert not any(value.encode() in stored for value in gateways.PATIENT.values())
    # No archive gets reports, so nothing that identifies the patient is kept.
    assert list(gateway.services.pacs.origins.folder.iterdir()) == []


def test_a_gateway_answers_an_echo(gateway: gateways.Gateway) -> None:
    association = _associate(gateway)
    assert association.send_c_echo().Status == 0
    association.release()


@pytest.mark.parametrize(
    ('name', 'value', 'tag'),
    [
        ('Modality', 'CT', 0x00080060),
        ('StudyInstanceUID', '', 0x0020000D),
        ('NumberOfFrames', 2, 0x00280008),
    ],
)
def test_a_refusal_says_why(gateway: gateways.Gateway, name: str, value: Any, tag: int) -> None:
    before = len(_studies(gateway))
    (answer,) = _send(gateway, _dataset('1.2.4', **{name: value}))
    assert answer.Status == 0xC000
    assert answer.ErrorComment.startswith(name)
    assert answer.OffendingElement == tag
    assert len(_studies(gateway)) == before


def test_a_full_disk_is_a_lack_of_resources(
    gateway: gateways.Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(id: str, content: bytes) -> None:
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(gateway.services.files, 'write', full)
    (answer,) = _send(gateway, _dataset('1.2.5'))
    assert (answer.Status, answer.ErrorComment) == (0xA700, 'the disk is full')


def test_a_database_on_a_full_disk_leaves_no_files(tmp_path: Path, pushed_nothing: Path) -> None:
    database = connection.sqlite_url(tmp_path / 'gateway.sqlite')
    with gateways.running(tmp_path, database, pushed_nothing, pacs=PacsSettings(port=0)) as gateway:
        engine = gateway.services.sessions.kw['bind']
        # As small as it can be: each write that needs a new page finds no room.
        event.listen(engine, 'connect', lambda made, _: made.execute('PRAGMA max_page_count = 1'))
        engine.dispose()
        while (response := gateway.upload(gateways.jpeg())).status_code == 202:
            pass
        assert (response.status_code, response.json()['detail']) == (507, api.DISK_FULL)
        (answer,) = _send(gateway, _dataset('1.2.5'))
        assert (answer.Status, answer.ErrorComment) == (0xA700, 'the disk is full')
        stored = list(gateway.services.files.folder.glob('??/*'))
        assert len(stored) == gateway.body('/v1/worklist')['total']


def test_other_titles_are_refused(gateway: gateways.Gateway) -> None:
    association = _associate(gateway, called='OTHER')
    assert association.is_rejected


def test_only_peers_may_send(tmp_path: Path, pushed_nothing: Path) -> None:
    peers = (Peer('ROOM1'), Peer('ROOM2', '192.0.2.1'))
    database = connection.sqlite_url(tmp_path / 'gateway.sqlite')
    pacs = PacsSettings(port=0, peers=peers)
    with gateways.running(tmp_path, database, pushed_nothing, pacs=pacs) as gateway:
        allowed = _associate(gateway, 'ROOM1')
        assert allowed.is_established
        allowed.release()
        for title in ('ROOM2', 'ROOM3'):
            assert _associate(gateway, title).is_rejected


def test_storage_commitment_names_what_is_stored(gateway: gateways.Gateway) -> None:
    stored = _dataset('1.2.6')
    _send(gateway, stored)
    request = pydicom.Dataset()
    request.TransactionUID = '1.2.6.99'
    request.ReferencedSOPSequence = []
    for instance in (stored.SOPInstanceUID, '1.2.6.404'):
        item = pydicom.Dataset()
        item.ReferencedSOPClassUID = stored.SOPClassUID
        item.ReferencedSOPInstanceUID = instance
        request.ReferencedSOPSequence.append(item)
    reports = []

    def receive(event: evt.Event) -> tuple[int, None]:
        reports.append((event.event_type, event.event_information))
        return 0, None

    entity = AE('ROOM1')
    entity.add_requested_context(commitment.SOP_CLASS)
    association = entity.associate(
        '127.0.0.1',
        gateway.services.pacs.port,
        ae_title=_TITLE,
        evt_handlers=[(evt.EVT_N_EVENT_REPORT, receive)],
    )
    status, _ = association.send_n_action(
        request, 1, commitment.SOP_CLASS, '1.2.840.10008.1.20.1.1'
    )
    assert status.Status == 0
    deadline = time.monotonic() + 60
    while not reports and time.monotonic() < deadline:
        time.sleep(0.05)
    association.release()
    ((kind, report),) = reports
    assert (kind, report.TransactionUID) == (2, '1.2.6.99')
    (held,), (missing,) = report.ReferencedSOPSequence, report.FailedSOPSequence
    assert held.ReferencedSOPInstanceUID == stored.SOPInstanceUID
    assert (missing.ReferencedSOPInstanceUID, missing.FailureReason) == ('1.2.6.404', 0x0112)


@pytest.mark.parametrize(
    'message',
    [
        b'\x01\x00\xff\xff\xff\xff' + bytes(1000),
        b'\x04\x00\x00\x00\x00\x04\x00\x00\x00\x00',
        b'GET / HTTP/1.1\r\n\r\n',
        bytes(7),
    ],
    ids=['huge', 'unexpected', 'http', 'zeros'],
)
def test_nonsense_ends_its_connection_alone(gateway: gateways.Gateway, message: bytes) -> None:
    port = gateway.services.pacs.port
    with socket.create_connection(('127.0.0.1', port), timeout=60) as client:
        client.sendall(message)
        client.shutdown(socket.SHUT_WR)
        while client.recv(4096):
            pass
    association = _associate(gateway)
    assert association.send_c_echo().Status == 0
    association.release()


def test_an_object_over_the_limit_ends_its_association(gateway: gateways.Gateway) -> None:
    before = len(_studies(gateway))
    association = _associate(gateway)
    large = _dataset('1.2.7')
    large.PixelData = bytes(4 << 20)
    answer = association.send_c_store(large)
    assert answer.get('Status', 0xA700) != 0
    association.release()
    assert len(_studies(gateway)) == before
