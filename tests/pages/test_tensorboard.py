"""TensorBoard over a real root, started as a person starts it: it holds the curves of each
training, and Ctrl-C ends it.
"""

from __future__ import annotations

import http.client
import json
import signal
import socket
from pathlib import Path

import pytest

from cli import main as cli
from pages import store
from pages.store import COMPLETE

pytestmark = pytest.mark.slow

_TAGS = '/data/plugin/scalars/tags'
# What a person who pressed Ctrl-C waits for without pressing it again.
_QUICK_S = 10.0


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(('127.0.0.1', 0))
        return taken.getsockname()[1]


def _answer(port: int, path: str) -> dict:
    """What it answers; nothing before it listens."""
    connection = http.client.HTTPConnection('127.0.0.1', port, timeout=60)
    try:
        connection.request('GET', path)
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        return json.loads(answer.read())
    except ConnectionRefusedError:
        return {}
    finally:
        connection.close()


def _status(port: int, host: str) -> int:
    """What it says to a page that reaches it under another name."""
    connection = http.client.HTTPConnection('127.0.0.1', port, timeout=60)
    connection.request('GET', _TAGS, headers={'Host': f'{host}:{port}'})
    status = connection.getresponse().status
    connection.close()
    return status


def _trainings(root: Path) -> set[str]:
    """The folders of the trainings that came to their end, each once, however many runs had it from
    the cache.
    """
    stored = store.read(root)
    ended = [run.executions['Trainer'] for run in stored.runs if 'Trainer' in run.executions]
    return {
        Path(output.path).name
        for one in ended
        if one.state == COMPLETE
        for output in stored.outputs(one, 'model_run')
    }


@pytest.fixture
def served(watched):
    """TensorBoard over the root, and its port."""
    port = _free_port()
    server = watched.program.start('tensorboard', '--root', watched.root, '--port', str(port))
    yield server, port
    server.stop()


def test_curves_of_every_training_until_ctrl_c(watched, served):
    server, port = served
    trainings = _trainings(watched.root)
    assert len(trainings) == 2
    # It reads the logs while it serves.
    server.wait_for(lambda: trainings <= {run.partition('/')[0] for run in _answer(port, _TAGS)})
    for run, tags in _answer(port, _TAGS).items():
        if run.partition('/')[0] in trainings:
            assert {
                'training/loss',
                'training/val_loss',
                'training/auc',
                'training/val_auc',
            } <= set(tags), run
    assert f'http://localhost:{port}/' in server.screen
    assert _status(port, 'evil.example') == 403
    server.signal(signal.SIGINT)
    ended = server.finish(_QUICK_S)
    assert ended.exit_code == 0, ended.screen
    assert not ended.has_traceback(), ended.screen


def test_where_localhost_has_no_address_it_says_what_is_missing(watched, monkeypatch, capsys):
    def unknown(self, address):
        assert address[0] == 'localhost'
        raise socket.gaierror(socket.EAI_NONAME, 'Name or service not known')

    monkeypatch.setattr(socket.socket, 'connect_ex', unknown)
    before = signal.getsignal(signal.SIGTERM)
    try:
        assert (
            cli.main(['tensorboard', '--root', str(watched.root), '--port', str(_free_port())]) == 1
        )
    finally:
        # TensorBoard takes it for itself.
        signal.signal(signal.SIGTERM, before)
    assert 'add `127.0.0.1 localhost` to /etc/hosts' in capsys.readouterr().err
