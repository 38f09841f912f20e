"""Sites: which one a study has, the filter of the work list, and the names that are refused."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian
from pynetdicom import AE
from sqlalchemy.orm import Session, sessionmaker

from cli import main as cli
from serving import audit, sites, tokens
from serving.database import connection
from serving.pacs.settings import PacsSettings
from serving.sites import SiteError
from serving.tokens import READ, UPLOAD
from tests.support import gateways
from tests.support.gateways import Gateway

_TOO_LONG = 's' * 65
_BAD_NAMES = pytest.mark.parametrize('name', [_TOO_LONG, ' a', 'a ', 'a\nb', 'a\x00b'], ids=repr)


@pytest.fixture(scope='module')
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """One of the site Main, for which ROOM1 has the site North; nothing is scored."""
    folder = tmp_path_factory.mktemp('gateway')
    url = connection.sqlite_url(folder / 'gateway.sqlite')
    options = {'requires_token': True, 'site': 'Main'}
    pacs = PacsSettings(port=0, sites={'ROOM1': 'North'})
    with gateways.running(folder / 'data', url, folder, pacs=pacs, **options) as running:
        with running.services.sessions.begin() as session:
            reader = tokens.create(session, 'reader', [READ], 'test')
        running.http.headers['Authorization'] = f'Bearer {reader}'
        yield running


def _token(gateway: Gateway, name: str, site: str = '') -> dict[str, str]:
    with gateway.services.sessions.begin() as session:
        secret = tokens.create(session, name, [UPLOAD], 'test', site)
    return {'Authorization': f'Bearer {secret}'}


def _dicom(study: str) -> bytes:
    return gateways.dicom(gateways.pixels(1), StudyInstanceUID=study)


def _site(gateway: Gateway, id: str) -> str:
    return gateway.body(f'/v1/studies/{id}')['site']


def _newest(gateway: Gateway) -> dict[str, Any]:
    return gateway.body('/v1/worklist')['studies'][0]


def _send(gateway: Gateway, title: str, content: bytes) -> None:
    entity = AE(title)
    entity.add_requested_context(DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian)
    port = gateway.services.pacs.port
    assert port is not None
    association = entity.associate('127.0.0.1', port, ae_title='CXRTRIAGE')
    assert association.send_c_store(pydicom.dcmread(io.BytesIO(content))).Status == 0
    association.release()


def test_an_upload_has_the_site_of_its_token_or_of_the_gateway(gateway: Gateway) -> None:
    south, none = _token(gateway, 'south', 'South'), _token(gateway, 'none')
    assert _site(gateway, gateway.accepted(gateways.jpeg(), headers=south)) == 'South'
    assert _site(gateway, gateway.accepted(gateways.jpeg(), headers=none)) == 'Main'


def test_a_dicom_study_keeps_the_site_of_its_first_sender(gateway: Gateway) -> None:
    _send(gateway, 'ROOM1', _dicom('1.2.1'))
    assert _newest(gateway)['site'] == 'North'
    _send(gateway, 'ROOM2', _dicom('1.2.1'))
    study = gateway.body(f'/v1/studies/{_newest(gateway)["id"]}')
    assert (study['site'], len(study['images'])) == ('North', 2)
    _send(gateway, 'ROOM2', _dicom('1.2.2'))
    assert _newest(gateway)['site'] == 'Main'


def test_stow_has_the_site_of_its_token(gateway: Gateway) -> None:
    body = b''.join(
        (
            b'--x\r\nContent-Type: application/dicom\r\n\r\n',
            _dicom('1.2.3'),
            b'\r\n--x--\r\n',
        )
    )
    media_type = 'multipart/related; type="application/dicom"; boundary=x'
    headers = {**_token(gateway, 'east', 'East'), 'Content-Type': media_type}
    gateways.body(gateway.post('/dicom-web/studies', data=body, headers=headers))
    assert _newest(gateway)['site'] == 'East'


def test_the_work_list_shows_a_site(gateway: Gateway) -> None:
    west = _token(gateway, 'west', 'West')
    id = gateway.accepted(gateways.jpeg(), headers=west)
    page = gateway.body('/v1/worklist', params={'site': 'West'})
    assert [(study['id'], study['site']) for study in page['studies']] == [(id, 'West')]
    assert page['total'] == 1
    assert gateway.body('/v1/worklist', params={'site': ''})['total'] == 0
    assert gateway.body('/v1/worklist')['total'] > 1


@_BAD_NAMES
def test_a_name_that_no_site_can_have_is_refused(
    gateway: Gateway, name: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with pytest.raises(SiteError, match='at most 64 printable characters'):
        sites.check(name)
    answer = gateway.get('/v1/worklist', params={'site': name})
    assert answer.status_code == 422 and 'at most 64 printable' in answer.json()['detail']
    for command in (['serve'], ['tokens', 'create', 'x', '--role', 'upload']):
        options = ['--data', str(tmp_path / 'data'), '--site', name]
        if command == ['serve']:
            options += ['--target', str(tmp_path)]
        assert cli.main([*command, *options]) == 1
        assert 'at most 64 printable characters' in capsys.readouterr().err


def test_the_site_of_a_token_is_listed_and_logged(
    sessions: sessionmaker[Session],
    database_url: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    service = ['--data', str(tmp_path)]
    if not database_url.startswith('sqlite'):
        service = ['--database', database_url]
    create = ['tokens', 'create', 'ward', '--role', 'upload', '--site', 'North wing', *service]
    assert cli.main(create) == 0
    assert cli.main(['tokens', 'list', *service]) == 0
    assert 'North wing' in capsys.readouterr().out
    with sessions() as session:
        (entry,) = audit.entries(session)
        assert '"site": "North wing"' in entry.details
