"""Writes collected images as a new span of a data root, whole or not at all."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from monitoring.readings import COLUMNS, Collected, Sampling
from records.convert import convert, pixels
from records.convert.sources import Listing, finished
from records.layout import write_atomically
from storage.folder_lock import FolderLock, HeldError

ROWS, REPORT = 'collected.csv', 'collect_report.json'
_SPAN = re.compile(r'span-(\d+)')
_LOCK, _LOCK_OWNER = '.collect.lock', '.collect.lock-owner'
_SIDE, _SHARD = 600, 500


class CollectError(ValueError):
    """Readings cannot be collected into this data root; the text says why and what to do."""


@dataclass
class Earlier:
    """What earlier spans of a data root have.

    Attributes:
      last: the largest number of a span; 0 without one.
      studies, images: pseudonyms of what was collected.
      settings: path of a report -> its key, share and near.
    """

    last: int = 0
    studies: set[str] = field(default_factory=set)
    images: set[str] = field(default_factory=set)
    settings: dict[Path, dict[str, Any]] = field(default_factory=dict)


@contextlib.contextmanager
def alone(data_root: Path) -> Iterator[None]:
    """Keeps other processes from collecting into `data_root`, and clears what a killed one left.

    Raises:
      CollectError: one does.
      OSError: the folder cannot be written to.
    """
    data_root.mkdir(parents=True, exist_ok=True)
    lock = FolderLock(str(data_root / _LOCK), str(data_root / _LOCK_OWNER))
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(lock.held())
        except HeldError as error:
            raise CollectError(f'{data_root}: {error} collects into it already') from None
        for folder in data_root.glob('.span-*.partial'):
            shutil.rmtree(folder)
        yield


def read_earlier(data_root: Path) -> Earlier:
    """What the spans of a data root have.

    Raises:
      CollectError: a file of an earlier collection is damaged.
    """
    earlier = Earlier()
    for folder in sorted(data_root.glob('span-*')):
        match = _SPAN.fullmatch(folder.name)
        if not match:
            continue
        earlier.last = max(earlier.last, int(match[1]))
        report = folder / REPORT
        if not report.exists():
            continue  # not from readings
        try:
            earlier.settings[report] = json.loads(report.read_text(encoding='utf-8'))['settings']
            with (folder / ROWS).open(encoding='utf-8', newline='') as file:
                for row in csv.DictReader(file):
                    earlier.studies.add(row['study'])
                    earlier.images.add(row['image_id'])
        except (OSError, ValueError, KeyError) as error:
            raise CollectError(
                f'{folder}: {ROWS} or {REPORT} cannot be read ({error}). Restore them: without '
                'them, readings would be collected twice'
            ) from None
    return earlier


def settings(key: str, sampling: Sampling) -> dict[str, Any]:
    """What all collected spans of a data root have in common; `key` is a fingerprint."""
    return {'key': key, 'share': sampling.share, 'near': sampling.near}


def check_same(earlier: Earlier, now: dict[str, Any]) -> None:
    """Checks that earlier spans were collected in the same way.

    Raises:
      CollectError: with another key, a patient would have two names, and could be in two splits;
        with another share, the weights of a study would depend on when it was collected.
    """
    for path, before in earlier.settings.items():
        for name, option in (('key', '--patient-key'), ('share', '--share'), ('near', '--near')):
            if before.get(name) != now[name]:
                text = 'another key' if name == 'key' else f'{option} {before.get(name)}'
                raise CollectError(
                    f'{path.parent}: it was collected with {text}. Use the same {option}, or '
                    'another data root'
                )


def write(
    data_root: Path,
    number: int,
    images: Path,
    collected: Collected,
    now: dict[str, Any],
    workers: int,
) -> tuple[Path, convert.Outcome]:
    """Writes a span; returns its folder and what became of the images.

    Args:
      data_root: the data root.
      number: of the span.
      images: the folder of the service's images.
      collected: what to write; it has images.
      now: see `settings`.
      workers: processes.

    Raises:
      convert.NothingConvertedError: no image can be read.
      OSError: the data root cannot be written to.
    """
    folder = data_root / f'span-{number:03d}'
    stage = data_root / f'.{folder.name}.partial'
    listing = Listing('readings of the service', sources=collected.sources, private=True)
    try:
        outcome = convert.convert(
            finished(listing, images),
            images,
            stage,
            size=_SIDE,
            fit=pixels.SQUASH,
            shard_size=_SHARD,
            workers=workers,
        )
        failed = {
            source.image_id
            for source in collected.sources
            if source.path.relative_to(images).as_posix() in outcome.failed
        }
        rows = [row for name, row in sorted(collected.rows.items()) if name not in failed]
        write_atomically(stage / ROWS, _table(rows))
        report = {
            'settings': now,
            'studies': collected.studies,
            'images': outcome.converted,
            'left_out': dict(sorted(collected.left_out.items())),
            'removed': sorted(collected.removed),
            'failed': len(outcome.failed),
        }
        write_atomically(stage / REPORT, json.dumps(report, indent=1).encode() + b'\n')
        os.replace(stage, folder)
    finally:
        shutil.rmtree(stage, ignore_errors=True)
    return folder, outcome


def _table(rows: list[dict[str, str]]) -> bytes:
    text = io.StringIO(newline='')
    writer = csv.DictWriter(text, COLUMNS, lineterminator='\n')
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()
