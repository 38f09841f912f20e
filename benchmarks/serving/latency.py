"""Measures how long an image takes through the gateway, compared with inference in this process.

    python -m benchmarks.serving.latency ROOT [--backbone mobilenet_v2] [--images DIR]

Inference in this process is the reference: the session loader gets one encoded image. An image then
goes to the model server, and as a study to the gateway, in turn. The clock of the gateway runs from
the moment when the upload is accepted until the client has the answer, for which it waits with
`Prefer: wait`; in a second row, from the start of an upload that waits for its answer. ROOT is a
run root with a pushed version; with --backbone, a network of random weights takes its place.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks import scale
from benchmarks.serving import images, service, versions
from components.serving_check.parameters import MODEL_NAME
from schemas import signatures
from serving.api.client import ModelServer

FIGURES = 'serving-latency.json'
IN_PROCESS, SERVER = 'in this process', 'model server'
ACCEPTED, SENT = 'gateway, accepted to answered', 'gateway, sent to answered'
# p50 and p99 of ACCEPTED over IN_PROCESS.
GOALS = {'p50': 1.5, 'p99': 3.0}
_COUNT, _WARM_UP = 200, 5
# Each has its own limit of requests, which one client that asks all the time would exceed.
_TOKENS = 8


def main(argv: Sequence[str] | None = None) -> None:
    """Measures and prints; also writes the figures to serving-latency.json under --scratch."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    versions.add_arguments(parser)
    images.add_argument(parser)
    parser.add_argument('--count', type=int, default=_COUNT, help=f'images (default: {_COUNT})')
    parser.add_argument('--scratch', type=Path, default=scale.SCRATCH, help='for the figures')
    args = parser.parse_args(argv)
    scratch = service.new_folder(args.scratch / 'serving-latency')
    root = versions.from_arguments(args, scratch / 'root')
    figures = measure(root, scratch / 'service', images.load(args.images), args.count)
    (args.scratch / FIGURES).write_text(json.dumps(figures, indent=1))
    Console(width=100).print(table(figures))


def measure(root: Path, data: Path, contents: Sequence[bytes], count: int) -> dict:
    """Way -> p50 and p99 in seconds.

    Args:
      root: of `versions`.
      data: the folder of the service.
      contents: encoded images, used in turn.
      count: how often.
    """
    from components.serving_check.session_model import SessionModel

    model = SessionModel(str(versions.path(root)))
    secrets = service.create_tokens(data, _TOKENS)
    with service.serving(root, data, '--tokens', 'on') as running:
        clients = itertools.cycle([running.client(secret) for secret in secrets])
        server = ModelServer(running.model_server)
        seconds: dict[str, list[float]] = {
            name: [] for name in (IN_PROCESS, SERVER, ACCEPTED, SENT)
        }
        for number in range(-_WARM_UP, count):
            content = contents[number % len(contents)]
            name, inputs = signatures.IMAGES.name, {signatures.IMAGES.input: [content]}
            sample = {
                IN_PROCESS: _timed(model.run, name, inputs),
                SERVER: _timed(server.predict, MODEL_NAME, name, inputs),
                **_through_gateway(clients, content),
            }
            if number >= 0:
                for name, value in sample.items():
                    seconds[name].append(value)
        server.close()
        for _ in secrets:
            next(clients).close()
    return {
        name: {
            'p50': float(np.percentile(values, 50)),
            'p99': float(np.percentile(values, 99)),
        }
        for name, values in seconds.items()
    }


def _through_gateway(clients, content: bytes) -> dict[str, float]:
    client = next(clients)
    id = client.upload(content)
    return {
        ACCEPTED: _timed(client.scored, id),
        SENT: _timed(next(clients).upload_and_wait, content),
    }


def _timed(work: Callable[..., object], *arguments: object) -> float:
    start = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - start


def ratio(figures: dict, percentile: str) -> float:
    """A percentile of the gateway over that of inference in this process."""
    return figures[ACCEPTED][percentile] / figures[IN_PROCESS][percentile]


def table(figures: dict) -> Table:
    """A table of milliseconds and ratios."""
    result = Table(box=None, pad_edge=False)
    for name in ('', 'p50, ms', 'p99, ms', 'p50 over reference', 'p99 over reference'):
        result.add_column(name, justify='right' if name else 'left')
    for name, row in figures.items():
        result.add_row(
            name,
            *(f'{1000 * row[p]:.1f}' for p in GOALS),
            *(f'{row[p] / figures[IN_PROCESS][p]:.2f}' for p in GOALS),
        )
    return result


if __name__ == '__main__':
    main()
