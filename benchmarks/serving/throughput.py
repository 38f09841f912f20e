"""Measures what the gateway gets through with many clients, compared with the model server alone.

    python -m benchmarks.serving.throughput ROOT [--backbone mobilenet_v2] [--seconds 600]

First and last, the clients send images to the model server itself. In between, they upload as many
studies as they can, each client with a few that wait, while a version is promoted and rolled back.
The same model server answers all the time; it has half of the cores of this machine, and gateway
and clients have the other half.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import scale
from benchmarks.serving import images, service, versions
from benchmarks.serving.client import Client
from components.pusher.target import MODEL_CONFIG
from components.serving_check.parameters import MODEL_NAME
from pipeline.run_root import RunRoot
from schemas import signatures
from serving.api.client import ModelServer
from serving.embedded import EmbeddedServer

FIGURES = 'serving-throughput.json'
GOAL = 0.9
CLIENTS = 16
_SECONDS = 60.0
# Studies of one client that wait at the same time.
_WAITING = 4
# Share of the seconds for the model server alone, before and again after the gateway, so that other
# work of the machine disturbs both alike.
_ALONE_S = 0.125


@dataclass
class Load:
    """What clients did: the times of answers, the versions that gave them, and errors."""

    answered_at: list[float] = field(default_factory=list)
    versions: collections.Counter = field(default_factory=collections.Counter)
    errors: list[str] = field(default_factory=list)

    def rate(self, start: float, end: float) -> float:
        """Answers a second between two times."""
        return sum(start <= time < end for time in self.answered_at) / (end - start)


def main(argv: Sequence[str] | None = None) -> None:
    """Measures and prints; also writes the figures to serving-throughput.json under --scratch."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    versions.add_arguments(parser)
    images.add_argument(parser)
    parser.add_argument(
        '--seconds', type=float, default=_SECONDS, help=f'of uploads (default: {_SECONDS:g})'
    )
    parser.add_argument('--clients', type=int, default=CLIENTS, help=f'(default: {CLIENTS})')
    parser.add_argument('--scratch', type=Path, default=scale.SCRATCH, help='for the figures')
    args = parser.parse_args(argv)
    scratch = service.new_folder(args.scratch / 'serving-throughput')
    root = versions.from_arguments(args, scratch / 'root')
    contents = images.load(args.images)
    figures = measure(root, scratch / 'service', contents, args.seconds, args.clients)
    (args.scratch / FIGURES).write_text(json.dumps(figures, indent=1))
    Console(width=100).print(table(figures))
    for error in figures['errors'][:10]:
        print(error)


def measure(
    root: Path, data: Path, contents: Sequence[bytes], seconds: float, clients: int = CLIENTS
) -> dict:
    """The rates, errors, and how many studies each version answered.

    Args:
      root: of `versions`.
      data: the folder of the service, which must be new.
      contents: encoded images, used in turn.
      seconds: how long studies are uploaded.
      clients: how many at the same time.
    """
    secrets = service.create_tokens(data, clients)
    cores = sorted(os.sched_getaffinity(0))
    half = max(1, len(cores) // 2)
    with contextlib.ExitStack() as stack:
        with _on(cores[:half]):
            config = RunRoot(root).serving / MODEL_CONFIG
            server = EmbeddedServer(config, data / 'model-server.log')
            stack.callback(server.close)
            server.start()
        stack.enter_context(_on(cores[half:] or cores))
        address = f'grpc://{server.address}'
        before = _model_server_alone(server.address, contents, seconds * _ALONE_S, clients)
        with service.serving(root, data, '--model-server', address, '--tokens', 'on') as running:
            load, rate, released = _through_gateway(running, address, contents, seconds, secrets)
            peak = running.peak_bytes()
        after = _model_server_alone(server.address, contents, seconds * _ALONE_S, clients)
    return {
        'clients': clients,
        'seconds': seconds,
        'alone': (before + after) / 2,
        'gateway': rate,
        'studies': len(load.answered_at),
        'versions': {str(version): count for version, count in sorted(load.versions.items())},
        'releases': released,
        'errors': load.errors,
        'peak_bytes': peak,
    }


@contextlib.contextmanager
def _on(cores: Sequence[int]) -> Iterator[None]:
    """Keeps this thread, and the threads and processes that it starts, on some cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _model_server_alone(
    address: str, contents: Sequence[bytes], seconds: float, clients: int
) -> float:
    """Images a second that the model server answers to clients that always ask."""
    load = Load()
    server = ModelServer(address)
    start = time.monotonic()
    warm, end = start + seconds * 0.2, start + seconds

    def ask(number: int) -> None:
        turn = number
        while time.monotonic() < end:
            inputs = {signatures.IMAGES.input: [contents[turn % len(contents)]]}
            server.predict(MODEL_NAME, signatures.IMAGES.name, inputs, label='stable')
            load.answered_at.append(time.monotonic())
            turn += 1

    _in_threads(ask, clients)
    server.close()
    return load.rate(warm, end)


def _through_gateway(
    running: service.Service,
    address: str,
    contents: Sequence[bytes],
    seconds: float,
    secrets: Sequence[str],
) -> tuple[Load, float, list[str]]:
    load = Load()
    start = time.monotonic()
    warm, end = start + seconds * 0.1, start + seconds
    released: list[str] = []

    def release() -> None:
        for share, arguments in (
            (1 / 3, ['promote', str(versions.CANDIDATE)]),
            (2 / 3, ['rollback']),
        ):
            time.sleep(max(0.0, start + share * seconds - time.monotonic()))
            command = [sys.executable, '-m', 'cxr_triage', 'models', *arguments]
            command += ['--root', str(running.root), '--data', str(running.data)]
            result = subprocess.run(
                [*command, '--model-server', address], capture_output=True, text=True, check=False
            )
            if result.returncode:
                load.errors.append(f'{arguments[0]}: {result.stdout}{result.stderr}')
            else:
                released.append(arguments[0])

    def use(number: int) -> None:
        client = running.client(secrets[number])
        try:
            _upload_until(end, client, contents, number, load)
        except Exception as error:  # noqa: BLE001 - each error counts
            load.errors.append(f'client {number}: {type(error).__name__}: {error}')
        finally:
            client.close()

    releasing = threading.Thread(target=release)
    releasing.start()
    _in_threads(use, len(secrets))
    releasing.join()
    return load, load.rate(warm, end), released


def _upload_until(
    end: float, client: Client, contents: Sequence[bytes], number: int, load: Load
) -> None:
    waiting: collections.deque[str] = collections.deque()
    turn = number
    while time.monotonic() < end or waiting:
        if len(waiting) < _WAITING and time.monotonic() < end:
            waiting.append(client.upload(contents[turn % len(contents)]))
            turn += 1
        else:
            _count(client.scored(waiting.popleft()), load)


def _count(study: dict[str, Any], load: Load) -> None:
    load.answered_at.append(time.monotonic())
    load.versions[study['version']] += 1
    if study['state'] != 'scored':
        load.errors.append(f'study {study["id"]} is {study["state"]}')


def _in_threads(work: Callable[[int], None], count: int) -> None:
    threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def table(figures: dict) -> Table:
    """A table of the rates."""
    result = Table(box=None, pad_edge=False)
    for name in (f'{figures["clients"]} clients', 'images/s', 'over the model server'):
        result.add_column(name, justify='right' if name[0].isalpha() else 'left')
    for name, key in (('model server alone', 'alone'), ('gateway', 'gateway')):
        result.add_row(name, f'{figures[key]:.1f}', f'{figures[key] / figures["alone"]:.2f}')
    counts = ', '.join(f'version {v}: {n}' for v, n in figures['versions'].items())
    result.caption = (
        f'{figures["studies"]:,} studies ({counts}); {", ".join(figures["releases"])}; '
        f'{len(figures["errors"])} errors; gateway at most {figures["peak_bytes"] / 1e9:.2f} GB'
    )
    return result


if __name__ == '__main__':
    main()
