"""Measures the effect of each choice in a task's training: one change at a time, on the same folds.

    python -m experiments.ablation nih_triage --data-root DIR --weights PATH [--set
    model.image_size=96] [--only NAME ...] [--seeds 0 1 2]

Each variant changes the configuration with class weights, which earlier configurations had. The
intervals of the differences are by patient, with the same replicates for all variants. --set
applies to all variants: a small image size takes a fraction of the time. Each seed is a separate
training with other initial weights, order and augmentation. The AUC is the mean over seeds. A
difference that is smaller than the spread between seeds can be chance.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')

import numpy as np
from rich.console import Console
from rich.table import Table

from components.evaluator import bootstrap
from components.evaluator.bootstrap import Figure, Statistic
from experiments import cohort as cohort_lib
from experiments import cross_validation, quality, quality_table
from experiments.cross_validation import Plan
from trainer.tasks import TASKS

# Settings of all variants, which override the configuration.
BASE = ('train.balance=weights',)
# Variant -> settings that override `BASE`. The others are compared with the first one.
FIRST = 'with class weights'
VARIANTS: dict[str, tuple[str, ...]] = {
    FIRST: (),
    'head alone': ('train.epochs=0',),
    'no head first': ('train.head_first=false',),
    'batch normalisation trained': ('model.batch_norm=trained',),
    'best epoch in place of the last': ('train.patience=4',),
    'no augmentation': (
        'train.augmentation={shift: 0, rotation: 0, zoom: 0, contrast: 0, brightness: 0}',
    ),
    'cutout 0.25': ('train.augmentation.cutout=0.25',),
    'no warm-up': ('train.warmup_epochs=0',),
    'all layers': ('train.unfreeze_share=1.0',),
    'upper third': ('train.unfreeze_share=0.33',),
    'label smoothing 0.05': ('train.label_smoothing=0.05',),
    'focal loss, gamma 2': ('train.focal_gamma=2.0',),
    'no class weights': ('train.balance=none',),
    'moving average 0.98': ('train.ema=0.98',),
    'auxiliary findings 1': ('train.auxiliary_weight=1.0',),
    'attention pooling': ('model.pooling=attention',),
    'twice the learning rate': ('train.learning_rate=0.0004',),
    'half the learning rate': ('train.learning_rate=0.0001',),
    'twice the epochs': ('train.epochs=16',),
    'dropout 0.5': ('model.dropout=0.5',),
}


def main(argv: Sequence[str] | None = None) -> None:
    """Measures and prints; also writes the figures to ablation-TASK.json under --scratch."""
    parser = quality.options(__doc__)
    parser.add_argument(
        '--only',
        nargs='+',
        choices=list(VARIANTS),
        metavar='NAME',
        help=f'variants to measure: {", ".join(VARIANTS)}',
    )
    parser.add_argument(
        '--seeds',
        nargs='+',
        type=int,
        default=[0],
        metavar='SEED',
        help='train once with each seed (default: 0)',
    )
    parser.add_argument(
        '--keep',
        action='store_true',
        help=(
            'write the figures to docs/quality, where `make docs` reads the table; with --only, '
            'only these rows'
        ),
    )
    args = parser.parse_args(argv)
    console = Console(width=None if sys.stdout.isatty() else 160)
    names = [FIRST, *(name for name in args.only or VARIANTS if name != FIRST)]
    probabilities: dict[str, list[np.ndarray]] = {}
    cohort = None
    for name in names:
        for seed in args.seeds:
            variant_plan = plan(
                args.task, args.weights, [*args.set, *VARIANTS[name], f'train.seed={seed}']
            )
            cohort = cohort or cohort_lib.load(
                args.data_root, variant_plan.parameters.model.image_size
            )
            console.print(f'{name}, seed {seed}')
            predictions = cross_validation.predict(variant_plan, cohort, args.scratch, console)
            probabilities.setdefault(name, []).append(predictions.probabilities)
    assert cohort is not None
    rows = figures(args.task, cohort, probabilities)
    content = {
        'task': args.task,
        'settings': cross_validation.settings(plan(args.task, None, args.set)),
        'seeds': args.seeds,
        'variants': {name: dataclasses.asdict(row) for name, row in rows.items()},
    }
    _write(args.scratch / f'ablation-{args.task}.json', content)
    console.print(table(rows))
    if args.keep:
        path = quality_table.results_path(args.task, ablation=True)
        try:
            _write(path, updated(path, content) if args.only else content)
        except ValueError as error:
            raise SystemExit(f'the figures were not written: {error}') from error


def plan(task: str, weights: str | None, settings: Sequence[str]) -> Plan:
    """Like `quality.plan`, with `BASE` before the settings."""
    return quality.plan(task, weights, [*BASE, *settings])


# The AUC of the same training can differ this much between kinds of CPU.
_CPU_DIFFERENCE = 0.002


def updated(path: Path, content: dict[str, Any]) -> dict[str, Any]:
    """The results in a file, with rows that were measured again or are new.

    Raises:
      ValueError: the file has no results, or those of another training.
    """
    if not path.exists():
        raise ValueError(f'{path}: no such file; measure the whole table, without --only')
    stored = json.loads(path.read_text())
    first, *names = content['variants']
    stored_auc, new_auc = (
        results['variants'][first]['auc']['value'] for results in (stored, content)
    )
    if (
        any(stored[name] != content[name] for name in ('settings', 'seeds'))
        or abs(stored_auc - new_auc) > _CPU_DIFFERENCE
    ):
        raise ValueError(
            f'{path}: its rows belong to another training than the one measured now; measure the '
            'whole table, without --only'
        )
    # The first row is not replaced: the stored differences are relative to it.
    rows = stored['variants'] | {name: content['variants'][name] for name in names}
    return content | {'variants': {name: rows[name] for name in VARIANTS if name in rows}}


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1) + '\n')


@dataclasses.dataclass(frozen=True)
class Row:
    """The figures of a variant.

    Attributes:
      auc: the mean over seeds; for a task with findings, of the mean AUC of all findings.
      less: difference of the AUC from the first variant's.
      spread: standard deviation of the AUC between seeds; None with one seed.
    """

    auc: Figure
    less: Figure
    spread: float | None


def figures(
    task: str, cohort: cohort_lib.Cohort, probabilities: Mapping[str, Sequence[np.ndarray]]
) -> dict[str, Row]:
    """Variant -> its row, from its probabilities [n, outputs] for each seed."""
    outputs = TASKS[task].outputs
    columns = range(1, len(outputs)) if len(outputs) > 1 else range(1)

    def auc(scores: np.ndarray) -> Statistic:
        return bootstrap.mean(
            [bootstrap.auc(scores[:, column], cohort.labels[outputs[column]]) for column in columns]
        )

    aucs = {name: [auc(scores) for scores in by_seed] for name, by_seed in probabilities.items()}
    means = {name: bootstrap.mean(by_seed) for name, by_seed in aucs.items()}
    first = next(iter(means.values()))
    differences = {
        f'{name} less': bootstrap.difference(statistic, first) for name, statistic in means.items()
    }
    values = bootstrap.figures(means | differences, cohort.patients, 2000, 0.95)
    equal_weights = np.ones((1, len(cohort.patients)))
    spreads = {
        name: float(np.std([statistic(equal_weights)[0] for statistic in by_seed], ddof=1))
        for name, by_seed in aucs.items()
        if len(by_seed) > 1
    }
    return {
        name: Row(values[name], values[f'{name} less'], spreads.get(name)) for name in probabilities
    }


def table(rows: Mapping[str, Row]) -> Table:
    """A table of AUCs, and of differences with their intervals."""
    result = Table(box=None, pad_edge=False)
    for name in ('', 'AUC', 'between seeds', 'difference', '95 % interval'):
        result.add_column(name, justify='right' if name else 'left')
    for name, row in rows.items():
        spread = '–' if row.spread is None else f'± {row.spread:.4f}'
        less = row.less
        result.add_row(
            name,
            f'{row.auc.value:.4f}',
            spread,
            f'{less.value:+.4f}',
            f'{less.lower:+.4f} – {less.upper:+.4f}',
        )
    return result


if __name__ == '__main__':
    main()
