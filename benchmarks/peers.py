"""The data path beside two others on the same films: TFX's template way, and a tf.data script that
decodes in every epoch.

    python -m benchmarks.peers                  1,000 and 4,000 films; a quarter of an hour on 2
    cores

The two counts give the memory a film, and from it what the template would need for the full set.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import scale

COUNTS = (1_000, 4_000)
FULL = 112_120
_TEMPLATE = ('ImportExampleGen', 'StatisticsGen', 'SchemaGen', 'ExampleValidator', 'Transform')


def main(argv: Sequence[str] | None = None) -> None:
    """Measures and prints; the figures are also in peers.json under --scratch."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'counts', type=int, nargs='*', default=COUNTS, help='numbers of films, two or more'
    )
    parser.add_argument(
        '--scratch', type=Path, default=scale.SCRATCH, help='for films, runs and figures'
    )
    args = parser.parse_args(argv)
    console = Console(width=None if sys.stdout.isatty() else 160)
    args.scratch.mkdir(parents=True, exist_ok=True)
    measurements = []
    for count in sorted(args.counts):
        ours = scale.measure(count, args.scratch, (), console)
        console.print(f"{count:,} films: the template's data path")
        template = _template(count, args.scratch)
        console.print(f'{count:,} films: an epoch')
        measurements.append(
            {
                'films': count,
                'ours': ours,
                'template': template,
                'epoch': _epoch(count, args.scratch),
            }
        )
        (args.scratch / 'peers.json').write_text(json.dumps(measurements, indent=1))
    console.print(table(measurements, scale.figures(args.scratch).get(FULL)))


def table(measurements: Sequence[dict], measured: dict | None) -> Table:
    """The largest count, with the growth of memory since the smallest.

    Args:
      measurements: what was measured for each count.
      measured: what `scale` has measured on FULL films, if it has: our memory does not go on
        growing as it begins.
    """
    last = measurements[-1]
    result_table = Table(box=None, pad_edge=False, title=f'{last["films"]:,} films')
    for name in ('', 'cxr-triage', 'TFX template', 'tf.data script'):
        result_table.add_column(name, justify='right' if name else 'left')

    def row(name: str, form: str, *values: float | None) -> None:
        result_table.add_row(
            name, *('–' if value is None else form.format(value) for value in values)
        )

    ours, template, epoch = last['ours'], last['template'], last['epoch']
    row(
        'data path over one plain pass',
        '{:.2f}',
        scale.data_path_ratio(ours),
        template['data_path_s'] / ours['reference_s'],
        None,
    )
    row(
        'peak memory of any process, GB',
        '{:.2f}',
        ours['peak_bytes'] / 1e9,
        template['peak_bytes'] / 1e9,
        None,
    )
    grown = [_memory_a_film(measurements, key) for key in ('ours', 'template')]
    row('  more with each film, kB', '{:.0f}', *(slope / 1e3 for slope in grown), None)
    full = template['peak_bytes'] + grown[1] * (FULL - last['films'])
    row(
        f'  so with {FULL:,} films, GB',
        '{:.1f}',
        None if measured is None else measured['peak_bytes'] / 1e9,
        full / 1e9,
        None,
    )
    row(
        'bytes a film for training',
        '{:,.0f}',
        ours['stored_bytes'],
        template['stored_bytes'],
        ours['film_bytes'],
    )
    row(
        'films read a second, each epoch', '{:,.0f}', epoch['materialised'], None, epoch['notebook']
    )
    return result_table


def _memory_a_film(measurements: Sequence[dict], key: str) -> float:
    """Bytes by which the peak grows with a film."""
    first, last = measurements[0], measurements[-1]
    return (last[key]['peak_bytes'] - first[key]['peak_bytes']) / max(
        1, last['films'] - first['films']
    )


def _template(count: int, scratch: Path) -> dict:
    root = scratch / f'template-{count}'
    shutil.rmtree(root, ignore_errors=True)
    command = [
        sys.executable,
        '-m',
        'benchmarks.template',
        str(scale.films_of(count, scratch)),
        str(root),
    ]
    usage = scale.checked(command, scratch / f'template-{count}.log')
    from benchmarks import finished_run  # late, as in `scale`

    seconds = finished_run.step_seconds(root)
    return {
        'data_path_s': sum(seconds[step] for step in _TEMPLATE),
        'peak_bytes': usage.peak_bytes,
        'stored_bytes': finished_run.transformed_bytes(root) / count,
    }


def _epoch(count: int, scratch: Path) -> dict[str, float]:
    log = scratch / f'epoch-{count}.log'
    scale.checked(
        [
            sys.executable,
            '-m',
            'benchmarks.notebook',
            str(scale.films_of(count, scratch)),
            str(scale.run_of(count, scratch)),
        ],
        log,
    )
    return json.loads(log.read_text().splitlines()[-1])


if __name__ == '__main__':
    main()
