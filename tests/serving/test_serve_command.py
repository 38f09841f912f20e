"""`cxr-triage serve` as a process: killed, without disk, database or model server; patient data."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from serving import audit, running
from serving.database import connection
from tests.support import gateways, model_servers, postgresql

pytestmark = pytest.mark.slow

_PATIENCE_S = 300


class _Service:
    """`cxr-triage serve` on a free port."""

    def __init__(self, root: Path, *options: str, prefix: tuple[str, ...] = ()):
        self.root, self.log = root, root / 'serve.log'
        self._position = self.log.stat().st_size if self.log.exists() else 0
        command = [sys.executable, '-m', 'cxr_triage', 'serve', '--root', str(root), '--port', '0']
        command += ['--model', 'triage', *options]
        with self.log.open('ab') as log:
            self.process = subprocess.Popen(
                [*prefix, *command],
                stdout=log,
                stderr=log,
                env={name: value for name, value in os.environ.items() if name != 'CXR_DATABASE'},
            )
        try:
            self._wait(lambda: 'http://' in self.output)
        except BaseException:
            self.kill()
            raise
        self.url = next(w for w in self.output.split() if w.startswith('http://')).rstrip('/')

    @property
    def output(self) -> str:
        """What this process has written."""
        return self.log.read_bytes()[self._position :].decode(errors='replace')

    @property
    def data(self) -> Path:
        """The folder of the service."""
        return self.root / 'service'

    def _wait(self, condition: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + _PATIENCE_S
        while not (result := condition()):
            assert self.process.poll() is None, self.output
            assert time.monotonic() < deadline, self.output
            time.sleep(0.1)
        return result

    def get(self, path: str) -> requests.Response:
        """Sends a GET."""
        return requests.get(self.url + path, timeout=60)

    def body(self, path: str) -> Any:
        """The JSON body of a GET that succeeds."""
        return gateways.body(self.get(path))

    def accepted(self, *contents: bytes) -> str:
        """Uploads files as one study, and returns its id."""
        return gateways.body(self.upload(*contents), 202)['id']

    def upload(self, *contents: bytes) -> requests.Response:
        """Uploads files as one study."""
        files = [('files', ('x', content)) for content in contents]
        return requests.post(self.url + '/v1/studies', files=files, timeout=60)

    def wait_until_scored(self, *ids: str) -> list[dict[str, Any]]:
        """The studies once they are scored."""
        # One request for all of them: the gateway answers twenty a second of a caller.
        waiting = '/v1/worklist?state=pending&limit=200'
        self._wait(
            lambda: not {row['id'] for row in self.body(waiting)['studies']}.intersection(ids)
        )
        return [self.body(f'/v1/studies/{id}') for id in ids]

    def wait_until(self, condition: Callable[[], Any]) -> None:
        """Returns when a condition holds, which may also raise until then."""

        def holds() -> Any:
            with contextlib.suppress(requests.RequestException):
                return condition()
            return False

        self._wait(holds)

    def kill(self) -> None:
        """Kills it as a crash would."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        """Ends it as Ctrl-C does, and returns its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        return self.process.wait(60)


@contextlib.contextmanager
def _serving(root: Path, *options: str, **more: Any) -> Iterator[_Service]:
    service = _Service(root, *options, **more)
    try:
        yield service
    finally:
        if service.process.poll() is None:
            service.stop()


@pytest.fixture
def root(pushed: Path, tmp_path: Path) -> Path:
    """A run root whose push directory has versions 1 and 2; version 1 is stable."""
    folder = tmp_path / 'root'
    folder.mkdir()
    for version in ('1', '2'):
        subprocess.run(['cp', '-r', pushed / version, _target(folder)], check=True)
    gateways.write_labels(_target(folder), {'stable': 1})
    return folder


def _target(root: Path) -> Path:
    target = root / 'serving'
    target.mkdir(exist_ok=True)
    return target


def _model_server_pid(service: _Service) -> int:
    """The process that listens on the port of the model server."""
    port = running.model_server(service.data).rpartition(':')[2]
    for folder in Path('/proc').glob('[0-9]*'):
        with contextlib.suppress(OSError):
            command = (folder / 'cmdline').read_bytes().split(b'\0')
            if b'serving.model_server' in command and port.encode() in command:
                return int(folder.name)
    raise AssertionError('no model server runs')


def _assert_answered_once(service: _Service, ids: list[str]) -> None:
    """Each study has one answer for each image, also in the audit log, whose chain is unbroken."""
    for study in service.wait_until_scored(*ids):
        assert study['state'] == 'scored'
        assert all(image['answer'] for image in study['images'])
    sessions = connection.connect(connection.sqlite_url(service.data / 'gateway.sqlite'))
    with connection.reading(sessions) as session:
        entries = list(audit.entries(session))
        assert audit.verify(session)[2] == []
    sessions.kw['bind'].dispose()
    answered = [entry.subject for entry in entries if entry.action == 'answer']
    assert sorted(answered) == sorted(set(answered)) and set(ids) <= set(answered)


def test_a_killed_service_loses_nothing_and_answers_once(root: Path) -> None:
    """Killed between acceptance and answer, at another moment each time."""
    accepted: list[str] = []
    for pause in (0.0, 0.05, 0.2):
        service = _Service(root)
        server = _model_server_pid(service)
        for number in range(3):
            accepted.append(service.accepted(gateways.jpeg(number + 1), gateways.jpeg(number + 2)))
        time.sleep(pause)
        service.kill()
        # The model server ends with it.
        deadline = time.monotonic() + 30
        while Path(f'/proc/{server}').exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not Path(f'/proc/{server}').exists()
    with _serving(root) as service:
        assert service.body('/v1/worklist?limit=200')['total'] == len(accepted)
        _assert_answered_once(service, accepted)
        assert service.stop() == 0
    assert not (root / 'service' / 'running.json').exists()


def test_an_upload_that_was_killed_is_accepted_or_absent(root: Path) -> None:
    """What was acknowledged is there; nothing else has an answer without a file."""
    service = _Service(root)
    accepted = []
    deadline = time.monotonic() + 2.5
    killer = subprocess.Popen(['sh', '-c', f'sleep 2; kill -9 {service.process.pid}'])
    with contextlib.suppress(requests.RequestException):
        while time.monotonic() < deadline + 10:
            accepted.append(service.accepted(gateways.jpeg(1), gateways.jpeg(2)))
    killer.wait()
    service.process.wait()
    assert accepted
    with _serving(root) as service:
        rows = service.body('/v1/worklist?limit=200')['studies']
        assert set(accepted) <= {row['id'] for row in rows} and len(rows) <= len(accepted) + 1
        _assert_answered_once(service, [row['id'] for row in rows])


def test_studies_wait_for_a_killed_model_server(root: Path) -> None:
    with _serving(root) as service:
        first = service.accepted(gateways.jpeg(1))
        service.wait_until_scored(first)
        os.kill(_model_server_pid(service), signal.SIGKILL)
        ids = [service.accepted(gateways.jpeg(n)) for n in (2, 3)]
        response = service.get('/readyz')
        assert response.status_code == 200
        _assert_answered_once(service, [first, *ids])
        # The scorer says so only after it has looked for more studies.
        service.wait_until(lambda: service.body('/readyz')['model_server'] == 'ok')


@pytest.mark.parametrize('told', [signal.SIGINT, signal.SIGTERM], ids=['Ctrl-C', 'SIGTERM'])
def test_it_ends_at_once_while_a_model_loads(root: Path, told: signal.Signals) -> None:
    command = [sys.executable, '-m', 'cxr_triage', 'serve', '--root', str(root), '--port', '0']
    with model_servers.endless(_target(root) / '1') as loads:
        process = subprocess.Popen(
            [*command, '--model', 'triage'], stderr=subprocess.PIPE, text=True
        )
        loads.wait()
        (child,) = psutil.Process(process.pid).children()
        process.send_signal(told)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0 and 'Traceback' not in errors, errors
        assert not child.is_running()


def test_uploads_are_accepted_while_a_model_loads(root: Path) -> None:
    graph = _target(root) / '1' / 'saved_model.pb'
    content = graph.read_bytes()
    with model_servers.endless(_target(root) / '1') as loads, _serving(root) as service:
        loads.wait()
        ids = [service.accepted(gateways.jpeg(n)) for n in (1, 2)]
        ready = service.body('/readyz')
        assert ready['status'] == 'ready' and ready['model_server'] != 'ok'
        graph.unlink()
        graph.write_bytes(content)
        os.kill(_model_server_pid(service), signal.SIGKILL)
        _assert_answered_once(service, ids)


def test_a_configuration_that_cannot_be_served_ends_the_service(root: Path) -> None:
    config = model_servers.config_text(Path('/nowhere'), labels={'stable': 1})
    (_target(root) / 'models.config').write_text(config)
    service = _Service(root)
    assert service.process.wait(_PATIENCE_S) == 1
    message = service.output.splitlines()[-1]
    assert 'the model server ended with status 1' in message and '/nowhere' in message


def test_a_full_disk_refuses_uploads_and_the_rest_goes_on(root: Path) -> None:
    data = root / 'service'
    data.mkdir()
    mounted = subprocess.run(
        ['mount', '-t', 'tmpfs', '-o', 'size=6m', 'tmpfs', data], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip('needs the right to mount a small file system')
    try:
        with _serving(root) as service:
            first = service.accepted(gateways.jpeg(1))
            service.wait_until_scored(first)
            noise = os.urandom(900_000)
            large = gateways.png(gateways.pixels(1, 1200), compress_level=0)
            statuses = []
            for _ in range(12):
                response = service.upload(large)
                statuses.append(response.status_code)
            assert statuses[-1] == 507 and set(statuses) == {202, 507}, statuses
            assert 'nothing was stored' in response.json()['detail']
            # Larger than the memory that an arriving file may take.
            assert service.upload(large + noise).status_code == 507
            assert gateways.body(service.get('/readyz'), 503)['disk']
            assert service.body(f'/v1/studies/{first}')['state'] == 'scored'
            stored = len(list(data.glob('images/??/*')))
            assert stored == service.body('/v1/worklist')['total']
    finally:
        subprocess.run(['umount', '-l', data], check=True)


def test_files_that_may_not_grow_are_a_full_disk(root: Path) -> None:
    with _serving(root, prefix=('prlimit', '--fsize=1500000')) as service:
        large = gateways.png(gateways.pixels(1, 1400), compress_level=0)
        assert len(large) > 1_500_000
        response = service.upload(large)
        assert response.status_code == 507, response.text
        assert not list(service.data.glob('images/??/*'))
        small = service.accepted(gateways.jpeg(1))
        service.wait_until_scored(small)


def test_a_database_that_stops_for_a_while(root: Path) -> None:
    with postgresql.running() as server:
        url = server.url('gateway')
        with _serving(root, '--database', url) as service:
            first = service.accepted(gateways.jpeg(1))
            service.wait_until_scored(first)
            server.stop()
            response = service.upload(gateways.jpeg(2))
            assert response.status_code == 503 and response.headers['Retry-After']
            assert service.get(f'/v1/studies/{first}').status_code == 503
            assert service.get('/readyz').status_code == 503
            assert service.get('/healthz').status_code == 200
            assert service.get('/metrics').status_code == 200
            server.start()
            service.wait_until(lambda: service.get('/readyz').status_code == 200)
            second = service.accepted(gateways.jpeg(2))
            assert [s['state'] for s in service.wait_until_scored(first, second)] == ['scored'] * 2
            assert service.body('/v1/worklist')['total'] == 2
            assert service.stop() == 0


def test_nothing_about_the_patient_leaves_the_file_store(root: Path) -> None:
    pixels = gateways.pixels()
    values = [value.encode() for value in gateways.PATIENT.values()]
    with _serving(root) as service:
        good = gateways.dicom(pixels)
        broken = gateways.dicom(pixels, WindowCenter='1', Modality='CT')
        late = gateways.dicom(pixels)[:-30_000]
        damaged = good.replace(b'\x08\x00\x60\x00CS', b'\x08\x00\x60\x00SQ')
        # An element that pydicom quotes when it warns of it.
        patient = gateways.PATIENT['PatientName'].encode()
        named = good.replace(b'1.2.840.10008.1.2.1\0', patient.ljust(20, b'\0'))
        assert named != good
        uploads = (good, broken, late, damaged, named)
        responses = [service.upload(content) for content in uploads]
        name = f'{gateways.PATIENT["PatientName"]}.dcm'
        responses.append(
            requests.post(service.url + '/v1/studies', files=[('files', (name, good))], timeout=60)
        )
        assert [r.status_code for r in responses][:2] == [202, 422]
        ids = [r.json()['id'] for r in responses if r.status_code == 202]
        service.wait_until_scored(*ids)
        for path in ('', '/image', '/explanation'):
            responses += [service.get(f'/v1/studies/{id}{path}') for id in ids]
        responses += [service.get(f'/studies/{id}') for id in ids]
        responses += [service.get(path) for path in ('/', '/metrics', '/v1/worklist')]
        assert service.stop() == 0
    for response in responses:
        sent = response.content + json.dumps(dict(response.headers)).encode()
        assert not any(value in sent for value in values), response.url
    # Not even in the file store, whose files are only pixels.
    files = [path for path in root.rglob('*') if path.is_file()]
    assert {'gateway.sqlite', 'model-server.log', 'serve.log'} <= {path.name for path in files}
    for path in files:
        content = path.read_bytes()
        assert not any(value in content for value in values), path
    with contextlib.closing(sqlite3.connect(root / 'service' / 'gateway.sqlite')) as database:
        dump = '\n'.join(database.iterdump()).encode()
    assert ids[0].encode() in dump and not any(value in dump for value in values)


def test_only_its_user_may_read_the_folder(root: Path) -> None:
    with _serving(root) as service:
        service.wait_until_scored(service.accepted(gateways.jpeg(1)))
        assert service.data.stat().st_mode & 0o077 == 0


def _refused(root: Path, *options: str) -> str:
    """The last line of a service that does not start, which must come before a model is loaded."""
    of_root = ['--root', str(root), '--model', model_servers.MODEL, '--port', '0']
    done = subprocess.run(
        [sys.executable, '-m', 'cxr_triage', 'serve', *of_root, *options],
        capture_output=True,
        text=True,
        check=False,
        timeout=_PATIENCE_S,
    )
    assert done.returncode == 1 and 'Traceback' not in done.stderr, done.stderr
    assert not list(root.rglob('model-server.log'))
    return done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--host', '0.0.0.0', '--tokens', 'off'], 'only on this machine alone'),
        (['--canary-share', '1.5'], 'expected 0 to 1'),
        (['--retention-days', '-1'], 'expected 0 or more'),
        (['--database', 'mysql://x/y'], 'only sqlite and postgresql'),
        (['--database', 'postgresql://u:secret@127.0.0.1:1/x'], '127.0.0.1'),
        (['--port', '70000'], 'cannot listen on 127.0.0.1, port 70000'),
        (['--host', '192.0.2.1'], 'cannot listen on 192.0.2.1, port 0: Cannot assign'),
        (['--model-server', 'http://x:1'], 'expected grpc://HOST:PORT'),
        (['--model', 'other'], 'serves the model triage, not other: give --model triage'),
        (['--data', '/dev/null'], '/dev/null: not a folder. Give a folder'),
        (['--data', '/proc/x'], '/proc/x: No such file or directory. Give a folder'),
    ],
    ids=[
        'tokens',
        'share',
        'retention',
        'mysql',
        'no database',
        'port',
        'host',
        'model server',
        'model',
        'file',
        'unwritable',
    ],
)
def test_wrong_options_are_refused(root: Path, options: list[str], message: str) -> None:
    line = _refused(root, *options)
    assert message in line and 'secret' not in line


def test_a_port_that_another_program_has_is_refused(root: Path) -> None:
    with socket.create_server(('127.0.0.1', 0)) as other:
        port = other.getsockname()[1]
        line = _refused(root, '--port', str(port))
    assert line.endswith(f'cannot listen on 127.0.0.1, port {port}: Address already in use')


def test_a_damaged_database_is_refused(root: Path) -> None:
    (root / 'service').mkdir()
    (root / 'service' / 'gateway.sqlite').write_bytes(b'no database' * 100)
    line = _refused(root)
    assert line.endswith('gateway.sqlite: file is not a database. Restore a backup of it')


def test_a_root_without_a_version_is_refused(tmp_path: Path) -> None:
    assert 'no version was pushed there; run the pipeline' in _refused(tmp_path)


def test_a_folder_is_served_once(root: Path, tmp_path: Path) -> None:
    data = tmp_path / 'data'
    with _serving(root, '--data', str(data)) as service:
        line = _refused(root, '--data', str(data))
        assert f'process {service.process.pid} on ' in line and 'serves this folder already' in line
