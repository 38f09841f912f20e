"""Measures the work list with many studies: pages at the start, in the middle and with filters.

    python -m benchmarks.serving.work_list [--count 100000] [--postgresql]

The studies are written into an empty database. Then `cxr-triage serve` answers requests for pages,
without a model server.
"""

from __future__ import annotations

import argparse
import datetime
import json
import random
import statistics
import sys
import time
import urllib.parse
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from sqlalchemy import insert, text

from benchmarks import scale
from benchmarks.serving import postgresql, service, versions
from serving import studies
from serving.database import connection, tables

FIGURES = 'serving-work-list.json'
GOAL_S = 0.3
COUNT = 100_000
_ROUNDS = 7
_BATCH = 5_000
_NO_MODEL_SERVER = 'grpc://127.0.0.1:1'
_TOKENS = 10


def main(argv: Sequence[str] | None = None) -> int:
    """Measures and prints; returns 1 if a page takes longer than the goal.

    Also writes the figures to serving-work-list.json under --scratch.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--count', type=int, default=COUNT, help=f'(default: {COUNT:,})')
    postgresql.add_argument(parser)
    parser.add_argument('--scratch', type=Path, default=scale.SCRATCH, help='for the figures')
    args = parser.parse_args(argv)
    scratch = service.new_folder(args.scratch / 'serving-work-list')
    with postgresql.database(args.postgresql) as url:
        figures = measure(scratch, args.count, url)
    path = args.scratch / FIGURES
    earlier = json.loads(path.read_text()) if path.exists() else {}
    name = postgresql.name(url)
    path.write_text(json.dumps({**earlier, name: figures}, indent=1))
    Console(width=100).print(table(name, args.count, figures))
    return int(max(figures.values()) > GOAL_S)


def measure(scratch: Path, count: int, database: str = '') -> dict[str, float]:
    """Request -> seconds, the median of a few.

    Args:
      scratch: an empty folder.
      count: studies.
      database: the URL of an empty database; '' for SQLite in `scratch`.
    """
    data = scratch / 'service'
    data.mkdir(parents=True)
    root = versions.without_model(scratch / 'root')
    url = database or connection.sqlite_url(data / 'gateway.sqlite')
    middle = fill(url, count)
    secrets = service.create_tokens(data, _TOKENS, url)
    arguments = ['--model-server', _NO_MODEL_SERVER, '--tokens', 'on', '--database', url]
    with service.serving(root, data, *arguments) as running:
        clients = [running.client(secret) for secret in secrets]
        figures = {}
        for name, path in _requests(middle).items():
            samples = []
            for number in range(_ROUNDS):
                start = time.perf_counter()
                answer = clients[number % len(clients)].request('GET', path)
                samples.append(time.perf_counter() - start)
                if answer.status != 200:
                    raise SystemExit(f'{path}: {answer.status}: {answer.body[:300]!r}')
            figures[name] = statistics.median(samples)
        for client in clients:
            client.close()
    return figures


def fill(url: str, count: int) -> tables.Study:
    """Writes studies with an image and an answer each; returns the one in the middle.

    A few of them wait, a few were not assessed, some are flagged, and most have been read.
    """
    sessions = connection.connect(url)
    random_numbers = random.Random(7)
    first = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)
    for start in range(1, count + 1, _BATCH):
        numbers = range(start, min(start + _BATCH, count + 1))
        rows = [_study(number, count, first, random_numbers) for number in numbers]
        with sessions() as session, session.begin():
            session.execute(insert(tables.Study), rows)
            session.execute(insert(tables.Image), [_image(row) for row in rows])
            session.execute(insert(tables.Answer), [_answer(row) for row in rows if row['version']])
    with sessions() as session, session.begin():
        if session.get_bind().dialect.name == 'postgresql':
            session.execute(
                text("SELECT setval(pg_get_serial_sequence('study', 'number'), :n)"), {'n': count}
            )
            session.execute(
                text("SELECT setval(pg_get_serial_sequence('image', 'number'), :n)"), {'n': count}
            )
        middle = session.get_one(tables.Study, count // 2)
    sessions.kw['bind'].dispose()
    return middle


def _study(number: int, count: int, first: datetime.datetime, numbers: random.Random) -> dict:
    # A few of the newest wait.
    state = 'pending' if number > count - 20 else 'not_assessed' if number % 50 == 0 else 'scored'
    probability = numbers.random() if state == 'scored' else None
    return {
        'number': number,
        'id': f'{numbers.getrandbits(128):032x}',
        'arrived_at': first + datetime.timedelta(minutes=4 * number),
        'uploaded_by': 'benchmark',
        'reference': f'Ward {number % 17}, {number}',
        'state': state,
        'probability': probability,
        'flag': None if state == 'pending' else probability is None or probability > 0.7,
        'version': None if state == 'pending' else 1,
        'scored_at': None if state == 'pending' else first,
        'is_read': number < 0.98 * count,
    }


def _image(study: dict) -> dict:
    return {
        'number': study['number'],
        'id': study['id'],
        'study_number': study['number'],
        'position': 0,
        'kind': 'jpeg',
        'sha256': '0' * 64,
        'size': 70_000,
        'width': 600,
        'height': 600,
        'deleted_at': study['arrived_at'],
    }


def _answer(study: dict) -> dict:
    return {
        'image_number': study['number'],
        'role': studies.STABLE,
        'version': 1,
        'answered_at': study['arrived_at'],
        'probability': study['probability'],
        'flag': study['flag'],
        'reason': '' if study['probability'] is not None else 'too_dark',
        'threshold': 0.7,
        'findings': {},
    }


def _requests(middle: tables.Study) -> dict[str, str]:
    """Name -> path."""
    since = (middle.arrived_at - datetime.timedelta(days=30)).isoformat()
    until = middle.arrived_at.isoformat()
    pages: dict[str, dict[str, str]] = {
        'first page': {},
        'page in the middle': {'cursor': studies.cursor_after(middle, '-arrived')},
        'last page': {'cursor': studies.cursor_after(tables.Study(number=20), '-arrived')},
        'oldest first': {'sort': 'arrived'},
        'by probability': {'sort': '-probability'},
        'by probability, in the middle': {
            'sort': '-probability',
            'cursor': studies.cursor_after(middle, '-probability'),
        },
        # Studies without a probability come last.
        'by probability, last page': {
            'sort': '-probability',
            'cursor': studies.cursor_after(tables.Study(number=1000), '-probability'),
        },
        'lowest probability first': {'sort': 'probability'},
        '200 a page': {'limit': '200'},
        'waiting': {'state': 'pending'},
        'not assessed': {'state': 'not_assessed'},
        'flagged': {'flag': 'true'},
        'flagged and not read': {'flag': 'true', 'is_read': 'false'},
        'not flagged and not read, by probability': {
            'flag': 'false',
            'is_read': 'false',
            'sort': '-probability',
        },
        'a month in the middle': {'since': since, 'until': until},
        'search for a reference': {'search': middle.reference},
        'search without a match': {'search': 'nowhere'},
        'search for an id': {'search': middle.id[:8]},
    }
    work_list = {
        name: f'/v1/worklist?{urllib.parse.urlencode(query)}' for name, query in pages.items()
    }
    links = {
        'neighbours of a study': f'/studies/{middle.id}/links',
        'neighbours by probability': f'/studies/{middle.id}/links?sort=-probability',
    }
    return {**work_list, 'a study': f'/v1/studies/{middle.id}', **links, 'metrics': '/metrics'}


def table(name: str, count: int, figures: dict[str, float]) -> Table:
    """A table of milliseconds."""
    result = Table(box=None, pad_edge=False, title=f'{count:,} studies, {name}')
    result.add_column('')
    result.add_column('ms', justify='right')
    for request, seconds in figures.items():
        result.add_row(request, f'{1000 * seconds:.0f}')
    return result


if __name__ == '__main__':
    sys.exit(main())
