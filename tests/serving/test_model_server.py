"""Model servers through TF Serving's API: the embedded one, and a real one if there is one."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest

from components.serving_check import warmup
from components.serving_check.session_model import SessionModel
from schemas import signatures
from serving.api.client import ModelServer, ModelServerError
from serving.embedded import EmbeddedServer, EmbeddedServerError
from tests.support import model_servers, tiny_model
from tests.support.model_servers import MODEL, config_text

_ALL = 'all {}'
_IMAGES = tiny_model.images()


@pytest.fixture(scope='module')
def exports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Versions 1 and 2 of a small model."""
    target = tmp_path_factory.mktemp('exports')
    for version in (1, 2):
        tiny_model.export(target / str(version), seed=version)
        warmup.write(str(target / str(version)), MODEL, (1, 2))
    return target


@pytest.fixture(params=model_servers.KINDS, scope='module')
def server(request, exports: Path, tmp_path_factory: pytest.TempPathFactory):
    """A server of both versions, shared by the tests that change nothing."""
    folder = tmp_path_factory.mktemp('server')
    (folder / 'models.config').write_text(config_text(exports, _ALL))
    with model_servers.running(
        request.param, folder / 'models.config', folder / 'server.log'
    ) as client:
        model_servers.wait_for_version(client, 1)
        model_servers.wait_for_version(client, 2)
        yield client


@pytest.fixture(params=model_servers.KINDS)
def own_server(request, exports: Path, tmp_path: Path):
    """A server of version 1 alone, for one test; with the folder of its versions."""
    target = tmp_path / 'target'
    shutil.copytree(exports / '1', target / '1')
    (tmp_path / 'models.config').write_text(config_text(target))
    with model_servers.running(
        request.param, tmp_path / 'models.config', tmp_path / 'server.log'
    ) as client:
        yield client, target


def _score(client: ModelServer, images=_IMAGES, **spec) -> tuple[np.ndarray, int]:
    prediction = client.predict(MODEL, 'serve_image', {'image_bytes': images}, **spec)
    return prediction.outputs['probability'], prediction.version


@pytest.mark.parametrize('version', [1, 2])
@pytest.mark.parametrize('signature', [signatures.IMAGES, signatures.EXPLAIN], ids=lambda s: s.name)
def test_answers_equal_those_of_the_session_loader(
    server: ModelServer, exports: Path, version: int, signature: signatures.Signature
) -> None:
    expected = SessionModel(str(exports / str(version))).run(
        signature.name, {signature.input: _IMAGES}
    )
    prediction = server.predict(MODEL, signature.name, {signature.input: _IMAGES}, version=version)
    assert prediction.version == version
    assert prediction.outputs.keys() == expected.keys()
    for name, value in expected.items():
        if value.dtype == object:
            assert list(prediction.outputs[name]) == list(value)
        else:
            np.testing.assert_allclose(prediction.outputs[name], value, atol=1e-6)


def test_the_newest_version_answers_unless_another_is_named(server: ModelServer) -> None:
    assert [_score(server, **spec)[1] for spec in ({}, {'version': 1}, {'version': 2})] == [2, 1, 2]


def test_only_the_requested_outputs_are_sent(server: ModelServer) -> None:
    prediction = server.predict(
        MODEL, 'serve_image', {'image_bytes': _IMAGES}, outputs=['flag', 'status']
    )
    assert prediction.outputs.keys() == {'flag', 'status'}


def test_metadata_name_the_signatures_with_their_inputs_and_outputs(server: ModelServer) -> None:
    definitions = server.signatures(MODEL, version=1)
    assert {signature.name for signature in signatures.ALL_SIGNATURES} <= definitions.keys()
    assert set(definitions['serve_image'].inputs) == {'image_bytes'}
    assert set(definitions['serve_image'].outputs) == set(signatures.SCORES)


def test_a_damaged_image_does_not_disturb_the_others(server: ModelServer) -> None:
    alone, _ = _score(server)
    prediction = server.predict(
        MODEL, 'serve_image', {'image_bytes': [_IMAGES[0], b'no image', *_IMAGES[1:]]}
    )
    assert [status.decode() for status in prediction.outputs['status']].count('ok') == len(_IMAGES)
    np.testing.assert_allclose(np.delete(prediction.outputs['probability'], 1), alone, atol=1e-6)


def test_concurrent_requests_get_their_own_answers(server: ModelServer) -> None:
    expected = dict(zip(_IMAGES, _score(server)[0], strict=True))
    images = list(_IMAGES) * 25
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda image: _score(server, [image])[0][0], images))
    np.testing.assert_allclose(answers, [expected[image] for image in images], atol=1e-6)


@pytest.mark.parametrize(
    ('spec', 'text'),
    [
        ({'version': 7}, '7'),
        ({'label': 'stable'}, 'stable'),
    ],
    ids=['version', 'label'],
)
def test_what_is_not_served_is_an_error(server: ModelServer, spec: dict, text: str) -> None:
    with pytest.raises(ModelServerError, match=text) as caught:
        _score(server, **spec)
    assert caught.value.is_missing and not caught.value.is_temporary


def test_an_unknown_model_is_missing(server: ModelServer) -> None:
    with pytest.raises(ModelServerError, match='other') as caught:
        server.predict('other', 'serve_image', {'image_bytes': _IMAGES})
    assert caught.value.is_missing


@pytest.mark.parametrize(
    ('signature', 'inputs'),
    [
        ('nothing', {'image_bytes': _IMAGES}),
        ('serve_image', {'examples': _IMAGES}),
        ('serve_image', {'image_bytes': []}),
    ],
    ids=['signature', 'input', 'empty batch'],
)
def test_a_wrong_request_is_an_error_and_the_server_goes_on(
    server: ModelServer, signature: str, inputs: dict
) -> None:
    with pytest.raises(ModelServerError) as caught:
        server.predict(MODEL, signature, inputs)
    assert not caught.value.is_temporary
    assert len(_score(server)[0]) == len(_IMAGES)


@pytest.mark.slow
def test_a_new_version_takes_over_without_an_error(own_server, exports: Path) -> None:
    client, target = own_server
    assert _score(client)[1] == 1
    versions, stop = [], threading.Event()

    def ask() -> None:
        while not stop.is_set():
            versions.append(_score(client, _IMAGES[:1])[1])

    with ThreadPoolExecutor(4) as pool:
        clients = [pool.submit(ask) for _ in range(4)]
        shutil.copytree(exports / '2', target / '.incoming')
        (target / '.incoming').rename(target / '2')
        deadline = time.monotonic() + 60
        while 2 not in versions and time.monotonic() < deadline:
            time.sleep(0.05)
        stop.set()
        for asked in clients:
            asked.result()
    # A request that waited longer may get the answer of the old version last.
    assert versions[0] == 1 and {*versions} == {1, 2}
    assert _score(client)[1] == 2


@pytest.mark.slow
def test_labels_move_by_a_reload(own_server, exports: Path) -> None:
    client, target = own_server
    shutil.copytree(exports / '2', target / '2')
    both = 'specific { versions: 1 versions: 2 }'
    model_servers.reload(client, config_text(target, both))
    model_servers.wait_for_version(client, 2)
    for stable, canary in ((1, 2), (2, 1)):
        model_servers.reload(
            client, config_text(target, both, {'stable': stable, 'canary': canary})
        )
        assert _score(client, label='stable')[1] == stable
        assert _score(client, label='canary')[1] == canary


@pytest.mark.slow
def test_a_label_of_a_missing_version_is_refused_and_the_old_one_stays(own_server) -> None:
    client, target = own_server
    model_servers.reload(client, config_text(target, labels={'stable': 1}))
    with pytest.raises(ModelServerError, match='version 9'):
        model_servers.reload(client, config_text(target, labels={'stable': 9}))
    assert _score(client, label='stable')[1] == 1


@pytest.mark.slow
def test_a_broken_version_leaves_the_old_one_serving(own_server) -> None:
    client, target = own_server
    (target / '2').mkdir()
    (target / '2' / 'saved_model.pb').write_bytes(b'not a model')
    deadline = time.monotonic() + 60
    states: dict = {}
    while not states.get(2) and time.monotonic() < deadline:
        states = {status.version: status.error for status in client.versions(MODEL)}
        time.sleep(0.1)
    assert states[2]
    assert _score(client)[1] == 1


@pytest.mark.slow
def test_a_killed_server_comes_back_on_its_port(exports: Path, tmp_path: Path) -> None:
    (tmp_path / 'models.config').write_text(config_text(exports))
    server = EmbeddedServer(tmp_path / 'models.config', tmp_path / 'server.log')
    server.start()
    client = ModelServer(server.address)
    try:
        before = _score(client)
        killed = server.pid
        os.kill(killed, signal.SIGKILL)
        with pytest.raises(ModelServerError) as caught:
            _score(client)
        assert caught.value.is_temporary
        model_servers.wait_for_version(client)
        assert server.pid != killed
        np.testing.assert_array_equal(_score(client)[0], before[0])
    finally:
        client.close()
        server.close()
    with pytest.raises(ProcessLookupError):
        os.kill(server.pid, 0)


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('model_config_list {', 'not a model config file'),
        (config_text(Path('/nowhere')), "'/nowhere' is not a folder"),
        ('', 'names no model'),
    ],
    ids=['syntax', 'folder', 'empty'],
)
def test_a_wrong_configuration_is_refused_at_once(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / 'models.config').write_text(text)
    server = EmbeddedServer(tmp_path / 'models.config', tmp_path / 'server.log')
    with pytest.raises(EmbeddedServerError, match=message):
        server.start()


@pytest.mark.slow
@pytest.mark.parametrize('is_loading', [False, True], ids=['serving', 'loading'])
def test_the_server_ends_with_the_process_that_started_it(
    exports: Path, tmp_path: Path, is_loading: bool
) -> None:
    target = tmp_path / 'target'
    shutil.copytree(exports / '1', target / '1')
    config, log = tmp_path / 'models.config', tmp_path / 'server.log'
    config.write_text(config_text(target))
    script = (
        'import sys, time; from pathlib import Path; from serving.embedded import EmbeddedServer; '
        'server = EmbeddedServer(Path(sys.argv[1]), Path(sys.argv[2])); server.start(); '
        'print(flush=True); time.sleep(600)'
    )
    with contextlib.ExitStack() as open_models:
        if is_loading:
            loads = open_models.enter_context(model_servers.endless(target / '1'))
        parent = subprocess.Popen(
            [sys.executable, '-c', script, config, log], stdout=subprocess.PIPE
        )
        if is_loading:
            loads.wait()
        else:
            assert parent.stdout is not None and parent.stdout.readline()
        (child,) = psutil.Process(parent.pid).children()
        parent.kill()
        parent.wait()
        psutil.wait_procs([child], timeout=30)
        assert not child.is_running()


@pytest.mark.slow
def test_a_server_that_loads_again_ends_when_it_is_closed(exports: Path, tmp_path: Path) -> None:
    target = tmp_path / 'target'
    shutil.copytree(exports / '1', target / '1')
    (tmp_path / 'models.config').write_text(config_text(target))
    server = EmbeddedServer(tmp_path / 'models.config', tmp_path / 'server.log')
    server.start()
    with model_servers.endless(target / '1') as loads:
        os.kill(server.pid, signal.SIGKILL)
        loads.wait()
        child = psutil.Process(server.pid)
        closing = threading.Thread(target=server.close, daemon=True)
        closing.start()
        closing.join(60)
        assert not closing.is_alive() and not child.is_running()
