"""How a local run grows with the number of films: memory, time of each step, and both against a
plain pass over the films.

    python -m benchmarks.scale                        1,000, 4,000 and 16,000 films; about half an
    hour on 2 cores
    python -m benchmarks.scale 1000 4000 16000 64000 112120

Films are 600x600 JPEGs of real size (benchmarks/films.py), drawn once and kept under --scratch.
Printed: for each count the peak memory of any process of the run, in all and by step, and the
seconds of each step; the data path (XrayExampleGen to Transform) as a multiple of one pass of plain
decode and antialiased resize on the same cores, done right before the run; a second run that finds
all in the cache; and the exponent of growth between the two largest counts.
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

from benchmarks import films
from benchmarks.processes import Taken, watch
from pipeline.steps import DATA_PATH

CONFIG = Path(__file__).with_name('scale.yaml')
COUNTS = (1_000, 4_000, 16_000)
SCRATCH = Path('runs/benchmarks')
_SHOWN_S = 0.5  # steps that take less on the largest count are left out of the table
_WRITTEN = 'written'
_FIGURES = 'scale.json'


def main(argv: Sequence[str] | None = None) -> None:
    """Measures and prints; the figures are also in scale.json under --scratch."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('counts', type=int, nargs='*', default=COUNTS, help='numbers of films')
    parser.add_argument('--scratch', type=Path, default=SCRATCH, help='for films, runs and figures')
    parser.add_argument(
        '--set',
        dest='settings',
        action='append',
        default=[],
        metavar='KEY=VALUE',
        help='as of cxr-triage run',
    )
    parser.add_argument(
        '--add', action='store_true', help='to the counts that were measured before'
    )
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
    """Count -> what was measured last."""
    path = scratch / _FIGURES
    return (
        {entry['films']: entry for entry in json.loads(path.read_text())} if path.exists() else {}
    )


def measure(count: int, scratch: Path, settings: Sequence[str], console: Console) -> dict:
    """One run on `count` films, from nothing to a pushed model, and a second one from the cache.

    Raises:
      SystemExit: a run did not end pushed; its screen is in the log that is named.
    """
    data, root = films_of(count, scratch), run_of(count, scratch)
    _films(data, count, console)
    console.print(f'{count:,} films: one plain pass')
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
    console.print(f'{count:,} films: the pipeline')
    first = checked(run, scratch / f'run-{count}.log')
    times, stored = _record(root)
    console.print(f'{count:,} films: again, from the cache')
    second = checked(run, scratch / f'rerun-{count}.log')
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
        'stored_bytes': stored,
    }


def films_of(count: int, scratch: Path) -> Path:
    """The data root of so many films."""
    return scratch / f'films-{count}'


def run_of(count: int, scratch: Path) -> Path:
    """The root of the run on so many films."""
    return scratch / f'run-{count}'


def _films(data: Path, count: int, console: Console) -> None:
    if (data / _WRITTEN).exists():
        return
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task(f'{count:,} films: drawing', total=count)
        films.write(data, count, lambda done: progress.update(task, completed=done))
    (data / _WRITTEN).touch()


def _reference(data: Path, scratch: Path) -> float:
    """Seconds of the plain pass, in a process of its own."""
    log = scratch / 'reference.log'
    checked([sys.executable, '-m', 'benchmarks.reference', str(data)], log)
    match = re.search(r'in ([\d.]+) s', log.read_text())
    if match is None:
        raise RuntimeError(f'no time is noted in {log}:\n{log.read_text()}')
    return float(match.group(1))


def _record(root: Path) -> tuple[dict[str, tuple[float, float]], float]:
    """When each step began and ended, and bytes of a transformed example."""
    # Imported late: nothing heavy has to sit in memory beside the runs that are measured.
    from benchmarks import finished_run

    files = max((root / 'artifacts/XrayExampleGen/report').glob('*/ingest.json'))
    splits = json.loads(files.read_text())['splits']
    transformed = sum(split['records'] for name, split in splits.items() if name != 'test')
    return finished_run.step_times(root), finished_run.transformed_bytes(root) / transformed


def checked(command: Sequence[str], log: Path) -> Taken:
    """Runs a command that has to succeed, its output in `log`.

    Raises:
      SystemExit: it did not.
    """
    usage = watch(command, log)
    if usage.exit_code != 0:
        raise SystemExit(f'{" ".join(command)}: exit code {usage.exit_code}; see {log}')
    return usage


def table(measurements: Sequence[dict]) -> Table:
    """A column a count, and the exponents of growth between the two largest."""
    result_table = Table(box=None, pad_edge=False)
    result_table.add_column('')
    for entry in measurements:
        result_table.add_column(f'{entry["films"]:,} films', justify='right')
    result_table.add_column('exponent', justify='right')

    def row(name: str, values: Sequence[float], form: str, exponent: bool = False) -> None:
        grown = (
            [f'{growth(measurements, values):.2f}'] if exponent and len(measurements) > 1 else ['']
        )
        result_table.add_row(name, *(form.format(value) for value in values), *grown)

    row('bytes a film', [entry['film_bytes'] for entry in measurements], '{:,.0f}')
    row(
        'plain decode and resize, s',
        [entry['reference_s'] for entry in measurements],
        '{:.1f}',
        exponent=True,
    )
    # The record has the latest step first.
    for step in reversed(measurements[-1]['steps_s']):
        if measurements[-1]['steps_s'][step] >= _SHOWN_S:
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
        if measurements[-1]['steps_s'][step] >= _SHOWN_S:
            row(
                f'  in {step}',
                [entry['steps_peak_bytes'][step] / 1e9 for entry in measurements],
                '{:.2f}',
                exponent=True,
            )
    row(
        'bytes of a transformed example',
        [entry['stored_bytes'] for entry in measurements],
        '{:,.0f}',
    )
    return result_table


def data_path_ratio(measured: dict) -> float:
    """Seconds of the data path of one count over those of the plain pass."""
    return sum(measured['steps_s'][step] for step in DATA_PATH) / measured['reference_s']


def growth(measurements: Sequence[dict], values: Sequence[float]) -> float:
    """The exponent p of values ~ films^p between the two largest counts: 1 is linear, 0 flat."""
    if min(values[-2:]) <= 0:
        return math.nan
    return math.log(values[-1] / values[-2]) / math.log(
        measurements[-1]['films'] / measurements[-2]['films']
    )


if __name__ == '__main__':
    main()
