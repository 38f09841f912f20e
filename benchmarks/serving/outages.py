"""Takes away disk, database or model server under load, and checks that nothing is lost.

    python -m benchmarks.serving.outages ROOT [--only OUTAGE] [--seconds 60] [--images DIR]

Clients upload all the time. Meanwhile the disk is filled, PostgreSQL is stopped as by a crash, the
model server is stopped (SIGSTOP), or it gets a twentieth of the time. The gateway must say what is
missing, store nothing that it does not acknowledge, and recover without help. `load.compare` says
what must hold at the end.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import scale
from benchmarks.serving import images, load, postgresql, service, versions

FIGURES = 'serving-outages.json'
SECONDS = 60.0
# What Kubernetes gives a probe (kubeflow/manifests/base/gateway/deployment.yaml).
PROBE_S = 8.0
_CLIENTS = 4
_BEFORE_S = 3.0
_ACCEPTED_S, _ANSWERED_S = 60.0, 300.0
# The gateway asks the model server for its versions every few seconds, and not while it is slow.
_READY_S = 30.0
_READY = {'status': 'ready', 'model_server': 'ok'}
# Beside the space that a gateway needs to be ready.
_DISK = '256m'
_SLOW_STEP_S, _SLOW_SHARE = 1.0, 0.05


@dataclass
class Outage:
    """What happened while something was missing, and after that.

    Attributes:
      what: was missing.
      seconds: how long.
      uploads: status -> uploads that were answered meanwhile.
      ready: what /readyz answered meanwhile, the last time: status and body.
      slowest_probe_s: the longest time that /healthz or /readyz took meanwhile.
      accepted: studies, also before and after.
      accepted_s: from its end until an upload was accepted.
      answered_s: from its end until no study waited; uploads had ended.
      problems: a sentence for each study that was lost or answered twice, and for each answer that
        was not the expected one.
    """

    what: str
    seconds: float
    uploads: dict[int, int] = field(default_factory=dict)
    ready: str = ''
    slowest_probe_s: float = 0.0
    accepted: int = 0
    accepted_s: float = 0.0
    answered_s: float = 0.0
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Kind:
    """An outage: what is missing while the context is open.

    Attributes:
      what: for the table.
      away: the context, of a running service and what `around` yielded.
      around: makes what the outage needs before the service starts, of the folder of the service;
        yields it, and the URL of the database or ''.
      status: of uploads meanwhile, beside 202 for those before it had its effect.
      part: of the body of /readyz, which then names a problem.
    """

    what: str
    away: Callable[[service.Service, Any], AbstractContextManager[None]]
    around: Callable[[Path], AbstractContextManager[tuple[Any, str]]]
    status: int
    part: str


@contextlib.contextmanager
def _small_disk(data: Path) -> Iterator[tuple[Path, str]]:
    mount = ['mount', '-t', 'tmpfs', '-o', f'size={_DISK}', 'tmpfs', str(data)]
    try:
        subprocess.run(mount, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        text = f'a full disk needs the right to mount a small file system: {error}'
        raise SystemExit(text) from None
    try:
        yield data, ''
    finally:
        subprocess.run(['umount', '-l', str(data)], check=True)


@contextlib.contextmanager
def _database(data: Path) -> Iterator[tuple[postgresql.Server, str]]:
    del data
    with postgresql.running() as server:
        yield server, server.url('gateway')


@contextlib.contextmanager
def _nothing(data: Path) -> Iterator[tuple[None, str]]:
    del data
    yield None, ''


@contextlib.contextmanager
def _full(running: service.Service, data: Path) -> Iterator[None]:
    del running
    ballast = data / 'ballast'
    with contextlib.suppress(OSError), ballast.open('wb', buffering=0) as stream:
        while stream.write(bytes(1 << 16)):
            pass
    try:
        yield
    finally:
        ballast.unlink()


@contextlib.contextmanager
def _stopped_database(running: service.Service, server: postgresql.Server) -> Iterator[None]:
    del running
    server.stop()
    try:
        yield
    finally:
        server.start()


@contextlib.contextmanager
def _stopped_model_server(running: service.Service, made: None) -> Iterator[None]:
    del made
    pid = running.model_server_pid
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@contextlib.contextmanager
def _slow_model_server(running: service.Service, made: None) -> Iterator[None]:
    del made
    pid, ended = running.model_server_pid, threading.Event()

    def work() -> None:
        while not ended.is_set():
            os.kill(pid, signal.SIGSTOP)
            ended.wait(_SLOW_STEP_S * (1 - _SLOW_SHARE))
            os.kill(pid, signal.SIGCONT)
            ended.wait(_SLOW_STEP_S * _SLOW_SHARE)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


KINDS = {
    'disk': _Kind('disk full', _full, _small_disk, 507, 'disk'),
    'database': _Kind('PostgreSQL down', _stopped_database, _database, 503, 'database'),
    'model-server': _Kind(
        'model server stopped', _stopped_model_server, _nothing, 202, 'model_server'
    ),
    'slow': _Kind('model server slow', _slow_model_server, _nothing, 202, ''),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Takes away, prints, and returns 1 if anything was lost or not as expected.

    Also writes the figures to serving-outages.json under --scratch.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    versions.add_arguments(parser)
    images.add_argument(parser)
    parser.add_argument('--only', choices=KINDS, help='one of them')
    parser.add_argument(
        '--seconds', type=float, default=SECONDS, help=f'of each (default: {SECONDS:g})'
    )
    parser.add_argument('--scratch', type=Path, default=scale.SCRATCH, help='for the figures')
    args = parser.parse_args(argv)
    scratch = service.new_folder(args.scratch / 'serving-outages')
    root = versions.from_arguments(args, scratch / 'root')
    contents = images.load(args.images)
    path = args.scratch / FIGURES
    figures = json.loads(path.read_text()) if path.exists() else {}
    outages = []
    for name in [args.only] if args.only else KINDS:
        outages.append(run(name, root, scratch / name, contents, args.seconds))
        figures[name] = dataclasses.asdict(outages[-1])
        path.write_text(json.dumps(figures, indent=1))
    Console(width=140).print(table(outages))
    for outage in outages:
        for problem in outage.problems:
            print(f'{outage.what}: {problem}')
    return 1 if any(outage.problems for outage in outages) else 0


def run(name: str, root: Path, data: Path, contents: Sequence[bytes], seconds: float) -> Outage:
    """Runs a new service through an outage under load.

    Args:
      name: one of KINDS.
      root: of `versions`.
      data: a new folder for the service.
      contents: encoded images, used in turn.
      seconds: how long something is missing.
    """
    kind = KINDS[name]
    result = Outage(kind.what, seconds)
    data.mkdir(parents=True)
    with kind.around(data) as (made, url):
        secrets = service.create_tokens(data, _CLIENTS, url)
        options = ['--tokens', 'on', *(['--database', url] if url else [])]
        with service.serving(root, data, *options) as running:
            uploads = load.Uploads(running, contents, secrets)
            try:
                time.sleep(_BEFORE_S)
                with kind.away(running, made):
                    _watch(running, uploads, kind, result)
                ended = time.monotonic()
                if not uploads.wait_for_one(_ACCEPTED_S):
                    result.problems.append(f'no upload was accepted within {_ACCEPTED_S:g} s')
                result.accepted_s = uploads.accepted_at - ended
            finally:
                uploads.stop()
            result.accepted = len(uploads.accepted)
            result.problems += load.wait_for_answers(running, secrets[0], _ANSWERED_S)
            result.answered_s = time.monotonic() - ended
            _expect_ready(running, result)
            if uploads.interrupted:
                result.problems.append(f'{uploads.interrupted} uploads had no answer')
        result.problems += load.compare(data, uploads.accepted, url)
    return result


def _watch(running: service.Service, uploads: load.Uploads, kind: _Kind, result: Outage) -> None:
    """Looks at the gateway for as long as the outage lasts."""
    before = uploads.statuses()
    client = running.client(timeout_s=60.0)
    deadline = time.monotonic() + result.seconds
    ready: dict[str, Any] = {}
    while time.monotonic() < deadline:
        for path in ('/healthz', '/readyz'):
            start = time.monotonic()
            answer = client.request('GET', path)
            client.close()
            result.slowest_probe_s = max(result.slowest_probe_s, time.monotonic() - start)
            if path == '/healthz' and answer.status != 200:
                result.problems.append(f'/healthz answered {answer.status}')
        ready, result.ready = answer.json(), f'{answer.status}: {answer.body.decode()}'
        time.sleep(0.5)
    client.close()
    result.uploads = dict(uploads.statuses() - before)
    if unexpected := set(result.uploads) - {202, kind.status}:
        result.problems.append(f'uploads were answered with {sorted(unexpected)}')
    if kind.status not in result.uploads:
        result.problems.append(f'no upload was answered with {kind.status}')
    if kind.part and ready.get(kind.part, 'ok') == 'ok':
        result.problems.append(f'/readyz did not name the {kind.part}: {result.ready}')
    if result.slowest_probe_s > PROBE_S:
        result.problems.append(f'/readyz took {result.slowest_probe_s:.1f} s')


def _expect_ready(running: service.Service, result: Outage) -> None:
    client = running.client()
    deadline = time.monotonic() + _READY_S
    while True:
        answer = client.request('GET', '/readyz')
        is_ready = answer.status == 200 and answer.json() == _READY
        if is_ready or time.monotonic() > deadline:
            break
        time.sleep(0.5)
    client.close()
    if not is_ready:
        result.problems.append(f'/readyz afterwards: {answer.status}: {answer.body.decode()}')


def table(outages: Sequence[Outage]) -> Table:
    """A table with a column for each outage."""
    result = Table(box=None, pad_edge=False)
    result.add_column('')
    for outage in outages:
        result.add_column(outage.what)
    rows: dict[str, Callable[[Outage], str]] = {
        's': lambda o: f'{o.seconds:g}',
        'uploads meanwhile by status': lambda o: ', '.join(
            f'{status}: {n:,}' for status, n in sorted(o.uploads.items())
        ),
        '/readyz meanwhile': lambda o: o.ready,
        'slowest /healthz or /readyz, s': lambda o: f'{o.slowest_probe_s:.1f}',
        'upload accepted after, s': lambda o: f'{o.accepted_s:.1f}',
        'no study waits after, s': lambda o: f'{o.answered_s:.1f}',
        'studies accepted': lambda o: f'{o.accepted:,}',
        'lost, answered twice, or unexpected': lambda o: str(len(o.problems)),
    }
    for name, text in rows.items():
        result.add_row(name, *(text(outage) for outage in outages))
    return result


if __name__ == '__main__':
    sys.exit(main())
