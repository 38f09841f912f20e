"""Sends malformed uploads to a service, and checks that it neither fails, hangs nor grows.

    python -m benchmarks.serving.fuzz ROOT [--count 2000] [--images DIR]

Uploads are real images that a seeded generator has changed, decompression bombs, headers that
promise too much, files of other types, and hostile file names. What is accepted is waited for, and
then rendered and explained.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import itertools
import json
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import scale
from benchmarks.serving import images, mutations, service, versions
from benchmarks.serving.client import Answer, Client, multipart

FIGURES = 'serving-fuzz.json'
COUNT, SEED = 2_000, 7
SLOWEST_S, PEAK_BYTES = 5.0, 1_500_000_000
_CLIENTS = 4
_SCORED_S = 300.0
_TOKENS = 16


@dataclass
class Findings:
    """What happened.

    Attributes:
      statuses: status -> uploads with this answer.
      states: state -> accepted studies.
      slowest_s: the longest time until an answer.
      slowest: what it was about.
      problems: a sentence for each answer with status 500 or more, each connection that was cut,
        and each study that still waits.
      model_server_restarts: 1 if it ended.
      peak_bytes: of the gateway.
    """

    statuses: collections.Counter = field(default_factory=collections.Counter)
    states: collections.Counter = field(default_factory=collections.Counter)
    slowest_s: float = 0.0
    slowest: str = ''
    problems: list[str] = field(default_factory=list)
    model_server_restarts: int = 0
    peak_bytes: int = 0


def main(argv: Sequence[str] | None = None) -> int:
    """Sends, prints, and returns 1 if anything was found.

    Also writes the figures to serving-fuzz.json under --scratch.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    versions.add_arguments(parser)
    images.add_argument(parser)
    parser.add_argument('--count', type=int, default=COUNT, help=f'uploads (default: {COUNT:,})')
    parser.add_argument('--seed', type=int, default=SEED, help=f'(default: {SEED})')
    parser.add_argument('--scratch', type=Path, default=scale.SCRATCH, help='for the figures')
    args = parser.parse_args(argv)
    scratch = service.new_folder(args.scratch / 'serving-fuzz')
    root = versions.from_arguments(args, scratch / 'root')
    found = run(root, scratch / 'service', images.load(args.images, 6), args.count, args.seed)
    (args.scratch / FIGURES).write_text(json.dumps(vars(found), indent=1))
    Console(width=100).print(table(found))
    for problem in found.problems:
        print(problem)
    return 1 if problems(found) else 0


def problems(found: Findings) -> list[str]:
    """What misses a goal."""
    missed = list(found.problems)
    if found.slowest_s > SLOWEST_S:
        missed.append(f'{found.slowest}: answered after {found.slowest_s:.1f} s')
    if found.model_server_restarts:
        missed.append(f'the model server ended {found.model_server_restarts} times')
    if found.peak_bytes > PEAK_BYTES:
        missed.append(f'the gateway took {found.peak_bytes / 1e9:.2f} GB')
    return missed


def run(
    root: Path, data: Path, originals: Sequence[bytes], count: int, seed: int = SEED
) -> Findings:
    """Sends uploads to a new service, and looks at what it accepted."""
    findings = Findings()
    secrets = itertools.cycle(service.create_tokens(data, _TOKENS))
    with service.serving(root, data, '--tokens', 'on') as running:
        model_server = running.model_server_pid
        accepted = _send(running, secrets, mutations.uploads(originals, count, seed), findings)
        _look_at(running, secrets, accepted, findings)
        if not running.is_running:
            findings.problems.append('the gateway ended')
        else:
            findings.peak_bytes = running.peak_bytes()
            findings.model_server_restarts = int(running.model_server_pid != model_server)
    return findings


def _send(
    running: service.Service,
    secrets: Iterator[str],
    uploads: Iterator[mutations.BadUpload],
    findings: Findings,
) -> dict[str, str]:
    """Study -> what was sent, of the uploads that were accepted."""
    accepted: dict[str, str] = {}
    lock = threading.Lock()

    def work() -> None:
        with _clients(running, secrets) as clients:
            while True:
                with lock:
                    upload = next(uploads, None)
                if upload is None:
                    return
                body, content_type = multipart(upload.contents, upload.names)
                request = ('POST', '/v1/studies', body, content_type)
                answer = _ask(next(clients), request, upload.what, findings, lock)
                if answer is not None and answer.status == 202:
                    accepted[answer.json()['id']] = upload.what

    threads = [threading.Thread(target=work) for _ in range(_CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return accepted


def _look_at(
    running: service.Service, secrets: Iterator[str], accepted: dict[str, str], findings: Findings
) -> None:
    """Waits for the answers about studies, and asks for their images and heat maps."""
    deadline = time.monotonic() + _SCORED_S
    lock = threading.Lock()
    with _clients(running, secrets) as clients:
        for id, what in accepted.items():
            study = None
            while time.monotonic() < deadline:
                answer = _ask(next(clients), ('GET', f'/v1/studies/{id}'), what, findings, lock)
                study = answer.json() if answer is not None and answer.status == 200 else None
                if study is None or study['state'] != 'pending':
                    break
                time.sleep(0.2)
            if study is None or study['state'] == 'pending':
                findings.problems.append(f'{what}: the study is not answered')
                continue
            findings.states[study['state']] += 1
            for part in ('image', 'image?center=100&width=1', 'explanation'):
                path = f'/v1/studies/{id}/{part}'
                _ask(next(clients), ('GET', path), f'{what}, {part}', findings, lock)


def _ask(
    client: Client, request: tuple, what: str, findings: Findings, lock: threading.Lock
) -> Answer | None:
    start = time.monotonic()
    try:
        answer = client.request(*request)
    except Exception as error:  # noqa: BLE001 - each of them is a finding
        findings.problems.append(f'{what}: {type(error).__name__}: {error}')
        return None
    finally:
        # The gateway closes idle connections, which must not look like a failure.
        client.close()
    seconds = time.monotonic() - start
    with lock:
        findings.statuses[answer.status] += 1
        if seconds > findings.slowest_s:
            findings.slowest_s, findings.slowest = seconds, what
    if answer.status >= 500:
        findings.problems.append(f'{what}: {answer.status}: {answer.body[:200]!r}')
    return answer


@contextlib.contextmanager
def _clients(running: service.Service, secrets: Iterator[str]) -> Iterator[Iterator[Client]]:
    made = [running.client(next(secrets)) for _ in range(_TOKENS)]
    try:
        yield itertools.cycle(made)
    finally:
        for client in made:
            client.close()


def table(findings: Findings) -> Table:
    """A table of what happened."""
    result = Table(box=None, pad_edge=False, show_header=False)
    statuses = ', '.join(f'{status}: {n:,}' for status, n in sorted(findings.statuses.items()))
    states = ', '.join(f'{state}: {n:,}' for state, n in sorted(findings.states.items()))
    result.add_row('answers by status', statuses)
    result.add_row('accepted studies by state', states)
    result.add_row('slowest answer, s', f'{findings.slowest_s:.2f} ({findings.slowest})')
    result.add_row('peak memory of the gateway, GB', f'{findings.peak_bytes / 1e9:.2f}')
    result.add_row('model server ended', str(findings.model_server_restarts))
    result.add_row('problems', str(len(findings.problems)))
    return result


if __name__ == '__main__':
    sys.exit(main())
