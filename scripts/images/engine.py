"""Finds a running Docker engine, or starts one for as long as it is needed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_START_S = 60.0
_PACKAGES = 'Debian, Ubuntu: the packages docker.io and, if it exists, docker-buildx'
# The first version of the client that needs the plugin buildx for BuildKit.
_BUILDX_FROM = 23


class EngineError(Exception):
    """No engine can be used; the message says what to install or do."""


@dataclass(frozen=True)
class Engine:
    """A Docker engine and its client.

    Attributes:
      docker: the path of the client.
      environment: the environment variables of the client.
      own: whether this module started the engine; then it has no other users and no bridge network.
    """

    docker: str
    environment: dict[str, str]
    own: bool = False

    def run(self, *arguments: str, check: bool = True, **options) -> subprocess.CompletedProcess:
        """Runs the client, with options for `subprocess.run`."""
        return subprocess.run(
            [self.docker, *arguments], env=self.environment, check=check, **options
        )

    def has(self, image: str) -> bool:
        """Whether the engine has an image."""
        return self.run('image', 'inspect', image, check=False, capture_output=True).returncode == 0


def on_path(name: str, env: Mapping[str, str]) -> Iterator[str]:
    """All programs of this name in the folders of PATH."""
    for folder in env.get('PATH', os.defpath).split(os.pathsep):
        path = Path(folder or '.') / name
        if path.is_file() and os.access(path, os.X_OK):
            yield str(path)


def output_of(*command: str) -> str:
    """The stripped standard output of a command; empty if the command cannot run or fails."""
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ''
    return result.stdout.strip() if result.returncode == 0 else ''


@contextmanager
def engine(folder: Path, env: Mapping[str, str] = os.environ) -> Iterator[Engine]:
    """The running engine, or else an engine that runs inside the context.

    The images of the second one stay in `folder`.

    Raises:
      EngineError: no engine runs, and none can be started.
    """
    docker = client(env)
    if _answers(docker, env):
        yield Engine(docker, dict(env))
        return
    folder = folder.resolve()
    socket = folder / 'socket'
    own = {**env, 'DOCKER_HOST': f'unix://{socket}'}
    if _answers(docker, own):  # another process has started it
        yield Engine(docker, own, own=True)
        return
    daemon = _start(folder, socket)
    try:
        _wait(daemon, docker, own, folder / 'log')
        yield Engine(docker, own, own=True)
    finally:
        daemon.terminate()
        try:
            daemon.wait(30)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()


def client(env: Mapping[str, str]) -> str:
    """The first docker client on PATH that can build with BuildKit.

    Raises:
      EngineError: there is no such client.
    """
    rejected = []
    for path in on_path('docker', env):
        version = re.search(r'\d+', output_of(path, '--version'))
        if version and (
            int(version[0]) < _BUILDX_FROM
            or re.match(r'github\.com/docker/buildx', output_of(path, 'buildx', 'version'))
        ):
            return path
        rejected.append(f'  {path} has no BuildKit: its plugin buildx is missing')
    raise EngineError(
        '\n'.join(
            [
                'no docker client that can build the images. Install one (' + _PACKAGES + ')',
                *rejected,
            ]
        )
    )


def _answers(docker: str, env: Mapping[str, str]) -> bool:
    try:
        result = subprocess.run(
            [docker, 'info'], env=dict(env), capture_output=True, timeout=30, check=False
        )
    except subprocess.TimeoutExpired:
        return False
    return result.returncode == 0


def _start(folder: Path, socket: Path) -> subprocess.Popen:
    daemon = shutil.which('dockerd') or next(
        (path for path in ('/usr/sbin/dockerd', '/usr/bin/dockerd') if os.access(path, os.X_OK)),
        None,
    )
    if daemon is None:
        raise EngineError(
            'no container engine answers, and there is no dockerd to start. Install it '
            f'({_PACKAGES})'
        )
    if os.geteuid() != 0:
        raise EngineError(
            'no container engine answers, and only root can start one: start Docker, or run this '
            'as root'
        )
    folder.mkdir(parents=True, exist_ok=True)
    # Without a bridge: builds use the network of this machine, and steps have no network.
    options = {
        'data-root': folder / 'data',
        'exec-root': folder / 'exec',
        'pidfile': folder / 'pid',
        'host': f'unix://{socket}',
    }
    flags = [
        *(f'--{name}={value}' for name, value in options.items()),
        '--bridge=none',
        '--iptables=false',
        '--ip-forward=false',
    ]
    # The engine ends together with this process, even if this process is killed.
    command = [
        *(['setpriv', '--pdeathsig', 'TERM'] if shutil.which('setpriv') else []),
        daemon,
        *flags,
    ]
    with (folder / 'log').open('wb') as log:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _wait(daemon: subprocess.Popen, docker: str, env: Mapping[str, str], log: Path) -> None:
    deadline = time.monotonic() + _START_S
    while not _answers(docker, env):
        if daemon.poll() is not None or time.monotonic() > deadline:
            raise EngineError(
                '\n'.join([f'dockerd does not start. The end of {log}:', *_tail(log)])
            )
        time.sleep(0.2)


def _tail(log: Path, lines: int = 5) -> Sequence[str]:
    return log.read_text(encoding='utf-8', errors='replace').splitlines()[-lines:]
