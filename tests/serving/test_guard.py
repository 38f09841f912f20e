"""Who may call the gateway and how much: tokens, other sites, limits, slow clients. Without a model
server: studies are accepted and wait.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import socket
import struct
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from serving import tokens
from serving.gateway.settings import Limits
from serving.tokens import ADMIN, READ, RELEASE, UPLOAD
from tests.support import gateways
from tests.support.gateways import Gateway

_IMAGE = gateways.png(gateways.pixels())
_PART = b'--x\r\nContent-Disposition: form-data%b\r\n\r\na\r\n--x--\r\n'
_UPLOADS, _LIST = '/v1/studies', '/v1/worklist'
_LIMITS = Limits()
_LITTLE = Limits(
    max_file_bytes=300_000, max_files=3, max_text_bytes=20_000, requests_per_minute=100_000
)
# Of the names of tokens.
_NUMBERS = itertools.count(1)


@contextlib.contextmanager
def _running(folder: Path, limits: Limits = _LIMITS, **options: Any) -> Iterator[Gateway]:
    """A gateway without a model server."""
    url = f'sqlite:///{folder}/gateway.sqlite'
    with gateways.running(folder, url, folder, limits=limits, **options) as gateway:
        yield gateway


@pytest.fixture(scope='module')
def shared_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """The gateway of `gateway`."""
    with _running(tmp_path_factory.mktemp('tokens'), requires_token=True) as gateway:
        yield gateway


@pytest.fixture
def gateway(shared_gateway: Gateway) -> Gateway:
    """A gateway that requires tokens, and a client without a cookie."""
    shared_gateway.http.cookies.clear()
    return shared_gateway


@pytest.fixture(scope='module')
def open_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway without tokens that accepts little."""
    with _running(tmp_path_factory.mktemp('open'), _LITTLE) as gateway:
        yield gateway


@pytest.fixture(scope='module')
def impatient_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway without tokens that waits for little."""
    limits = dataclasses.replace(_LITTLE, request_s=1.5, head_s=1.0)
    with _running(tmp_path_factory.mktemp('impatient'), limits) as gateway:
        yield gateway


@pytest.fixture(scope='module')
def local_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway of this machine only."""
    hosts = ('localhost', '127.0.0.1', '::1')
    with _running(tmp_path_factory.mktemp('local'), hosts=hosts) as gateway:
        yield gateway


def _token(gateway: Gateway, *roles: str, name: str = '') -> dict[str, str]:
    """The header of a new token."""
    with gateway.services.sessions() as session, session.begin():
        name = name or f'token {next(_NUMBERS)}'
        secret = tokens.create(session, name, list(roles), 'test')
    return {'Authorization': f'Bearer {secret}'}


def _stored(gateway: Gateway) -> set[Path]:
    """The files of images."""
    return {path for path in gateway.services.files.folder.rglob('*') if path.is_file()}


def test_each_role_may_do_its_part(gateway: Gateway) -> None:
    may = {UPLOAD: (True, False), READ: (False, True), ADMIN: (True, True)}
    may[RELEASE] = (False, False)
    for role, (uploads, reads) in may.items():
        header = _token(gateway, role)
        response = gateway.upload(_IMAGE, headers=header)
        assert response.status_code == (202 if uploads else 403), response.text
        assert gateway.get(_LIST, headers=header).status_code == (200 if reads else 403)
        id = response.json().get('id', '0' * 32)
        for path in ('', '/image', '/explanation', '/reading'):
            method = 'POST' if path == '/reading' else 'GET'
            response = gateway.request(
                method, f'/v1/studies/{id}{path}', headers=header, json={'verdict': 'normal'}
            )
            assert (response.status_code == 403) == (not reads), (role, path, response.text)
        assert gateway.get('/v1/models', headers=header).status_code == (200 if reads else 403)


@pytest.mark.parametrize(
    'header',
    [
        {},
        {'Authorization': 'Bearer cxr_unknown'},
        {'Authorization': 'Bearer '},
        {'Authorization': 'Basic dXNlcjpwYXNz'},
        {'Cookie': 'cxr_token=x'},
    ],
    ids=['none', 'unknown', 'empty', 'basic', 'cookie'],
)
def test_without_a_valid_token_nothing_is_open(gateway: Gateway, header: dict[str, str]) -> None:
    before = _stored(gateway)
    for path in (_LIST, '/v1/models', '/v1/studies/0', '/v1/studies/0/image'):
        response = gateway.get(path, headers=header)
        assert response.status_code == 401, path
        assert response.headers['WWW-Authenticate'] == 'Bearer'
    assert gateway.upload(_IMAGE, headers=header).status_code == 401
    assert _stored(gateway) == before
    for path in ('/healthz', '/readyz', '/metrics', '/openapi.json'):
        assert gateway.get(path, headers=header).status_code == 200, path
    response = gateway.get('/', headers=header, allow_redirects=False)
    assert response.headers['Location'].startswith('/login')


def test_a_revoked_token_ends_at_once(gateway: Gateway) -> None:
    header = _token(gateway, READ, name='room')
    assert gateway.get(_LIST, headers=header).status_code == 200
    with gateway.services.sessions() as session, session.begin():
        tokens.revoke(session, 'room', 'test')
    assert gateway.get(_LIST, headers=header).status_code == 401


def test_the_name_of_the_token_is_on_the_reading(gateway: Gateway) -> None:
    id = gateway.accepted(_IMAGE, headers=_token(gateway, UPLOAD))
    header = _token(gateway, READ, name='Dr. Möbius')
    response = gateway.post(f'/v1/studies/{id}/reading', json={'verdict': 'normal'}, headers=header)
    readings = gateways.body(response, 201)['readings']
    assert [reading['reader'] for reading in readings] == ['Dr. Möbius']


def test_a_login_keeps_the_token_in_a_cookie_that_only_this_site_sends(gateway: Gateway) -> None:
    secret = _token(gateway, READ)['Authorization'].removeprefix('Bearer ')
    wrong = gateway.post('/login', data={'token': 'cxr_wrong'}, allow_redirects=False)
    assert wrong.status_code == 401 and 'Set-Cookie' not in wrong.headers
    response = gateway.post('/login', data={'token': secret}, allow_redirects=False)
    assert (response.status_code, response.headers['Location']) == (303, '/')
    cookie = response.headers['Set-Cookie'].lower()
    assert 'httponly' in cookie and 'samesite=strict' in cookie
    assert gateway.get(_LIST).status_code == 200
    gateway.post('/logout')
    assert gateway.get(_LIST).status_code == 401


@pytest.mark.parametrize(
    'header',
    [
        {'Sec-Fetch-Site': 'cross-site'},
        {'Sec-Fetch-Site': 'same-site'},
        {'Origin': 'https://evil.example'},
        {'Origin': 'null'},
    ],
    ids=str,
)
def test_a_page_of_another_site_changes_nothing(gateway: Gateway, header: dict[str, str]) -> None:
    """A browser would send the cookie, were it not for SameSite."""
    secret = _token(gateway, ADMIN)['Authorization'].removeprefix('Bearer ')
    gateway.post('/login', data={'token': secret})
    id = gateway.accepted(_IMAGE)
    for path in (_UPLOADS, f'/v1/studies/{id}/reading', '/logout', '/login'):
        response = gateway.post(path, json={'verdict': 'normal'}, headers=header)
        assert response.status_code == 403, path
        assert 'other sites' in response.json()['detail']
    assert gateway.body(f'/v1/studies/{id}')['readings'] == []
    own = {'Origin': gateway.url, 'Sec-Fetch-Site': 'same-origin'}
    response = gateway.post(f'/v1/studies/{id}/reading', json={'verdict': 'normal'}, headers=own)
    assert response.status_code == 201


@pytest.mark.parametrize(
    ('host', 'status'),
    [
        ('localhost', 200),
        ('LOCALHOST:8080', 200),
        ('127.0.0.1:1', 200),
        ('[::1]', 200),
        ('[::1]:8080', 200),
        ('evil.example', 421),
        ('localhost.evil.example:8080', 421),
        ('localhost@evil.example', 421),
        ('[', 421),
        ('', 421),
    ],
)
def test_a_gateway_of_this_machine_has_only_its_names(
    local_gateway: Gateway, host: str, status: int
) -> None:
    assert local_gateway.get('/healthz', headers={'Host': host}).status_code == status


def test_every_answer_has_the_security_headers(gateway: Gateway) -> None:
    responses = [
        gateway.get('/login'),
        gateway.get('/healthz'),
        gateway.get(_LIST),
        gateway.get('/nothing'),
        gateway.request('BREW', '/'),
        gateway.post(_UPLOADS, headers={'Sec-Fetch-Site': 'cross-site'}),
    ]
    assert [r.status_code for r in responses] == [200, 200, 401, 404, 405, 403]
    for response in responses:
        policy = response.headers['Content-Security-Policy']
        assert "default-src 'none'" in policy and 'unsafe' not in policy
        assert "frame-ancestors 'none'" in policy
        assert response.headers['X-Content-Type-Options'] == 'nosniff'
        assert response.headers['Cache-Control'] == 'no-store'
        assert 'Server' not in response.headers


def test_each_token_has_its_own_rate(tmp_path: Path) -> None:
    limits = Limits(requests_per_minute=40)
    with _running(tmp_path, limits, requires_token=True) as gateway:
        busy, quiet = _token(gateway, READ, name='busy'), _token(gateway, READ, name='quiet')
        assert gateway.get(_LIST, headers=busy).status_code == 200
        assert gateway.get(_LIST, headers=quiet).status_code == 200
        # At the same time: while they are sent one by one, the budget grows again.
        with ThreadPoolExecutor(20) as pool:
            responses = list(pool.map(lambda _: gateway.get(_LIST, headers=busy), range(60)))
            by_status = {response.status_code: response for response in responses}
            assert set(by_status) == {200, 429}
            assert by_status[429].headers['Retry-After']
            assert '40 requests a minute' in by_status[429].text
            assert gateway.get(_LIST, headers=quiet).status_code == 200
            # Invented tokens share the rate of their address.
            invented = list(
                pool.map(
                    lambda number: (
                        gateway.get(
                            _LIST, headers={'Authorization': f'Bearer {number}'}
                        ).status_code
                    ),
                    range(60),
                )
            )
        assert set(invented) == {401, 429}
        time.sleep(2)
        assert gateway.get(_LIST, headers=busy).status_code == 200


def test_what_costs_little_does_not_count_as_a_request(tmp_path: Path) -> None:
    """Neither the files of a page nor the probes, which may come from the address of a proxy."""
    with _running(tmp_path, Limits(requests_per_minute=8)) as gateway:
        for path in ('/static/review.js', '/static/none', '/healthz', '/readyz'):
            statuses = {gateway.get(path).status_code for _ in range(10)}
            assert statuses == {404 if path.endswith('none') else 200}, path
        assert [gateway.get(_LIST).status_code for _ in range(3)] == [200, 200, 429]
        assert gateway.get('/healthz').status_code == 200


@pytest.mark.parametrize('hangs', [False, True], ids=['is away', 'hangs'])
def test_uploads_are_accepted_without_a_model_server(tmp_path: Path, hangs: bool) -> None:
    """Else a model server that is down would take all gateways out of their load balancer."""
    with socket.socket() as silent:
        silent.bind(('127.0.0.1', 0))
        silent.listen()
        server = f'127.0.0.1:{silent.getsockname()[1]}' if hangs else gateways.NO_MODEL_SERVER
        with _running(tmp_path, model_server=server) as gateway:
            gateway.accepted(_IMAGE)
            # As patient as the probe of the Kubernetes manifests.
            ready = gateways.body(requests.get(f'{gateway.url}/readyz', timeout=8))
            assert ready['status'] == 'ready' and ready['model_server'] != 'ok'
            metrics = requests.get(f'{gateway.url}/metrics', timeout=8).text
            assert 'cxr_model_server_up 0.0' in metrics
            assert 'route="/readyz"' in metrics
            # The gateway ends after the request under way, which this fails.
            silent.close()


def test_only_readers_see_the_addresses_of_what_is_away(tmp_path: Path) -> None:
    url = f'sqlite:///{tmp_path}/gateway.sqlite'
    with gateways.running(tmp_path, url, tmp_path, requires_token=True) as gateway:
        uploader, reader = _token(gateway, UPLOAD), _token(gateway, READ)
        gateway.accepted(_IMAGE, headers=uploader)
        deadline = time.monotonic() + 60
        while not gateway.services.scorer.problem and time.monotonic() < deadline:
            time.sleep(0.05)
        for header in ({}, uploader):
            ready = gateway.body('/readyz', headers=header)
            assert ready['studies_wait'] and gateways.NO_MODEL_SERVER not in str(ready)
        ready = gateway.body('/readyz', headers=reader)
        assert gateways.NO_MODEL_SERVER in ready['studies_wait']


def test_files_of_the_page_are_not_in_the_metrics(tmp_path: Path) -> None:
    with _running(tmp_path) as gateway:
        assert gateway.get('/static/review.js').status_code == 200
        assert gateway.get(_LIST).status_code == 200
        metrics = gateway.get('/metrics').text
    assert 'cxr_requests_total{method="GET",route="/v1/worklist",status="200"} 1.0' in metrics
    assert 'route="unknown"' not in metrics and 'static' not in metrics


def test_too_large_a_file_is_refused_and_nothing_is_stored(open_gateway: Gateway) -> None:
    before = _stored(open_gateway)
    response = open_gateway.upload(_IMAGE, _IMAGE + bytes(300_000))
    assert response.status_code == 413, response.text
    assert 'file 2: more than 300,000 bytes' in response.json()['detail']
    assert _stored(open_gateway) == before


@pytest.mark.parametrize('is_chunked', [False, True], ids=['with a length', 'chunked'])
def test_too_large_a_request_is_refused(open_gateway: Gateway, is_chunked: bool) -> None:
    head = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n'
    parts = [head, *[bytes(100_000)] * 40]
    response = open_gateway.post(
        _UPLOADS,
        data=iter(parts) if is_chunked else b''.join(parts),
        headers={'Content-Type': 'multipart/form-data; boundary=x'},
    )
    assert response.status_code == 413, response.text
    assert 'larger than 600,000 bytes' in response.json()['detail']
    # The connection is still good for another request.
    assert open_gateway.get('/healthz').status_code == 200


def test_what_is_not_an_upload_is_short(open_gateway: Gateway) -> None:
    reading = {'verdict': 'normal', 'text': 'x' * 30_000}
    response = open_gateway.post(f'/v1/studies/{"0" * 32}/reading', json=reading)
    assert response.status_code == 413


def test_too_many_files_are_refused(open_gateway: Gateway) -> None:
    before = _stored(open_gateway)
    response = open_gateway.upload(*[_IMAGE] * 4)
    assert response.status_code == 413 and 'at most 3' in response.json()['detail']
    assert _stored(open_gateway) == before


def test_too_many_pixels_are_refused_before_they_are_decoded(open_gateway: Gateway) -> None:
    header = b'IHDR' + struct.pack('>IIBBBBB', 20_000, 20_000, 8, 0, 0, 0, 0)
    content = b'\x89PNG\r\n\x1a\n' + struct.pack('>I', 13) + header + bytes(100)
    response = open_gateway.upload(content)
    assert response.status_code == 422 and '20,000 x 20,000' in response.json()['detail']


@pytest.mark.parametrize('content', [b'', b'text', b'%PDF-1.7', b'<svg/>', b'PK\x03\x04'], ids=repr)
def test_other_kinds_of_files_are_refused(open_gateway: Gateway, content: bytes) -> None:
    before = _stored(open_gateway)
    response = open_gateway.upload(_IMAGE, content, names=('a.png', 'b.png'))
    assert response.status_code == 422 and 'file 2: the file is' in response.json()['detail']
    assert _stored(open_gateway) == before


@pytest.mark.parametrize(
    ('body', 'content_type'),
    [
        (b'', ''),
        (b'{}', 'application/json'),
        (b'files=1', 'application/x-www-form-urlencoded'),
        (b'', 'multipart/form-data'),
        (b'rubbish', 'multipart/form-data; boundary=x'),
        (_PART % b'', 'multipart/form-data; boundary=x'),
        (_PART % b'; name="files"', 'multipart/form-data; boundary=x'),
    ],
    ids=['nothing', 'json', 'form', 'no boundary', 'rubbish', 'no name', 'no file'],
)  # fmt: skip
def test_what_is_not_a_form_with_files_is_refused(
    open_gateway: Gateway, body: bytes, content_type: str
) -> None:
    response = open_gateway.post(_UPLOADS, data=body, headers={'Content-Type': content_type})
    assert response.status_code in (400, 422), response.text
    assert isinstance(response.json()['detail'], str)


@pytest.mark.parametrize(
    'name',
    ['../../../etc/passwd', '/etc/passwd', 'a\x00b.png', 'a' * 300, '"; rm -rf /', 'ä\r\nX: y'],
    ids=['dots', 'absolute', 'nul', 'long', 'shell', 'header'],
)
def test_the_name_of_a_file_does_not_matter(open_gateway: Gateway, name: str) -> None:
    before = set(open_gateway.services.files.folder.parent.rglob('*'))
    response = open_gateway.upload(_IMAGE, names=(name,))
    assert response.status_code == 202, response.text
    (file,) = (
        path
        for path in set(open_gateway.services.files.folder.parent.rglob('*')) - before
        if path.is_file() and 'sqlite' not in path.name
    )
    assert file.name.isalnum() and len(file.name) == 32
    assert name[-4:] not in response.text


@pytest.mark.parametrize('reference', ['x' * 101, 'a\x00b', 'a\nb'], ids=['long', 'nul', 'lines'])
def test_a_reference_is_a_short_line(open_gateway: Gateway, reference: str) -> None:
    response = open_gateway.upload(_IMAGE, data={'reference': reference})
    assert response.status_code == 422 and 'reference' in response.json()['detail']


def _connect(gateway: Gateway) -> socket.socket:
    port = int(gateway.url.rpartition(':')[2])
    return socket.create_connection(('127.0.0.1', port), timeout=10)


def _slow(connection: socket.socket, data: bytes, pause_s: float) -> bytes:
    """Sends bytes one at a time until the gateway answers or hangs up, and returns its answer.

    The gateway has to do so before all are sent.
    """
    received = bytearray()

    def read() -> None:
        try:
            while part := connection.recv(1000):
                received.extend(part)
        except OSError:
            pass

    reader = threading.Thread(target=read)
    reader.start()
    for byte in data:
        try:
            connection.sendall(bytes([byte]))
        except OSError:
            break
        reader.join(pause_s)
        if not reader.is_alive():
            break
    else:
        assert not data, 'the gateway waited for everything'
    reader.join(60)
    assert not reader.is_alive()
    return bytes(received)


def test_a_slow_body_is_cut_off(impatient_gateway: Gateway) -> None:
    head = (
        f'POST {_UPLOADS} HTTP/1.1\r\nHost: localhost\r\n'
        'Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 10000\r\n\r\n'
    )
    with _connect(impatient_gateway) as connection:
        connection.sendall(head.encode())
        answer = _slow(connection, b'--x\r\nContent-Disposition: form-data; name="files"' * 5, 0.1)
    assert answer.startswith(b'HTTP/1.1 408') and b'within 1.5 s' in answer


def test_a_slow_reading_is_cut_off(impatient_gateway: Gateway) -> None:
    head = (
        'POST /v1/studies/0/reading HTTP/1.1\r\nHost: localhost\r\n'
        'Content-Type: application/json\r\nContent-Length: 10000\r\n\r\n'
    )
    with _connect(impatient_gateway) as connection:
        connection.sendall(head.encode())
        answer = _slow(connection, b'{"verdict": "normal", "text": "' + b'x' * 90, 0.1)
    assert answer.startswith(b'HTTP/1.1 408')


@pytest.mark.parametrize('head', [b'', b'GET /healthz HTTP/1.1\r\nX-Header: ' + b'a' * 200])
def test_a_slow_head_is_cut_off(impatient_gateway: Gateway, head: bytes) -> None:
    started = time.monotonic()
    with _connect(impatient_gateway) as connection:
        assert _slow(connection, head, 0.1) == b''
    assert time.monotonic() - started > 0.8


def test_a_client_that_does_not_read_is_cut_off(impatient_gateway: Gateway) -> None:
    id = impatient_gateway.accepted(gateways.png(gateways.pixels(), compress_level=0))
    request = f'GET /v1/studies/{id}/image HTTP/1.1\r\nHost: localhost\r\n\r\n'.encode()
    with _connect(impatient_gateway) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(0.2)
        deadline = time.monotonic() + 60
        # Pipelined until the buffers of both sides are full.
        with pytest.raises(OSError):
            while time.monotonic() < deadline:
                try:
                    connection.sendall(request * 100)
                except TimeoutError:
                    continue
        assert time.monotonic() < deadline
    assert impatient_gateway.get('/healthz').status_code == 200


def test_an_unread_body_does_not_keep_a_connection(impatient_gateway: Gateway) -> None:
    """The answer comes at once, and the rest of the body is not waited for long."""
    head = b'POST /nothing HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9000\r\n\r\n'
    with _connect(impatient_gateway) as connection:
        connection.sendall(head)
        answer = _slow(connection, bytes(200), 0.1)
    assert answer.startswith(b'HTTP/1.1 404')


def test_a_broken_request_line_is_refused(impatient_gateway: Gateway) -> None:
    with _connect(impatient_gateway) as connection:
        connection.sendall(b'\x16\x03\x01 this is not HTTP\r\n\r\n')
        assert connection.recv(100).startswith(b'HTTP/1.1 400')


def test_many_connections_do_not_stop_the_gateway(impatient_gateway: Gateway) -> None:
    connections = [_connect(impatient_gateway) for _ in range(100)]
    try:
        assert requests.get(impatient_gateway.url + '/healthz', timeout=60).status_code == 200
    finally:
        for connection in connections:
            connection.close()
