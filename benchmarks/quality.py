"""How good the models are, on real films, each film answered by a network that saw none of its patient's.

    python -m benchmarks.quality nih_triage --data-root DIR --weights PATH
    python -m benchmarks.quality findings14 --data-root DIR --weights PATH
    python -m benchmarks.quality pneumonia_pediatric --data-root DIR --weights PATH

The network of the task's configuration, trained fold by fold as the pipeline trains it, beside the floor: logistic regression on the
features of the same backbone as it comes from ImageNet, on the same folds. Intervals are by patient, as are those of the differences.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks import cohort as cohort_lib
from benchmarks import cross_validation, scale
from benchmarks.cohort import Cohort
from benchmarks.cross_validation import Plan
from components.evaluator import bootstrap, metadata_model
from components.evaluator.bootstrap import Cases, Figure, Statistic
from pipeline import config
from trainer.features import UNKNOWN
from trainer.labels import TASKS
from trainer.parameters import TrainerParameters

_CONFIGS = Path(config.__file__).parent / 'configs'
_REPLICATES, _LEVEL = 2000, 0.95


def plan(task: str, weights: str | None, settings: Sequence[str]) -> Plan:
    """The training of a task's configuration.

    Raises:
      ConfigError: a setting is not allowed.
    """
    given = config.load(str(_CONFIGS / f'{task}.yaml'), settings, model__weights=weights)
    return Plan(task, TrainerParameters(model=given.model, train=given.train))


def options(description: str | None) -> argparse.ArgumentParser:
    """The command line that this command shares with those that look at the same networks."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('task', choices=list(TASKS))
    parser.add_argument('--data-root', type=Path, required=True)
    parser.add_argument('--weights', help="ImageNet weights of the configuration's backbone")
    parser.add_argument('--set', action='append', default=[], metavar='KEY=VALUE', help='as of cxr-triage run')
    parser.add_argument('--scratch', type=Path, default=scale.SCRATCH)
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Measures and prints; the figures are also in quality-TASK.json under --scratch."""
    args = options(__doc__).parse_args(argv)
    console = Console(width=None if sys.stdout.isatty() else 160)
    chosen = plan(args.task, args.weights, args.set)
    cohort = cohort_lib.load(args.data_root, chosen.parameters.model.image_size)
    console.print(f'{args.task}: {len(cohort.stored):,} films of {len(np.unique(cohort.patients)):,} patients')
    ours = cross_validation.answers(chosen, cohort, args.scratch, console).probabilities
    floor = cross_validation.of_frozen_features(TASKS[args.task], cohort, chosen.parameters.model, args.scratch)
    found = figures(args.task, cohort, ours, floor)
    content = {name: vars(figure) for name, figure in found.items()}
    (args.scratch / f'quality-{args.task}.json').write_text(json.dumps(content, indent=1))
    console.print(table(found))


def figures(task: str, cohort: Cohort, ours: np.ndarray, floor: np.ndarray) -> dict[str, Figure]:
    """Row of the table -> its figure.

    Args:
      task: a name of TASKS.
      cohort: the films.
      ours: probabilities [n, outputs] of the trained networks.
      floor: those of the regressions on frozen features.
    """
    outputs = TASKS[task].outputs
    label = cohort.labels[outputs[0]]
    cases = Cases(ours[:, 0], (ours[:, 0] >= 0.5).astype(float), label)
    own, least = bootstrap.auc(ours[:, 0], label), bootstrap.auc(floor[:, 0], label)
    statistics: dict[str, Statistic] = {
        'AUC': own,
        'AUC of frozen features': least,
        'AUC above frozen features': bootstrap.difference(own, least),
    }
    for view in np.unique(cohort.column('view_position')):
        if view != UNKNOWN:
            statistics[f'AUC within {view} films'] = _within(cohort.column('view_position') == view, ours[:, 0], label)
    known = cohort.column('age'), cohort.column('sex'), cohort.column('view_position')
    for name, columns in (
        ('AUC of age, sex and view alone', metadata_model.columns(*known)),
        ('AUC of these and the follow-up number', metadata_model.columns(*known, cohort.column('follow_up'))),
    ):
        scores = metadata_model.cross_fitted(columns, label, cohort.patients)
        if scores is not None and len(np.unique(known[0])) > 1:
            statistics[name] = bootstrap.auc(scores, label)
    statistics |= {
        'accuracy at 0.5': bootstrap.accuracy(cases),
        'sensitivity at 0.5': bootstrap.sensitivity(cases),
        'specificity at 0.5': bootstrap.specificity(cases),
        'expected calibration error': bootstrap.calibration_error(cases),
    }
    if len(outputs) > 1:
        trained, frozen = (
            {name: bootstrap.auc(scores[:, place], cohort.labels[name]) for place, name in enumerate(outputs) if place}
            for scores in (ours, floor)
        )
        mean, mean_floor = bootstrap.mean(list(trained.values())), bootstrap.mean(list(frozen.values()))
        statistics |= {
            'mean AUC of findings': mean,
            'mean AUC of findings, frozen features': mean_floor,
            'mean AUC of findings above frozen features': bootstrap.difference(mean, mean_floor),
            **{f'AUC of {name}': statistic for name, statistic in trained.items()},
        }
    return bootstrap.figures(statistics, cohort.patients, _REPLICATES, _LEVEL)


def table(found: dict[str, Figure]) -> Table:
    """Values and intervals."""
    shown = Table(box=None, pad_edge=False)
    for name in ('', 'value', '95 % interval'):
        shown.add_column(name, justify='right' if name else 'left')
    for name, figure in found.items():
        value = '–' if figure.value is None else f'{figure.value:.4f}'
        interval = '' if figure.lower is None else f'{figure.lower:.4f} – {figure.upper:.4f}'
        shown.add_row(name, value, interval)
    return shown


def _within(rows: np.ndarray, probability: np.ndarray, label: np.ndarray) -> Statistic:
    of_rows = bootstrap.auc(probability[rows], label[rows])
    return lambda weights: of_rows(weights[:, rows])


if __name__ == '__main__':
    main()
