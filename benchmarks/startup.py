"""Measures the start of the command line, of a local run, and of each step in its own process.

    python -m benchmarks.startup

Steps run in their own processes on Kubeflow. The commands take turns, and the figures are medians
of several rounds. The import of TensorFlow and TFX, which every step needs, has separate rows.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks import scale
from benchmarks.processes import Usage
from pipeline import steps

_STEPS = {step.name: step.executor for step in steps.ALL if step.executor and not step.optional}
_REFERENCE = 'import tensorflow'


def commands() -> dict[str, list[str]]:
    """Name -> command."""
    python = sys.executable
    modules_by_name = {
        _REFERENCE: 'tensorflow',
        'import tensorflow, tfx.types, apache_beam': 'tensorflow, tfx.types, apache_beam',
        'import tfx.v1': 'tfx.v1',
        'start of a local run': 'pipeline.execute, pipeline.create_pipeline',
        **_STEPS,
    }
    return {
        'cxr-triage --help': [str(Path(python).with_name('cxr-triage')), '--help'],
        **{name: [python, '-c', f'import {modules}'] for name, modules in modules_by_name.items()},
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Measures and prints; also writes the figures to startup.json under --scratch."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--scratch', type=Path, default=scale.SCRATCH, help='for the figures')
    args = parser.parse_args(argv)
    args.scratch.mkdir(parents=True, exist_ok=True)
    console = Console()
    usage: dict[str, list[Usage]] = {name: [] for name in commands()}
    for _ in track(range(args.rounds + 1), 'starting', console=console, transient=True):
        for name, command in commands().items():
            usage[name].append(scale.run_command(command, args.scratch / 'startup.log'))
    # The first round is not counted: it reads the files into the page cache.
    figures = {
        name: {
            's': statistics.median(sample.seconds for sample in values[1:]),
            'cpu_s': statistics.median(sample.cpu_seconds for sample in values[1:]),
            'peak_bytes': max(sample.peak_bytes for sample in values),
        }
        for name, values in usage.items()
    }
    (args.scratch / 'startup.json').write_text(json.dumps(figures, indent=1))
    console.print(table(figures))


def table(figures: dict[str, dict[str, float]]) -> Table:
    """A table of seconds, their ratio to the import of TensorFlow, and memory."""
    result = Table(box=None, pad_edge=False)
    for name in ('', 's', 'CPU s', f'over {_REFERENCE}', 'memory, GB'):
        result.add_column(name, justify='right' if name else 'left')
    for name, row in figures.items():
        ratio = row['s'] / figures[_REFERENCE]['s']
        result.add_row(
            name,
            f'{row["s"]:.2f}',
            f'{row["cpu_s"]:.2f}',
            f'{ratio:.2f}',
            f'{row["peak_bytes"] / 1e9:.2f}',
        )
    return result


if __name__ == '__main__':
    main()
