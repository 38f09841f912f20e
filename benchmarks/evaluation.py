"""Compares the Evaluator with plain batched inference: time and peak memory.

    python -m benchmarks.evaluation ROOT [--backbone mobilenet_v2]

Both use the same model and images. ROOT is the root of a run with 224 x 224 images, such as
runs/benchmarks/run-16000. Its test split is evaluated with the metrics and slices of nih_triage.
The model has random weights, as only its speed matters.
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
from benchmarks.processes import Usage
from trainer.parameters import Backbone


def main(argv: Sequence[str] | None = None) -> None:
    """Measures and prints; also writes the figures to evaluation.json beside ROOT."""
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
    """Measures both on the test split of a run, in separate processes, one after the other."""
    scratch = root.parent / f'evaluation-{backbone}'
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    model = str(scratch / 'model' / 'Format-Serving')
    scale.run_command(
        [sys.executable, '-m', 'benchmarks.random_weights', backbone, model], scratch / 'export.log'
    )
    files = sorted(
        str(path)
        for path in finished_run.newest(root, 'XrayExampleGen/examples').glob('Split-test/*')
    )
    plain, (count, plain_seconds) = _run(
        ['benchmarks.inference', model, *files],
        scratch / 'plain.log',
        r'predictions for (\d+) images in ([\d.]+) s',
    )
    evaluator, (evaluator_seconds,) = _run(
        ['benchmarks.evaluator', model, str(root), str(scratch)],
        scratch / 'evaluator.log',
        r'evaluated in ([\d.]+) s',
    )
    return {
        'backbone': backbone,
        'films': int(count),
        'plain_s': plain_seconds,
        'plain_peak_bytes': plain.peak_bytes,
        'evaluator_s': evaluator_seconds,
        'evaluator_peak_bytes': evaluator.peak_bytes,
    }


def table(figures: dict) -> Table:
    """A table of seconds, their ratio, and memory."""
    result = Table(
        box=None, pad_edge=False, title=f'{figures["films"]:,} images, {figures["backbone"]}'
    )
    for name in ('', 's', 'over plain', 'peak memory, GB'):
        result.add_column(name, justify='right' if name else 'left')
    for name, key in (('plain batched inference', 'plain'), ('Evaluator', 'evaluator')):
        seconds = figures[f'{key}_s']
        result.add_row(
            name,
            f'{seconds:.1f}',
            f'{seconds / figures["plain_s"]:.2f}',
            f'{figures[f"{key}_peak_bytes"] / 1e9:.2f}',
        )
    return result


def _run(arguments: Sequence[str], log: Path, pattern: str) -> tuple[Usage, tuple[float, ...]]:
    usage = scale.run_command([sys.executable, '-m', *arguments], log)
    match = re.search(pattern, log.read_text())
    if match is None:
        raise RuntimeError(f'{log} has no time:\n{log.read_text()}')
    return usage, tuple(float(group) for group in match.groups())


if __name__ == '__main__':
    main()
