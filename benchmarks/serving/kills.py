"""Kills gateway and model server under load, and checks that no accepted study is lost.

    python -m benchmarks.serving.kills ROOT [--count 20] [--postgresql] [--images DIR]

Clients upload all the time. The gateway and its model server are killed in turn (SIGKILL); the
gateway is started again, the model server is started again by the gateway. `load.compare` says what
must hold at the end.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import random
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import scale
from benchmarks.serving import images, load, postgresql, service, versions

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
      problems: a sentence for each study that was lost or answered twice, and each upload that was
        refused.
    """

    kills: collections.Counter = field(default_factory=collections.Counter)
    accepted: int = 0
    interrupted: int = 0
    recovery_s: float = 0.0
    problems: list[str] = field(default_factory=list)


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
    postgresql.add_argument(parser)
    parser.add_argument('--scratch', type=Path, default=scale.SCRATCH, help='for the figures')
    args = parser.parse_args(argv)
    scratch = service.new_folder(args.scratch / 'serving-kills')
    root = versions.from_arguments(args, scratch / 'root')
    with postgresql.database(args.postgresql) as url:
        contents = images.load(args.images)
        result = run(root, scratch / 'service', contents, args.count, url)
    path = args.scratch / FIGURES
    earlier = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**earlier, postgresql.name(url): vars(result)}, indent=1))
    Console(width=100).print(table(result))
    for problem in result.problems:
        print(problem)
    return 1 if result.problems else 0


def run(
    root: Path, data: Path, contents: Sequence[bytes], count: int, database: str = ''
) -> Result:
    """Kills each process `count` times under load, then compares what was accepted and answered.

    Args:
      root: of `versions`.
      data: the folder of the service, which must be new.
      contents: encoded images, used in turn.
      count: how often each process is killed.
      database: the URL of an empty database; '' for SQLite in `data`.
    """
    result = Result()
    numbers = random.Random(_SEED)
    secrets = service.create_tokens(data, _CLIENTS, database)
    options = ['--tokens', 'on', *(['--database', database] if database else [])]
    with service.serving(root, data, *options) as running:
        uploads = load.Uploads(running, contents, secrets)
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
        result.problems += [
            f'{n} uploads were answered with {status}: {text}'
            for (status, text), n in uploads.answers.items()
            if status != 202
        ]
        result.problems += load.wait_for_answers(running, secrets[0], _ANSWERED_S)
    result.problems += load.compare(data, uploads.accepted, database)
    return result


def _model_server(running: service.Service) -> int:
    """The process of the model server, once there is one."""
    while not (pid := running.model_server_pid):
        time.sleep(0.1)
    return pid


def _kill_gateway(running: service.Service, uploads: load.Uploads, result: Result) -> None:
    killed = time.monotonic()
    running.kill()
    result.kills['gateway'] += 1
    running.start()
    if not uploads.wait_for_one(60):
        result.problems.append('no upload was accepted within a minute after a start')
    result.recovery_s = max(result.recovery_s, uploads.accepted_at - killed)


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
