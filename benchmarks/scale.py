"""Measures how memory and time of a local run grow with the number of images.

    python -m benchmarks.scale                        1,000, 4,000 and 16,000 images; about half an
    hour on 2 cores
    python -m benchmarks.scale 1000 4000 16000 64000 112120

The images are 600x600 JPEGs of real size (benchmarks/images.py), written once under --scratch. The
benchmark prints for each count:
- the peak memory of any process of the run, in total and by step, and the seconds of each step;
- the data path (XrayExampleGen to Transform) as a multiple of a plain pass of decoding and
  antialiased resizing on the same cores, right before the run;
- the seconds of a second run, in which all steps are cached;
- the exponent of growth between the two largest counts.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks import images
from benchmarks.processes import Usage, watch
from pipeline.steps import DATA_PATH

CONFIG = Path(__file__).with_name('scale.yaml')
COUNTS = (1_000, 4_000, 16_000)
SCRATCH = Path('runs/benchmarks')
_MIN_SECONDS = 0.5  # steps that take less on the largest count have no row
MARKER = 'written'  # file in a finished data root
_FIGURES = 'scale.json'


def main(argv: Sequence[str] | None = None) -> None:
    """Measures and prints; also writes the figures to scale.json under --scratch."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('counts', type=int, nargs='*', default=COUNTS, help='numbers of images')
    parser.add_argument(
        '--scratch', type=Path, default=SCRATCH, help='for images, runs and figures'
    )
    parser.add_argument(
        '--set',
        dest='settings',
        action='append',
        default=[],
        metavar='KEY=VALUE',
        help='as in cxr-triage run',
    )
    parser.add_argument('--add', action='store_true', help='keep the figures of other counts')
    args = parser.parse_args(argv)
    console = Console(width=None if sys.stdout.isatty() else 160)
    args.scratch.mkdir(parents=True, exist_ok=True)
    measurements = figures(args.scratch) if args.add else {}
    for count in sorted(args.counts):
        measurements[count] = measure(count, args.scratch, args.settings, console)
        (args.scratch / _FIGURES).write_text(
            json.dumps([measurements[count] for count in sorted(measurements)], indent=1)
        )
    console.print(table([measurements[count] for count in sorted(measurements)]))


def figures(scratch: Path) -> dict[int, dict]:
    """Count -> its latest figures."""
    path = scratch / _FIGURES
    return (
        {entry['films']: entry for entry in json.loads(path.read_text())} if path.exists() else {}
    )


def measure(count: int, scratch: Path, settings: Sequence[str], console: Console) -> dict:
    """Measures a run on `count` images up to the pushed model, and a second run from the cache.

    Raises:
      SystemExit: a run failed; the message names the log with its output.
    """
    data, root = data_root(count, scratch), run_path(count, scratch)
    _write_images(data, count, console)
    console.print(f'{count:,} images: one plain pass')
    reference = _reference(data, scratch)
    shutil.rmtree(root, ignore_errors=True)
    run = [
        sys.executable,
        '-m',
        'cxr_triage',
        'run',
        '--config',
        str(CONFIG),
        '--data-root',
        str(data),
        '--root',
        str(root),
    ]
    run += [f'--set={setting}' for setting in settings]
    console.print(f'{count:,} images: the pipeline')
    first = run_command(run, scratch / f'run-{count}.log')
    times, example_bytes = _times_and_size(root)
    console.print(f'{count:,} images: again, from the cache')
    second = run_command(run, scratch / f'rerun-{count}.log')
    return {
        'films': count,
        'film_bytes': sum(path.stat().st_size for path in data.glob('data/*')) / count,
        'reference_s': reference,
        'steps_s': {step: end - start for step, (start, end) in times.items()},
        'steps_peak_bytes': {
            step: first.peak_between(start, end) for step, (start, end) in times.items()
        },
        'run_s': first.seconds,
        'cpu_s': first.cpu_seconds,
        'peak_bytes': first.peak_bytes,
        'rerun_s': second.seconds,
        'stored_bytes': example_bytes,
    }


def data_root(count: int, scratch: Path) -> Path:
    """The data root with `count` images."""
    return scratch / f'films-{count}'


def run_path(count: int, scratch: Path) -> Path:
    """The root of the run on `count` images."""
    return scratch / f'run-{count}'


def _write_images(data: Path, count: int, console: Console) -> None:
    if (data / MARKER).exists():
        return
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task(f'{count:,} images: drawing', total=count)
        images.write(data, count, lambda done: progress.update(task, completed=done))
    (data / MARKER).touch()


def _reference(data: Path, scratch: Path) -> float:
    """Seconds of the plain pass, in a separate process."""
    log = scratch / 'reference.log'
    run_command([sys.executable, '-m', 'benchmarks.reference', str(data)], log)
    match = re.search(r'in ([\d.]+) s', log.read_text())
    if match is None:
        raise RuntimeError(f'{log} has no time:\n{log.read_text()}')
    return float(match.group(1))


def _times_and_size(root: Path) -> tuple[dict[str, tuple[float, float]], float]:
    """Start and end of each step, and bytes per transformed example."""
    # Imported late, so that this process needs little memory while it measures runs.
    from benchmarks import finished_run

    report = max((root / 'artifacts/XrayExampleGen/report').glob('*/ingest.json'))
    splits = json.loads(report.read_text())['splits']
    transformed = sum(split['records'] for name, split in splits.items() if name != 'test')
    return finished_run.step_times(root), finished_run.transformed_bytes(root) / transformed


def run_command(command: Sequence[str], log: Path) -> Usage:
    """Runs a command, and writes its output to `log`.

    Raises:
      SystemExit: the command failed.
    """
    usage = watch(command, log)
    if usage.exit_code != 0:
        raise SystemExit(f'{" ".join(command)}: exit code {usage.exit_code}; see {log}')
    return usage


def table(measurements: Sequence[dict]) -> Table:
    """A table with a column for each count, and the exponents of growth between the two largest."""
    result = Table(box=None, pad_edge=False)
    result.add_column('')
    for entry in measurements:
        result.add_column(f'{entry["films"]:,} images', justify='right')
    result.add_column('exponent', justify='right')

    def row(name: str, values: Sequence[float], number_format: str, exponent: bool = False) -> None:
        exponents = (
            [f'{growth(measurements, values):.2f}'] if exponent and len(measurements) > 1 else ['']
        )
        result.add_row(name, *(number_format.format(value) for value in values), *exponents)

    row('bytes per image', [entry['film_bytes'] for entry in measurements], '{:,.0f}')
    row(
        'plain decode and resize, s',
        [entry['reference_s'] for entry in measurements],
        '{:.1f}',
        exponent=True,
    )
    # The latest step is the first entry.
    for step in reversed(measurements[-1]['steps_s']):
        if measurements[-1]['steps_s'][step] >= _MIN_SECONDS:
            row(
                f'{step}, s',
                [entry['steps_s'][step] for entry in measurements],
                '{:.1f}',
                exponent=True,
            )
    row(
        'data path over the plain pass',
        [data_path_ratio(entry) for entry in measurements],
        '{:.2f}',
    )
    row('whole run, s', [entry['run_s'] for entry in measurements], '{:.1f}', exponent=True)
    row('again, from the cache, s', [entry['rerun_s'] for entry in measurements], '{:.1f}')
    row(
        'peak memory of any process, GB',
        [entry['peak_bytes'] / 1e9 for entry in measurements],
        '{:.2f}',
        exponent=True,
    )
    for step in reversed(measurements[-1]['steps_s']):
        if measurements[-1]['steps_s'][step] >= _MIN_SECONDS:
            row(
                f'  in {step}',
                [entry['steps_peak_bytes'][step] / 1e9 for entry in measurements],
                '{:.2f}',
                exponent=True,
            )
    row(
        'bytes per transformed example',
        [entry['stored_bytes'] for entry in measurements],
        '{:,.0f}',
    )
    return result


def data_path_ratio(entry: dict) -> float:
    """The seconds of the data path, divided by those of the plain pass."""
    return sum(entry['steps_s'][step] for step in DATA_PATH) / entry['reference_s']


def growth(measurements: Sequence[dict], values: Sequence[float]) -> float:
    """The exponent p of values ~ images^p between the two largest counts: 1 means linear."""
    if min(values[-2:]) <= 0:
        return math.nan
    return math.log(values[-1] / values[-2]) / math.log(
        measurements[-1]['films'] / measurements[-2]['films']
    )


if __name__ == '__main__':
    main()
