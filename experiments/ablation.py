"""What each choice in the training of a task is worth: one change at a time, on the same folds by
patient.

    python -m experiments.ablation nih_triage --data-root DIR --weights PATH [--set
    model.image_size=96] [--only NAME ...] [--seeds 0 1 2]

Each is a change of the configuration with class weights, with which the table began: it has taken
them out of the configurations since. The differences carry intervals by patient; all variants see
the same replicates. A sweep at a small image size takes a fraction of the time of the final size;
--set applies to all variants. Each seed is a training of its own, with other initial weights, order
and augmentation: the AUC is the mean over seeds, and the spread between them is what a difference
has to exceed that is more than luck.
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

# Laid over the configuration, for all variants.
BASE = ('train.balance=weights',)
# Variant -> settings laid over these; the first is what the others are compared with.
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
    """Measures and prints; the figures are also in ablation-TASK.json under --scratch."""
    parser = quality.options(__doc__)
    parser.add_argument(
        '--only',
        nargs='+',
        choices=list(VARIANTS),
        metavar='NAME',
        help=f'of: {", ".join(VARIANTS)}',
    )
    parser.add_argument(
        '--seeds',
        nargs='+',
        type=int,
        default=[0],
        metavar='SEED',
        help='a training with each (default: 0)',
    )
    parser.add_argument(
        '--keep',
        action='store_true',
        help=(
            'write the figures to docs/quality, from where `make docs` takes the table; with '
            '--only, these rows'
        ),
    )
    args = parser.parse_args(argv)
    console = Console(width=None if sys.stdout.isatty() else 160)
    names = [FIRST, *(name for name in args.only or VARIANTS if name != FIRST)]
    answers: dict[str, list[np.ndarray]] = {}
    cohort = None
    for name in names:
        for seed in args.seeds:
            chosen = plan(
                args.task, args.weights, [*args.set, *VARIANTS[name], f'train.seed={seed}']
            )
            cohort = cohort or cohort_lib.load(args.data_root, chosen.parameters.model.image_size)
            console.print(f'{name}, seed {seed}')
            answers.setdefault(name, []).append(
                cross_validation.answers(chosen, cohort, args.scratch, console).probabilities
            )
    assert cohort is not None
    found = figures(args.task, cohort, answers)
    content = {
        'task': args.task,
        'settings': cross_validation.settings(plan(args.task, None, args.set)),
        'seeds': args.seeds,
        'variants': {name: dataclasses.asdict(row) for name, row in found.items()},
    }
    _write(args.scratch / f'ablation-{args.task}.json', content)
    console.print(table(found))
    if args.keep:
        path = quality_table.file_of(args.task, ablation=True)
        try:
            _write(path, laid_over(path, content) if args.only else content)
        except ValueError as error:
            raise SystemExit(f'not kept: {error}') from error


def plan(task: str, weights: str | None, settings: Sequence[str]) -> Plan:
    """As `quality.plan`, with `BASE` below the settings."""
    return quality.plan(task, weights, [*BASE, *settings])


# By which the AUC of one training differs between kinds of CPU; less than between seeds.
_OF_A_CPU = 0.002


def laid_over(path: Path, content: dict[str, Any]) -> dict[str, Any]:
    """A kept table with some of its rows measured anew, or with rows that it did not have.

    Raises:
      ValueError: its other rows are of another training.
    """
    if not path.exists():
        raise ValueError(f'{path}: no such file; measure the whole table, without --only')
    kept = json.loads(path.read_text())
    first, *others = content['variants']
    then, now = (each['variants'][first]['auc']['value'] for each in (kept, content))
    if (
        any(kept[name] != content[name] for name in ('settings', 'seeds'))
        or abs(then - now) > _OF_A_CPU
    ):
        raise ValueError(
            f'{path}: its rows are beside another training than the one measured now; measure the '
            'whole table, without --only'
        )
    # A difference stays as it is, from the first row's training on the same machine.
    rows = kept['variants'] | {name: content['variants'][name] for name in others}
    return content | {'variants': {name: rows[name] for name in VARIANTS if name in rows}}


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1) + '\n')


@dataclasses.dataclass(frozen=True)
class Row:
    """A variant.

    Attributes:
      auc: the mean over seeds; of the AUCs of all findings where the task asks for them.
      less: by how much it is above the first variant's.
      spread: standard deviation of the AUC between seeds; None with one seed.
    """

    auc: Figure
    less: Figure
    spread: float | None


def figures(
    task: str, cohort: cohort_lib.Cohort, answers: Mapping[str, Sequence[np.ndarray]]
) -> dict[str, Row]:
    """Variant -> its row, from its probabilities [n, outputs] with each seed."""
    outputs = TASKS[task].outputs
    places = range(1, len(outputs)) if len(outputs) > 1 else range(1)

    def auc(scores: np.ndarray) -> Statistic:
        return bootstrap.mean(
            [bootstrap.auc(scores[:, place], cohort.labels[outputs[place]]) for place in places]
        )

    of_seeds = {name: [auc(scores) for scores in each] for name, each in answers.items()}
    means = {name: bootstrap.mean(each) for name, each in of_seeds.items()}
    first = next(iter(means.values()))
    differences = {
        f'{name} less': bootstrap.difference(statistic, first) for name, statistic in means.items()
    }
    found = bootstrap.figures(means | differences, cohort.patients, 2000, 0.95)
    once = np.ones((1, len(cohort.patients)))
    spreads = {
        name: float(np.std([one(once)[0] for one in each], ddof=1))
        for name, each in of_seeds.items()
        if len(each) > 1
    }
    return {name: Row(found[name], found[f'{name} less'], spreads.get(name)) for name in answers}


def table(found: Mapping[str, Row]) -> Table:
    """AUCs, and differences with their intervals."""
    shown = Table(box=None, pad_edge=False)
    for name in ('', 'AUC', 'between seeds', 'less the first', '95 % interval'):
        shown.add_column(name, justify='right' if name else 'left')
    for name, row in found.items():
        spread = '–' if row.spread is None else f'± {row.spread:.4f}'
        less = row.less
        shown.add_row(
            name,
            f'{row.auc.value:.4f}',
            spread,
            f'{less.value:+.4f}',
            f'{less.lower:+.4f} – {less.upper:+.4f}',
        )
    return shown


if __name__ == '__main__':
    main()
