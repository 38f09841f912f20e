"""The Evaluator against plain batched inference with the same model on the same films: time as a
ratio, and peak memory.

    python -m benchmarks.evaluation ROOT [--backbone mobilenet_v2]

ROOT is that of a run with 224 x 224 images, e.g. runs/benchmarks/run-16000; its test split is
evaluated with the metrics and slices of nih_triage. The model has random weights: only its speed
counts.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from rich.console import Console
from rich.table import Table

from benchmarks import finished_run, scale
from benchmarks.processes import Taken
from trainer.parameters import Backbone


def main(argv: Sequence[str] | None = None) -> None:
    """Measures and prints; the figures are also in evaluation.json beside ROOT."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('root', type=Path)
    parser.add_argument('--backbone', choices=get_args(Backbone), default='mobilenet_v2')
    args = parser.parse_args(argv)
    figures = measure(args.root, args.backbone)
    (args.root.parent / 'evaluation.json').write_text(json.dumps(figures, indent=1))
    Console().print(table(figures))


def measure(root: Path, backbone: Backbone) -> dict:
    """Both on the test split of a run, each in a process of its own, one after the other."""
    scratch = root.parent / f'evaluation-{backbone}'
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    model = str(scratch / 'model' / 'Format-Serving')
    scale.checked(
        [sys.executable, '-m', 'benchmarks.random_weights', backbone, model], scratch / 'export.log'
    )
    files = sorted(
        str(path)
        for path in finished_run.newest(root, 'XrayExampleGen/examples').glob('Split-test/*')
    )
    plain, (count, plain_s) = _run(
        ['benchmarks.inference', model, *files],
        scratch / 'plain.log',
        r'(\d+) films answered in ([\d.]+) s',
    )
    usage, (seconds,) = _run(
        ['benchmarks.evaluator', model, str(root), str(scratch)],
        scratch / 'evaluator.log',
        r'evaluated in ([\d.]+) s',
    )
    return {
        'backbone': backbone,
        'films': int(count),
        'plain_s': plain_s,
        'plain_peak_bytes': plain.peak_bytes,
        'evaluator_s': seconds,
        'evaluator_peak_bytes': usage.peak_bytes,
    }


def table(figures: dict) -> Table:
    """Seconds and memory, and the ratio of seconds."""
    result_table = Table(
        box=None, pad_edge=False, title=f'{figures["films"]:,} films, {figures["backbone"]}'
    )
    for name in ('', 's', 'over plain', 'peak memory, GB'):
        result_table.add_column(name, justify='right' if name else 'left')
    for name, key in (('plain batched inference', 'plain'), ('Evaluator', 'evaluator')):
        seconds = figures[f'{key}_s']
        result_table.add_row(
            name,
            f'{seconds:.1f}',
            f'{seconds / figures["plain_s"]:.2f}',
            f'{figures[f"{key}_peak_bytes"] / 1e9:.2f}',
        )
    return result_table


def _run(arguments: Sequence[str], log: Path, pattern: str) -> tuple[Taken, tuple[float, ...]]:
    usage = scale.checked([sys.executable, '-m', *arguments], log)
    match = re.search(pattern, log.read_text())
    if match is None:
        raise RuntimeError(f'no time is noted in {log}:\n{log.read_text()}')
    return usage, tuple(float(group) for group in match.groups())


if __name__ == '__main__':
    main()
