"""Compares the data path with TFX's template, and with a tf.data script, on the same images.

    python -m benchmarks.peers                  1,000 and 4,000 images; a quarter of an hour on 2
    cores

The script decodes the images in every epoch. The two counts give the memory per image, and with it
the memory that the template would need for the full set.
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
    """Measures and prints; also writes the figures to peers.json under --scratch."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'counts', type=int, nargs='*', default=COUNTS, help='numbers of images, two or more'
    )
    parser.add_argument(
        '--scratch', type=Path, default=scale.SCRATCH, help='for images, runs and figures'
    )
    args = parser.parse_args(argv)
    console = Console(width=None if sys.stdout.isatty() else 160)
    args.scratch.mkdir(parents=True, exist_ok=True)
    measurements = []
    for count in sorted(args.counts):
        ours = scale.measure(count, args.scratch, (), console)
        console.print(f"{count:,} images: the template's data path")
        template = _template(count, args.scratch)
        console.print(f'{count:,} images: an epoch')
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


def table(measurements: Sequence[dict], full_scale: dict | None) -> Table:
    """A table of the largest count, with the growth of memory since the smallest count.

    Args:
      measurements: the figures of each count.
      full_scale: the figures of `scale` for FULL images, if there are any. They are not
        extrapolated, as the growth of our memory slows down.
    """
    last = measurements[-1]
    result = Table(box=None, pad_edge=False, title=f'{last["films"]:,} images')
    for name in ('', 'cxr-triage', 'TFX template', 'tf.data script'):
        result.add_column(name, justify='right' if name else 'left')

    def row(name: str, number_format: str, *values: float | None) -> None:
        result.add_row(
            name, *('–' if value is None else number_format.format(value) for value in values)
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
    slopes = [_memory_per_image(measurements, key) for key in ('ours', 'template')]
    row('  growth per image, kB', '{:.0f}', *(slope / 1e3 for slope in slopes), None)
    full_bytes = template['peak_bytes'] + slopes[1] * (FULL - last['films'])
    row(
        f'  total with {FULL:,} images, GB',
        '{:.1f}',
        None if full_scale is None else full_scale['peak_bytes'] / 1e9,
        full_bytes / 1e9,
        None,
    )
    row(
        'bytes per image for training',
        '{:,.0f}',
        ours['stored_bytes'],
        template['stored_bytes'],
        ours['film_bytes'],
    )
    row(
        'images read per second, each epoch',
        '{:,.0f}',
        epoch['materialised'],
        None,
        epoch['notebook'],
    )
    return result


def _memory_per_image(measurements: Sequence[dict], key: str) -> float:
    """The growth of the peak per image, in bytes."""
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
        str(scale.data_root(count, scratch)),
        str(root),
    ]
    usage = scale.run_command(command, scratch / f'template-{count}.log')
    from benchmarks import finished_run  # imported late, as in `scale`

    seconds = finished_run.step_seconds(root)
    return {
        'data_path_s': sum(seconds[step] for step in _TEMPLATE),
        'peak_bytes': usage.peak_bytes,
        'stored_bytes': finished_run.transformed_bytes(root) / count,
    }


def _epoch(count: int, scratch: Path) -> dict[str, float]:
    log = scratch / f'epoch-{count}.log'
    scale.run_command(
        [
            sys.executable,
            '-m',
            'benchmarks.notebook',
            str(scale.data_root(count, scratch)),
            str(scale.run_path(count, scratch)),
        ],
        log,
    )
    return json.loads(log.read_text().splitlines()[-1])


if __name__ == '__main__':
    main()
