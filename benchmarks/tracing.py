"""Measures how long TensorFlow traces a network: in its construction, first step and export.

    python -m benchmarks.tracing                            the small network of the demo
    python -m benchmarks.tracing --backbone mobilenet_v2

The trainer does not use AutoGraph (trainer/tracing.py), and exports only what is served. This is
compared with the usual way: with AutoGraph, and with the Keras model in the export. The network is
the same, with random weights. Separate processes for each variant take turns, and the seconds are
medians.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')

from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks import scale
from trainer.parameters import Backbone

USUAL, OURS = 'usual', 'ours'
_BATCH = 32


def measure(variant: str, backbone: Backbone) -> dict[str, float]:
    """The seconds of each part, in a process that has not traced anything before."""
    from trainer import tracing

    if variant == USUAL:
        if 'trainer.model' in sys.modules:
            raise RuntimeError(
                'trainer.model was imported before: its functions are decorated already'
            )
        tracing.without_autograph = lambda function: function
    import numpy as np
    import tf_keras as keras

    from benchmarks import random_weights
    from trainer import calibration
    from trainer.signatures import TriageModule

    seconds, side = {}, random_weights.SIDE

    def lap(name: str, start: float) -> float:
        seconds[name] = time.monotonic() - start
        return time.monotonic()

    clock = time.monotonic()
    network = random_weights.network(backbone)
    clock = lap('network', clock)
    network.model.compile(
        keras.optimizers.Adam(), keras.losses.BinaryCrossentropy(from_logits=True)
    )
    network.model.fit(
        np.zeros((_BATCH, side, side, 1), np.float32), np.zeros((_BATCH, 1), np.float32), verbose=0
    )
    clock = lap('first step', clock)
    with tempfile.TemporaryDirectory() as folder:
        module: Any = TriageModule(network, side, [calibration.NONE], 0.5, 'traced')
        if variant == USUAL:
            module.network = network.model
        module.export(folder)
        lap('export', clock)
    return seconds


def main(argv: Sequence[str] | None = None) -> None:
    """Measures and prints; also writes the figures to tracing.json under --scratch."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--backbone', choices=get_args(Backbone), default='scratch_cnn')
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--scratch', type=Path, default=scale.SCRATCH, help='for the figures')
    parser.add_argument(
        '--once', choices=(USUAL, OURS), help='print the seconds of one variant, as JSON'
    )
    args = parser.parse_args(argv)
    if args.once:
        sys.stdout.write(json.dumps(measure(args.once, args.backbone)) + '\n')
        return
    args.scratch.mkdir(parents=True, exist_ok=True)
    console, log = Console(), args.scratch / 'tracing.log'
    rounds: dict[str, list[dict[str, float]]] = {USUAL: [], OURS: []}
    for _ in track(range(args.rounds), 'tracing', console=console, transient=True):
        for variant, measurements in rounds.items():
            scale.run_command(
                [
                    sys.executable,
                    '-m',
                    'benchmarks.tracing',
                    '--once',
                    variant,
                    '--backbone',
                    args.backbone,
                ],
                log,
            )
            measurements.append(json.loads(log.read_text().splitlines()[-1]))
    medians = {
        variant: {
            part: statistics.median(row[part] for row in measurements) for part in measurements[0]
        }
        for variant, measurements in rounds.items()
    }
    (args.scratch / 'tracing.json').write_text(
        json.dumps({'backbone': args.backbone, **medians}, indent=1)
    )
    console.print(table(args.backbone, medians))


def table(backbone: str, medians: dict[str, dict[str, float]]) -> Table:
    """A table with a row for each part, and one for the sum."""
    result = Table(box=None, pad_edge=False, title=backbone)
    for name in ('', 'usual, s', 'ours, s', 'ours over usual'):
        result.add_column(name, justify='right' if name else 'left')
    usual, ours = (
        medians[variant] | {'all': sum(medians[variant].values())} for variant in (USUAL, OURS)
    )
    for part, seconds in usual.items():
        result.add_row(part, f'{seconds:.2f}', f'{ours[part]:.2f}', f'{ours[part] / seconds:.2f}')
    return result


if __name__ == '__main__':
    main()
