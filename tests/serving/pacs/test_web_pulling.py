"""Studies by DICOMweb, from an archive that answers rightly or in any other way, to a gateway."""

from __future__ import annotations

import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import requests

from cli.main import main
from serving.database import connection
from serving.gateway.settings import Limits
from serving.pacs.gateway_client import GatewayClient
from serving.pacs.pulling import ArchiveError, Moved
from serving.pacs.settings import Target
from serving.pacs.web_pulling import Limits as ArchiveLimits
from serving.pacs.web_pulling import WebArchiveQuery
from tests.support import certificates, gateways, web_archive
from tests.support.web_archive import WebArchive, answer, related

_DAY = '20260102'
_PATIENCE_S = 120.0


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[gateways.Gateway]:
    database = connection.sqlite_url(tmp_path / 'gateway.sqlite')
    with gateways.running(tmp_path, database, tmp_path) as running:
        yield running


def _image(study: str, instance: int, modality: str = 'DX', **tags: Any) -> bytes:
    """An image in the series of its study and modality."""
    names = {
        'StudyInstanceUID': study,
        'SeriesInstanceUID': f'{study}.{len(modality)}.{ord(modality[0])}',
        'SOPInstanceUID': f'{study}.0.{instance}',
        'Modality': modality,
        'StudyDate': _DAY,
        **tags,
    }
    return gateways.dicom(gateways.pixels(1), **names)


@pytest.fixture
def archive() -> Iterator[WebArchive]:
    """Two studies with two images each; one of them has an image of another modality, too."""
    files = [_image(study, number) for study in ('1.2.1', '1.2.2') for number in (1, 2)]
    with web_archive.running(WebArchive([*files, _image('1.2.2', 9, 'CT')])) as running:
        yield running


def _pull(archive: WebArchive, gateway: gateways.Gateway, *options: str) -> int:
    return main(['pull', archive.url, '--dates', _DAY, '--to', gateway.url, *options])


def _counts(gateway: gateways.Gateway) -> list[int]:
    """The number of images of each study."""
    rows = gateway.body('/v1/worklist')['studies']
    return [len(gateway.body(f'/v1/studies/{row["id"]}')['images']) for row in rows]


def test_images_arrive_once_and_are_fetched_once(
    archive: WebArchive, gateway: gateways.Gateway, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _pull(archive, gateway) == 0
    assert capsys.readouterr().out.splitlines() == [
        '1.2.1: 2 images',
        '1.2.2: 2 images',
        '2 series, 4 images sent',
    ]
    assert (_counts(gateway), len(archive.fetched())) == ([2, 2], 4)
    archive.files.append(_image('1.2.1', 3))
    assert _pull(archive, gateway) == 0
    assert capsys.readouterr().out.splitlines() == [
        '1.2.1: 1 images, 2 already there',
        '1.2.2: 0 images, 2 already there',
        '2 series, 1 images sent, 4 already there',
    ]
    assert sorted(_counts(gateway)) == [2, 3]
    assert archive.fetched()[4:] == ['1.2.1.0.3']


@pytest.mark.parametrize('filters', [True, False], ids=['filters', 'ignores keys'])
def test_lists_in_pages_are_read_to_the_end(
    archive: WebArchive,
    gateway: gateways.Gateway,
    capsys: pytest.CaptureFixture[str],
    filters: bool,
) -> None:
    archive.page, archive.filters = 1, filters
    assert _pull(archive, gateway, '--modality', 'DX') == 0
    assert capsys.readouterr().out.endswith('2 series, 4 images sent\n')


def _wrong(status: int, body: bytes = b'', content_type: str = '', **options: Any) -> Any:
    """An answer that is not what was asked for."""

    def act(request: BaseHTTPRequestHandler) -> None:
        answer(request, status, body, content_type, **options)

    return act


@pytest.mark.parametrize(
    ('act', 'message'),
    [
        (_wrong(404), 'status 404 Not Found'),
        (_wrong(302, Location='/elsewhere'), 'status 302 Found'),
        (_wrong(200, b'<html>', 'text/html'), 'has another type than multipart/related'),
        (_wrong(200, b'--cut', 'multipart/related; boundary=cut'), 'no parts, or ends within one'),
        (_wrong(200, related(b'1', b'2'), 'multipart/related; boundary=cut'), 'more than 1'),
        (_wrong(200, b'nonsense', 'application/dicom'), 'cannot be read'),
        (_wrong(200, _image('1.2.1', 7), 'application/dicom'), 'with another image'),
        (_wrong(200, b'half', 'application/dicom', length=99), 'ends too early'),
        (_wrong(200, b'x' * (1 << 21), 'application/dicom'), 'more than 1,048,576 bytes'),
    ],
    ids=['404', 'redirect', 'page', 'cut', 'two', 'nonsense', 'other', 'short', 'long'],
)
def test_an_image_that_cannot_be_had_is_named_and_the_others_arrive(
    archive: WebArchive, gateway: gateways.Gateway, act: Any, message: str
) -> None:
    archive.answers['instances/1.2.1.0.1'] = act
    moved = _query(archive, gateway)
    assert [(m.sent, m.failed, list(m.of_images)) for m in moved] == [
        (1, 1, ['1.2.1.0.1']),
        (2, 0, []),
    ]
    assert message in moved[0].of_images['1.2.1.0.1']
    assert sorted(_counts(gateway)) == [1, 2]


def _query(archive: WebArchive, gateway: gateways.Gateway, **limits: Any) -> list[Moved]:
    expected = ArchiveLimits(**{'max_bytes': 1 << 20, **limits})
    query = WebArchiveQuery(Target.parse(archive.url), GatewayClient(gateway.url), expected)
    return list(query.pull(_DAY, ['DX']))


def _slow(request: BaseHTTPRequestHandler) -> None:
    """Sends a byte now and then, without an end."""
    request.send_response(200)
    request.end_headers()
    deadline = time.monotonic() + _PATIENCE_S
    try:
        while time.monotonic() < deadline:
            request.wfile.write(b'x')
            time.sleep(0.05)
    except OSError:
        return


def test_an_answer_that_does_not_end_is_given_up(
    archive: WebArchive, gateway: gateways.Gateway
) -> None:
    archive.answers['instances/1.2.1.0.1'] = _slow
    (first, second) = _query(archive, gateway, total_s=1.0)
    assert first.of_images == {'1.2.1.0.1': 'its answer takes too long'}
    assert second.is_complete


@pytest.mark.parametrize(
    ('end', 'problem'),
    [('1.2.1/series', 'its series are not listed'), ('1.2.1.2.68/instances', 'are not listed')],
)
@pytest.mark.parametrize(
    ('act', 'reason'),
    [
        (_wrong(500), 'status 500'),
        (_wrong(200, b'<html>'), 'does not answer in JSON'),
        (_wrong(200, b'[{"0020000E": {"Value": ["../x"]}}]'), 'does not answer as QIDO-RS does'),
        (_wrong(200, b'{"error": 1}'), 'does not answer as QIDO-RS does'),
    ],
    ids=['error', 'page', 'no UID', 'no list'],
)
def test_a_list_that_cannot_be_had_is_named_and_other_studies_arrive(
    archive: WebArchive,
    gateway: gateways.Gateway,
    end: str,
    problem: str,
    act: Any,
    reason: str,
) -> None:
    archive.answers[end] = act
    first, second = _query(archive, gateway)
    assert problem in first.problem and reason in first.problem
    assert (first.study, first.is_complete) == ('1.2.1', False)
    assert second == Moved('1.2.2', 2)


def test_what_the_gateway_refuses_is_named_with_its_reason(
    archive: WebArchive, gateway: gateways.Gateway, capsys: pytest.CaptureFixture[str]
) -> None:
    archive.files.append(_image('1.2.1', 3, BurnedInAnnotation='YES'))
    assert _pull(archive, gateway) == 1
    output = capsys.readouterr()
    assert '1.2.1: 2 images, 1 not sent\n' in output.out
    assert '1.2.1: image 1.2.1.0.3: the gateway refuses it: BurnedInAnnotation' in output.err
    assert output.out.endswith('2 series, 4 images sent\n')


def test_an_archive_that_stops_to_answer_ends_the_command(
    archive: WebArchive, gateway: gateways.Gateway
) -> None:
    def hang_up(request: BaseHTTPRequestHandler) -> None:
        request.close_connection = True

    for number in (1, 2):
        archive.answers[f'1.2.1.0.{number}'] = hang_up
    assert [moved.failed for moved in _query(archive, gateway)] == [2, 0]
    with pytest.raises(ArchiveError, match='does not answer'):
        _query(archive, gateway, tries=2)


def test_credentials_and_token_come_from_files(
    archive: WebArchive, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive.pair = 'reader:pass:word'
    credentials, token = tmp_path / 'credentials', tmp_path / 'token'
    credentials.write_text('reader:pass:word\n')
    database = connection.sqlite_url(tmp_path / 'gateway.sqlite')
    assert main(['tokens', 'create', 'puller', '--role', 'upload', '--database', database]) == 0
    token.write_text(capsys.readouterr().out.split()[-1])
    with gateways.running(tmp_path, database, tmp_path, requires_token=True) as gateway:
        assert _pull(archive, gateway) == 1
        assert 'status 401' in capsys.readouterr().err
        assert _pull(archive, gateway, '--credentials', str(credentials)) == 1
        assert 'give a token with --token' in capsys.readouterr().err
        options = ('--credentials', str(credentials), '--token', str(token))
        assert _pull(archive, gateway, *options) == 0


def test_an_archive_with_tls_gets_the_certificate_of_this_side(
    gateway: gateways.Gateway, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tls = certificates.own(tmp_path / 'archive')
    files = [str(path) for path in (tls.certificate, tls.key, tls.authorities)]
    held = WebArchive([_image('1.2.1', 1)])
    with web_archive.running(held, tls.for_server()) as archive:
        assert _pull(archive, gateway) == 1
        assert 'CERTIFICATE_VERIFY_FAILED' in capsys.readouterr().err
        assert _pull(archive, gateway, '--dicom-tls', *files) == 0


def test_the_gateways_limit_of_requests_only_slows_the_command(
    archive: WebArchive, tmp_path: Path
) -> None:
    database = connection.sqlite_url(tmp_path / 'gateway.sqlite')
    limits = Limits(requests_per_minute=60)
    with gateways.running(tmp_path, database, tmp_path, limits=limits) as gateway:
        while gateway.get('/v1/worklist').status_code == requests.codes.ok:
            pass
        assert all(moved.is_complete for moved in _query(archive, gateway))


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['webhook+https://:whsec_x@h/p'], 'expected a key'),
        (['fhir+https://h/p'], 'fhir+https://h/p: expected dicom://TITLE'),
        (['dicoms://A@127.0.0.1:1'], 'needs --dicom-tls'),
        (['dicom://A@127.0.0.1:1', '--token', 'x'], 'only for archives with DICOMweb'),
        (['http://h/p', '--to', 'CXRTRIAGE'], 'expected the URL of the gateway'),
        (['http://h/p', '--token', '/nowhere'], '--token /nowhere: No such file'),
        (['http://h/p', '--credentials', '/dev/null'], 'expected one line'),
        (['http://127.0.0.1:1/p'], 'http://127.0.0.1:1/p: it does not answer'),
        (['dicom://A@127.0.0.1:1'], 'A at 127.0.0.1:1 does not answer'),
    ],
)
def test_what_does_not_fit_is_refused(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(['pull', *arguments, '--dates', _DAY]) == 1
    assert message in capsys.readouterr().err


def test_a_gateway_that_does_not_answer_ends_the_command(
    archive: WebArchive, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(['pull', archive.url, '--dates', _DAY, '--to', 'http://127.0.0.1:1']) == 1
    assert 'the gateway at http://127.0.0.1:1: it does not answer' in capsys.readouterr().err
    assert archive.fetched() == []


def test_the_gateway_says_which_instances_it_has_had(gateway: gateways.Gateway) -> None:
    GatewayClient(gateway.url).store('1.2.1', _image('1.2.1', 1))
    path = '/dicom-web/studies/1.2.1/instances'
    found = gateway.get(f'{path}?SOPInstanceUID=1.2.1.0.1,1.2.1.0.2')
    assert found.headers['Content-Type'] == 'application/dicom+json'
    assert [row['00080018']['Value'] for row in found.json()] == [['1.2.1.0.1']]
    assert gateway.get(f'{path}?SOPInstanceUID=1.2.1.0.2').status_code == 204
    for query in ('', '?SOPInstanceUID=x'):
        assert gateway.get(path + query).status_code == 422
