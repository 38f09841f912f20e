"""What each choice in the training of a task is worth: one change at a time against the configuration, on the same folds by patient.

    python -m benchmarks.ablation nih_triage --data-root DIR --weights PATH [--set model.image_size=128] [--only NAME ...]

The differences carry intervals by patient; all variants see the same replicates. A sweep at a small image size takes a fraction of the
time of the final size; --set applies to all variants.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks import cohort as cohort_lib
from benchmarks import cross_validation, quality
from components.evaluator import bootstrap
from components.evaluator.bootstrap import Figure, Statistic
from trainer.labels import TASKS

# Variant -> settings laid over the configuration.
VARIANTS: dict[str, tuple[str, ...]] = {
    'as configured': (),
    'head alone': ('train.epochs=0',),
    'no head first': ('train.head_epochs=0',),
    'no augmentation': ('train.augmentation={shift: 0, rotation: 0, zoom: 0, contrast: 0, brightness: 0}',),
    'cutout 0.25': ('train.augmentation.cutout=0.25',),
    'no warm-up': ('train.warmup_epochs=0',),
    'all layers': ('train.unfreeze_share=1.0',),
    'upper third': ('train.unfreeze_share=0.33',),
    'label smoothing 0.05': ('train.label_smoothing=0.05',),
    'focal loss, gamma 2': ('train.focal_gamma=2.0',),
    'no class balance': ('train.balance=none',),
    'undersampling 1:1': ('train.balance=undersample', 'train.negatives_per_positive=1.0'),
    'moving average 0.98': ('train.ema=0.98',),
    'auxiliary findings 1': ('train.auxiliary_weight=1.0',),
    'attention pooling': ('model.pooling=attention',),
    'twice the learning rate': ('train.learning_rate=0.0002',),
    'half the learning rate': ('train.learning_rate=0.00005',),
}


def main(argv: Sequence[str] | None = None) -> None:
    """Measures and prints; the figures are also in ablation-TASK.json under --scratch."""
    parser = quality.options(__doc__)
    parser.add_argument('--only', nargs='+', choices=list(VARIANTS), metavar='NAME', help=f'of: {", ".join(VARIANTS)}')
    args = parser.parse_args(argv)
    console = Console(width=None if sys.stdout.isatty() else 160)
    names = ['as configured', *(name for name in args.only or VARIANTS if name != 'as configured')]
    answers, cohort = {}, None
    for name in names:
        chosen = quality.plan(args.task, args.weights, [*args.set, *VARIANTS[name]])
        cohort = cohort or cohort_lib.load(args.data_root, chosen.parameters.model.image_size)
        console.print(name)
        answers[name] = cross_validation.answers(chosen, cohort, args.scratch, console).probabilities
    assert cohort is not None
    found = figures(args.task, cohort, answers)
    content = {name: [vars(each) for each in row] for name, row in found.items()}
    (args.scratch / f'ablation-{args.task}.json').write_text(json.dumps(content, indent=1))
    console.print(table(found))


def figures(task: str, cohort: cohort_lib.Cohort, answers: dict[str, np.ndarray]) -> dict[str, tuple[Figure, Figure]]:
    """Variant -> AUC, and its difference to the first variant; the mean over findings where the task asks for them."""
    outputs = TASKS[task].outputs

    def auc(scores: np.ndarray) -> Statistic:
        places = range(1, len(outputs)) if len(outputs) > 1 else range(1)
        return bootstrap.mean([bootstrap.auc(scores[:, place], cohort.labels[outputs[place]]) for place in places])

    statistics = {name: auc(scores) for name, scores in answers.items()}
    first = next(iter(statistics.values()))
    differences = {f'{name} less': bootstrap.difference(statistic, first) for name, statistic in statistics.items()}
    found = bootstrap.figures(statistics | differences, cohort.patients, 2000, 0.95)
    return {name: (found[name], found[f'{name} less']) for name in answers}


def table(found: dict[str, tuple[Figure, Figure]]) -> Table:
    """AUCs, and differences with their intervals."""
    shown = Table(box=None, pad_edge=False)
    for name in ('', 'AUC', 'less the configured', '95 % interval'):
        shown.add_column(name, justify='right' if name else 'left')
    for name, (own, less) in found.items():
        shown.add_row(name, f'{own.value:.4f}', f'{less.value:+.4f}', f'{less.lower:+.4f} – {less.upper:+.4f}')
    return shown


if __name__ == '__main__':
    main()
