"""Kills gateway and model server under load, and checks that no accepted study is lost.

    python -m benchmarks.serving.kills ROOT [--count 20] [--images DIR]

Clients upload all the time. The gateway and its model server are killed in turn (SIGKILL); the
gateway is started again, the model server is started again by the gateway. At the end each study
that was accepted must have one answer, its file as it was sent, and one entry each of its upload
and answer in the audit log, whose chain must be whole.
"""

from __future__ import annotations

import argparse
import collections
import http.client
import json
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table
from sqlalchemy import func, select

from benchmarks import scale
from benchmarks.serving import images, service, versions
from benchmarks.serving.client import RefusedError
from serving import audit, studies
from serving.database import connection, tables
from serving.image_files import ImageFiles

FIGURES = 'serving-kills.json'
COUNT = 20
_CLIENTS = 4
_PAUSE_S = (1.0, 4.0)  # between a start and the next kill
_ANSWERED_S = 300.0
_SEED = 7


@dataclass
class Result:
    """What came of it.

    Attributes:
      kills: process -> how often it was killed.
      accepted: studies.
      interrupted: uploads without an answer.
      recovery_s: the longest time from a kill until an upload is accepted again.
      problems: a sentence for each study that was lost or answered twice.
    """

    kills: collections.Counter = field(default_factory=collections.Counter)
    accepted: int = 0
    interrupted: int = 0
    recovery_s: float = 0.0
    problems: list[str] = field(default_factory=list)


class _Uploads:
    """Clients that upload until `stop`, whatever happens to the gateway."""

    def __init__(self, running: service.Service, contents: Sequence[bytes], secrets: list[str]):
        self._running, self._contents = running, contents
        self._stopped = threading.Event()
        self.accepted: dict[str, bytes] = {}
        self.accepted_at = 0.0
        self.interrupted = 0
        self.refused: list[str] = []
        self._threads = [
            threading.Thread(target=self._work, args=(number, secret))
            for number, secret in enumerate(secrets)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ends the clients."""
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def _work(self, number: int, secret: str) -> None:
        client = self._running.client(secret, timeout_s=10.0)
        turn = number
        while not self._stopped.is_set():
            content = self._contents[turn % len(self._contents)]
            try:
                self.accepted[client.upload(content)] = content
                self.accepted_at = time.monotonic()
                turn += 1
            except RefusedError as error:
                self.refused.append(str(error))
            except (OSError, http.client.HTTPException):
                self.interrupted += 1
            self._stopped.wait(0.1)
        client.close()


def main(argv: Sequence[str] | None = None) -> int:
    """Kills, prints, and returns 1 if anything was lost or answered twice.

    Also writes the figures to serving-kills.json under --scratch.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    versions.add_arguments(parser)
    images.add_argument(parser)
    parser.add_argument(
        '--count', type=int, default=COUNT, help=f'kills of each process (default: {COUNT})'
    )
    parser.add_argument('--scratch', type=Path, default=scale.SCRATCH, help='for the figures')
    args = parser.parse_args(argv)
    scratch = service.new_folder(args.scratch / 'serving-kills')
    root = versions.from_arguments(args, scratch / 'root')
    result = run(root, scratch / 'service', images.load(args.images), args.count)
    (args.scratch / FIGURES).write_text(json.dumps(vars(result), indent=1))
    Console(width=100).print(table(result))
    for problem in result.problems:
        print(problem)
    return 1 if result.problems else 0


def run(root: Path, data: Path, contents: Sequence[bytes], count: int) -> Result:
    """Kills each process `count` times under load, then compares what was accepted and answered.

    Args:
      root: of `versions`.
      data: the folder of the service, which must be new.
      contents: encoded images, used in turn.
      count: how often each process is killed.
    """
    result = Result()
    numbers = random.Random(_SEED)
    secrets = service.create_tokens(data, _CLIENTS)
    with service.serving(root, data, '--tokens', 'on') as running:
        uploads = _Uploads(running, contents, secrets)
        try:
            for _ in range(count):
                time.sleep(numbers.uniform(*_PAUSE_S))
                os.kill(_model_server(running), signal.SIGKILL)
                result.kills['model server'] += 1
                time.sleep(numbers.uniform(*_PAUSE_S))
                _kill_gateway(running, uploads, result)
        finally:
            uploads.stop()
        result.accepted, result.interrupted = len(uploads.accepted), uploads.interrupted
        result.problems += uploads.refused
        _wait_for_answers(running, secrets[0], result)
    result.problems += compare(data, uploads.accepted)
    return result


def _model_server(running: service.Service) -> int:
    """The process of the model server, once there is one."""
    while not (pid := running.model_server_pid):
        time.sleep(0.1)
    return pid


def _kill_gateway(running: service.Service, uploads: _Uploads, result: Result) -> None:
    killed = time.monotonic()
    running.kill()
    result.kills['gateway'] += 1
    running.start()
    deadline = time.monotonic() + 60
    restarted = time.monotonic()
    while uploads.accepted_at < restarted and time.monotonic() < deadline:
        time.sleep(0.02)
    if uploads.accepted_at < restarted:
        result.problems.append('no upload was accepted within a minute after a start')
    result.recovery_s = max(result.recovery_s, uploads.accepted_at - killed)


def _wait_for_answers(running: service.Service, secret: str, result: Result) -> None:
    client = running.client(secret)
    deadline = time.monotonic() + _ANSWERED_S
    waiting = -1
    while waiting and time.monotonic() < deadline:
        time.sleep(0.5)
        answer = client.request('GET', '/v1/worklist?state=pending&limit=1')
        waiting = answer.json()['total'] if answer.status == 200 else -1
    client.close()
    if waiting:
        result.problems.append(f'{waiting} studies still wait after {_ANSWERED_S:g} s')


def compare(data: Path, accepted: dict[str, bytes]) -> list[str]:
    """What is missing or there twice, of studies (id -> uploaded file) of a service that ended."""
    sessions = connection.connect(connection.sqlite_url(data / 'gateway.sqlite'))
    files = ImageFiles(data / 'images')
    problems = []
    with connection.reading(sessions) as session:
        entries = {
            action: collections.Counter(
                session.scalars(
                    select(tables.AuditEntry.subject).where(tables.AuditEntry.action == action)
                )
            )
            for action in ('upload', 'answer')
        }
        for id, content in accepted.items():
            study = studies.find(session, id)
            if study is None or len(study.images) != 1:
                problems.append(f'study {id} is lost')
                continue
            (image,) = study.images
            answers = [answer for answer in image.answers if answer.role == studies.STABLE]
            if study.state != tables.SCORED or len(answers) != 1:
                problems.append(f'study {id} is {study.state} and has {len(answers)} answers')
            if image.sha256 != studies.sha256(content) or not files.read(image.id):
                problems.append(f'study {id} has another file')
        # Also of studies whose upload was interrupted before the client knew.
        count = session.scalar(select(func.count()).select_from(tables.Study))
        for action, subjects in entries.items():
            problems += [f'{n} {action}s of study {id}' for id, n in subjects.items() if n != 1]
            if len(subjects) != count:
                problems.append(f'{len(subjects)} {action}s of {count} studies in the audit log')
        problems += audit.verify(session)[2]
    sessions.kw['bind'].dispose()
    return problems


def table(result: Result) -> Table:
    """A table of what came of it."""
    rows = Table(box=None, pad_edge=False, show_header=False)
    for process, count in result.kills.items():
        rows.add_row(f'{process} killed', str(count))
    rows.add_row('studies accepted', f'{result.accepted:,}')
    rows.add_row('uploads interrupted', f'{result.interrupted:,}')
    rows.add_row('longest time without an accepted upload, s', f'{result.recovery_s:.1f}')
    rows.add_row('lost or answered twice', str(len(result.problems)))
    return rows


if __name__ == '__main__':
    sys.exit(main())
