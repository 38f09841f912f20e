"""STOW-RS: what is accepted, what is refused and why, and bodies that are damaged."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from serving.database import connection
from serving.gateway.settings import Limits
from tests.support import gateways

_STORED, _FAILED, _REASON, _COMMENT = '00081199', '00081198', '00081197', '00000902'


@pytest.fixture(scope='module')
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[gateways.Gateway]:
    folder = tmp_path_factory.mktemp('gateway')
    limits = Limits(max_file_bytes=1 << 20)
    database = connection.sqlite_url(folder / 'gateway.sqlite')
    with gateways.running(folder, database, folder, limits=limits) as running:
        yield running


def _dicom(study: str, **tags: Any) -> bytes:
    return gateways.dicom(gateways.pixels(1), StudyInstanceUID=study, **tags)


def _stow(
    gateway: gateways.Gateway, *files: bytes, path: str = '', **headers: str
) -> requests.Response:
    part = b'--cut\r\nContent-Type: application/dicom\r\n\r\n'
    body = b''.join(part + content + b'\r\n' for content in files) + b'--cut--\r\n'
    content_type = 'multipart/related; type="application/dicom"; boundary=cut'
    return gateway.post(
        f'/dicom-web/studies{path}', data=body, headers={'Content-Type': content_type, **headers}
    )


def test_objects_of_two_studies_become_two_studies(gateway: gateways.Gateway) -> None:
    answer = _stow(gateway, _dicom('1.2.1'), _dicom('1.2.1'), _dicom('1.2.2'))
    assert answer.headers['Content-Type'] == 'application/dicom+json'
    assert len(gateways.body(answer)[_STORED]['Value']) == 3
    rows = gateway.body('/v1/worklist')['studies']
    counts = [len(gateway.body(f'/v1/studies/{row["id"]}')['images']) for row in rows]
    assert sorted(counts) == [1, 2]


def test_the_answer_names_what_is_refused_and_why(gateway: gateways.Gateway) -> None:
    bad = _dicom('1.2.3', Modality='CT')
    answer = gateways.body(_stow(gateway, _dicom('1.2.3'), bad, b'nonsense'), 202)
    assert len(answer[_STORED]['Value']) == 1
    modality, nonsense = answer[_FAILED]['Value']
    assert modality[_REASON]['Value'] == [0xC000]
    assert modality[_COMMENT]['Value'][0].startswith('Modality (0008,0060) is CT')
    assert nonsense[_COMMENT]['Value'] == ['the file is not a PNG, JPEG or DICOM image']
    assert gateways.body(_stow(gateway, bad), 409)[_FAILED]['Value'] == [modality]


def test_an_object_of_another_study_is_refused(gateway: gateways.Gateway) -> None:
    answer = gateways.body(_stow(gateway, _dicom('1.2.4'), path='/1.2.5'), 409)
    (failed,) = answer[_FAILED]['Value']
    assert failed[_COMMENT]['Value'] == ['the object is of another study']
    assert _stow(gateway, _dicom('1.2.5'), path='/1.2.5').status_code == 200


@pytest.mark.parametrize(
    ('content_type', 'body', 'status'),
    [
        ('application/json', b'{}', 415),
        ('multipart/related; type="application/dicom+json"; boundary=cut', b'--cut--', 415),
        ('multipart/related; type="application/dicom"', b'--cut--', 415),
        ('multipart/related; boundary=cut', b'', 422),
        ('multipart/related; boundary=cut', b'nonsense', 422),
        ('multipart/related; boundary=cut', b'--cut\r\n\r\nhalf', 422),
        (f'multipart/related; boundary={"c" * 300}', b'x', 422),
    ],
)
def test_another_body_is_refused(
    gateway: gateways.Gateway, content_type: str, body: bytes, status: int
) -> None:
    answer = gateway.post('/dicom-web/studies', data=body, headers={'Content-Type': content_type})
    assert answer.status_code == status, answer.text
    assert answer.json()['detail']


def test_a_token_is_needed_where_they_are_on(tmp_path: Path) -> None:
    database = connection.sqlite_url(tmp_path / 'gateway.sqlite')
    with gateways.running(tmp_path, database, tmp_path, requires_token=True) as gateway:
        assert _stow(gateway, _dicom('1.2.6')).status_code == 401
