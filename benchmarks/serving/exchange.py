"""The exchange with an archive: gateway and Orthanc under load, kills, an outage and fuzzing.

    python -m benchmarks.serving.exchange ROOT [--count 200] [--associations 50] [--kills 20]
                                               [--down-s 300] [--fuzz 2000] [--images DIR]

Images are sent by C-STORE; the reports go to an Orthanc on this machine. At the end, each image
that was acknowledged must be in a study, and each study must have one report in the archive.
"""

from __future__ import annotations

import argparse
import collections
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import scale
from benchmarks.serving import exchange_load as load
from benchmarks.serving import images, orthanc, service, versions
from serving.pacs import origin

FIGURES = 'serving-exchange.json'


@dataclass
class Counts:
    """How much of everything.

    Attributes:
      latency: images sent one after another.
      associations: at the same time, two images each.
      kills: of the gateway under load.
      down_s: how long the archive is down.
      fuzz: mutated files, half by C-STORE and half by STOW-RS.
    """

    latency: int = 200
    associations: int = 50
    kills: int = 20
    down_s: float = 300.0
    fuzz: int = 2000


def main(argv: Sequence[str] | None = None) -> int:
    """Runs everything, prints, and returns 1 if anything went wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    versions.add_arguments(parser)
    images.add_argument(parser)
    default = Counts()
    parser.add_argument('--count', type=int, default=default.latency)
    parser.add_argument('--associations', type=int, default=default.associations)
    parser.add_argument('--kills', type=int, default=default.kills)
    parser.add_argument('--down-s', type=float, default=default.down_s)
    parser.add_argument('--fuzz', type=int, default=default.fuzz)
    parser.add_argument('--scratch', type=Path, default=scale.SCRATCH, help='for the figures')
    args = parser.parse_args(argv)
    scratch = service.new_folder(args.scratch / 'serving-exchange')
    root = versions.from_arguments(args, scratch / 'root')
    counts = Counts(args.count, args.associations, args.kills, args.down_s, args.fuzz)
    result = run(root, scratch / 'service', images.load(args.images), counts)
    figures = {**vars(result), 'acknowledged': len(result.acknowledged)}
    (args.scratch / FIGURES).write_text(json.dumps(figures, indent=1))
    Console(width=100).print(table(result))
    for problem in result.problems:
        print(problem)
    return 1 if result.problems else 0


def run(root: Path, data: Path, contents: Sequence[bytes], counts: Counts) -> load.Result:
    """Runs everything against one gateway and one archive.

    Args:
      root: of `versions`.
      data: the folder of the service, which must be new.
      contents: encoded images, used in turn.
      counts: how much.

    Raises:
      orthanc.MissingError: Orthanc is not installed.
    """
    result = load.Result()
    pixels = [images.pixels(content) for content in contents]
    (port,) = orthanc.free_ports(1)
    with orthanc.running() as archive:
        options = ['--dicom-port', str(port), '--report-to', archive.dicom_url]
        with service.serving(root, data, *options, '--report-after', '0') as gateway:
            sender = load.Sender(port, pixels, result)
            load.latency(sender, archive, data, counts.latency)
            load.associations(sender, counts.associations)
            load.kills(sender, gateway, counts.kills)
            load.outage(sender, archive, counts.down_s)
            load.fuzz(sender, gateway, contents, counts.fuzz)
            _wait_for_reports(data, archive, result)
            result.peak_mb = gateway.peak_bytes() / 1e6
    return result


def _wait_for_reports(data: Path, archive: orthanc.Archive, result: load.Result) -> None:
    """Waits until all is sent, and compares the archive and the database with what was sent."""
    if not load.wait(lambda: load.is_reported(data)):
        result.problems.append('studies or reports still wait')
    stored = {row[0] for row in load.rows(data, 'SELECT dicom_key FROM image')}
    lost = [uid for uid in result.acknowledged if origin.key(uid) not in stored]
    result.problems += [f'{len(lost)} acknowledged images are lost'] if lost else []
    expected = collections.Counter(
        row[0]
        for row in load.rows(
            data,
            'SELECT study.dicom_key FROM report JOIN study ON study.number = report.study_number',
        )
    )
    archived = collections.Counter(
        origin.key(row['0020000D']['Value'][0]) for row in archive.reports()
    )
    missing = sum(1 for uid in set(result.acknowledged.values()) if not archived[origin.key(uid)])
    result.problems += [f'{missing} studies have no report in the archive'] if missing else []
    if archived != expected:
        result.problems.append(
            f'the archive has {sum(archived.values())} reports: expected {sum(expected.values())}'
        )
    for status in ('C-STORE: no status', 'C-STORE: 0x0110', 'STOW-RS: 500'):
        if count := result.fuzz[status]:
            result.problems.append(f'{count} mutated files got {status}')


def table(result: load.Result) -> Table:
    """A table of what came of it."""
    rows = Table(box=None, pad_edge=False, show_header=False)
    rows.add_row('images acknowledged', f'{len(result.acknowledged):,}')
    rows.add_row('images without a status (killed)', f'{result.interrupted:,}')
    if result.store_ms:
        rows.add_row('C-STORE to the archive alone, p50 (reference)', f'{result.store_ms:.0f} ms')
        ratio = result.accept_ms / result.store_ms
        rows.add_row('C-STORE to the gateway, p50', f'{result.accept_ms:.0f} ms ({ratio:.1f}×)')
        ratio = result.report_ms / result.store_ms
        rows.add_row('receipt to report, p50', f'{result.report_ms:.0f} ms ({ratio:.1f}×)')
    for status, count in sorted(result.fuzz.items()):
        rows.add_row(f'mutated files, {status}', f'{count:,}')
    rows.add_row('memory of the gateway, most', f'{result.peak_mb:.0f} MB')
    rows.add_row('problems', str(len(result.problems)))
    return rows


if __name__ == '__main__':
    sys.exit(main())
