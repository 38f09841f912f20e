"""Model servers for tests: the embedded one, and the TF Serving that CXR_TF_SERVING names."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.serving import tf_serving
from serving.api.client import ModelServer, ModelServerError
from serving.embedded import EmbeddedServer
from serving.releases import config_file

MODEL = 'triage'
REAL = os.environ.get('CXR_TF_SERVING', '')
KINDS = ('embedded', 'real') if REAL else ('embedded',)


def config_text(target: Path, policy: str = '', labels: dict[str, int] | None = None) -> str:
    """A model config file for the versions in `target`."""
    entries = ''.join(
        f'    version_labels {{ key: "{label}" value: {version} }}\n'
        for label, version in (labels or {}).items()
    )
    return f'''model_config_list {{
  config {{
    name: "{MODEL}"
    base_path: "{target}"
    model_platform: "tensorflow"
    model_version_policy {{ {policy} }}
{entries}  }}
}}
'''


@contextlib.contextmanager
def running(kind: str, config: Path, log: Path) -> Iterator[ModelServer]:
    """A client of a server that serves `config`."""
    if kind == 'embedded':
        server = EmbeddedServer(config, log)
        server.start()
        client = ModelServer(server.address)
        try:
            yield client
        finally:
            client.close()
            server.close()
        return
    with tf_serving.running(REAL, config, log) as address:
        client = ModelServer(address)
        try:
            yield client
        finally:
            client.close()


class _EndlessModel:
    def __init__(self, pipe: Path):
        self._pipe = pipe
        self._descriptor = -1

    def wait(self, timeout_s: float = 120) -> None:
        """Returns when a server reads it."""
        deadline = time.monotonic() + timeout_s
        while self._descriptor < 0:
            # Without a reader, a pipe cannot be opened so.
            with contextlib.suppress(OSError):
                self._descriptor = os.open(self._pipe, os.O_WRONLY | os.O_NONBLOCK)
            assert time.monotonic() < deadline, f'{self._pipe}: nothing reads it'
            time.sleep(0.05)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)


@contextlib.contextmanager
def endless(version: Path) -> Iterator[_EndlessModel]:
    """Makes a model one that never ends loading: in place of its graph is a pipe."""
    graph = version / 'saved_model.pb'
    graph.unlink()
    os.mkfifo(graph)
    model = _EndlessModel(graph)
    try:
        yield model
    finally:
        model.close()


def wait_for_version(
    client: ModelServer, version: int | None = None, timeout_s: float = 60
) -> None:
    """Returns when a version, or any, is available."""
    deadline = time.monotonic() + timeout_s
    while True:
        with contextlib.suppress(ModelServerError):
            for status in client.versions(MODEL):
                if status.state == 'AVAILABLE' and version in (None, status.version):
                    return
        if time.monotonic() > deadline:
            raise TimeoutError(f'version {version or ""} is not available after {timeout_s} s')
        time.sleep(0.05)


def reload(client: ModelServer, text: str) -> None:
    """Has the server serve a configuration."""
    client.reload(config_file.parse(text))
