"""`cxr-triage tensorboard` serves the curves of every training until Ctrl-C."""

from __future__ import annotations

import http.client
import json
import signal
import socket
from pathlib import Path

import pytest

from cli import main as cli
from pages import runs, store
from pages.store import COMPLETE

pytestmark = pytest.mark.slow

_TAGS = '/data/plugin/scalars/tags'
# A user who waits longer than this presses Ctrl-C again.
_SHUTDOWN_S = 10.0


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(('127.0.0.1', 0))
        return listener.getsockname()[1]


def _answer(port: int, path: str) -> dict:
    """Returns the JSON answer, or an empty dict while the server does not listen yet."""
    connection = http.client.HTTPConnection('127.0.0.1', port, timeout=60)
    try:
        connection.request('GET', path)
        response = connection.getresponse()
        assert response.status == 200, response.read()
        return json.loads(response.read())
    except ConnectionRefusedError:
        return {}
    finally:
        connection.close()


def _status(port: int, host: str) -> int:
    """Returns the HTTP status of a request with another host name."""
    connection = http.client.HTTPConnection('127.0.0.1', port, timeout=60)
    connection.request('GET', _TAGS, headers={'Host': f'{host}:{port}'})
    status = connection.getresponse().status
    connection.close()
    return status


def _trainings(root: Path) -> set[str]:
    """The labels of all runs with a completed training."""
    return {
        run.label
        for run in runs.all_runs(store.read(root))
        if 'Trainer' in run.executions and run.executions['Trainer'].state == COMPLETE
    }


@pytest.fixture
def tensorboard(real_runs):
    """A TensorBoard server of the run root, and its port."""
    port = _free_port()
    server = real_runs.program.start('tensorboard', '--root', real_runs.root, '--port', str(port))
    yield server, port
    server.stop()


def test_curves_of_every_training_until_ctrl_c(real_runs, tensorboard):
    server, port = tensorboard
    trainings = _trainings(real_runs.root)
    assert len(trainings) == 2
    # TensorBoard reads the logs in the background.
    server.wait_for(lambda: trainings <= set(_answer(port, _TAGS)))
    for run, tags in _answer(port, _TAGS).items():
        if run in trainings:
            assert {
                'training/loss',
                'training/val_loss',
                'training/auc',
                'training/val_auc',
            } <= set(tags), run
    assert f'http://localhost:{port}/' in server.screen
    assert _status(port, 'evil.example') == 403
    server.signal(signal.SIGINT)
    result = server.finish(_SHUTDOWN_S)
    assert result.exit_code == 0, result.screen
    assert not result.has_traceback(), result.screen


def test_an_unresolvable_localhost_is_reported(real_runs, monkeypatch, capsys):
    def fail_to_resolve(self, address):
        assert address[0] == 'localhost'
        raise socket.gaierror(socket.EAI_NONAME, 'Name or service not known')

    monkeypatch.setattr(socket.socket, 'connect_ex', fail_to_resolve)
    before = signal.getsignal(signal.SIGTERM)
    try:
        assert (
            cli.main(['tensorboard', '--root', str(real_runs.root), '--port', str(_free_port())])
            == 1
        )
    finally:
        # TensorBoard replaces the handler.
        signal.signal(signal.SIGTERM, before)
    assert 'add `127.0.0.1 localhost` to /etc/hosts' in capsys.readouterr().err
