"""How good the models are, on real films, each film answered by a network that saw none of its
patient's.

    python -m experiments.quality nih_triage --data-root DIR --weights PATH
    python -m experiments.quality findings14 --data-root DIR --weights PATH
    python -m experiments.quality cardiomegaly --data-root DIR --weights PATH
    python -m experiments.quality pneumonia_pediatric --data-root DIR --weights PATH
    python -m experiments.quality nih_triage --data-root DIR --weights PATH --floor --set
    model.image_size=448
    python -m experiments.quality nih_triage --data-root DIR --weights PATH --keep && make docs

The network of the task's configuration, trained fold by fold as the pipeline trains it, beside the
floor: logistic regression on the features of the same backbone as it comes from ImageNet, on the
same folds, of its last layer and of one within (`WITHIN`); for some tasks also beside another way
of training (`BESIDE`). Intervals are by patient, as are those of the differences. --floor measures
the floors alone, in minutes: what another image size, backbone or --layer is worth before anything
is trained. --keep writes the figures to docs/quality, from where `make docs` takes the tables of
docs/quality.md and docs/experiments.md.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks import scale
from components.evaluator import bootstrap, metadata_model
from components.evaluator.bootstrap import Cases, Figure, Statistic
from experiments import cohort as cohort_lib
from experiments import cross_validation, quality_table
from experiments.cohort import Cohort
from experiments.cross_validation import Plan
from experiments.quality_table import FLOOR, MEAN
from pipeline import config
from schemas.features import UNKNOWN
from trainer.parameters import PRETRAINED, ModelParameters, TrainerParameters
from trainer.tasks import TASKS

_CONFIGS = Path(config.__file__).parent / 'configs'
_REPLICATES, _LEVEL = 2000, 0.95
# Task -> another way to train for it -> settings laid over its configuration.
BESIDE: dict[str, dict[str, tuple[str, ...]]] = {
    'findings14': {
        'no head first': ('train.head_first=false',),
        'training from scratch': (
            'model.backbone=scratch_cnn',
            'train.learning_rate=0.001',
            'train.epochs=20',
        ),
    },
    'cardiomegaly': {
        'weights': ('train.balance=weights', 'train.epochs=8'),
        'attention pooling': ('model.pooling=attention',),
    },
}
# Backbone -> a layer within whose frozen features know more of small films than those of the last
# one, which are made for the classes of ImageNet; docs/experiments.md has others.
WITHIN = {'mobilenet_v2': 'block_13_expand_relu'}
# A source of films with fewer of a class is not looked at by itself.
_OF_EACH_CLASS = 20


def config_of(task: str) -> Path:
    """The configuration file of a task."""
    return _CONFIGS / f'{task}.yaml'


def plan(task: str, weights: str | None, settings: Sequence[str]) -> Plan:
    """The training of a task's configuration; one from scratch takes no weights.

    Raises:
      ConfigError: a setting is not allowed.
    """
    given = config.load(str(config_of(task)), settings)
    model = (
        given.model.model_copy(update={'weights': weights})
        if given.model.backbone in PRETRAINED
        else given.model
    )
    return Plan(task, TrainerParameters(model=model, train=given.train))


def options(description: str | None) -> argparse.ArgumentParser:
    """The command line that this command shares with those that look at the same networks."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('task', choices=list(TASKS))
    parser.add_argument('--data-root', type=Path, required=True)
    parser.add_argument('--weights', help="ImageNet weights of the configuration's backbone")
    parser.add_argument(
        '--set', action='append', default=[], metavar='KEY=VALUE', help='as of cxr-triage run'
    )
    parser.add_argument('--scratch', type=Path, default=scale.SCRATCH)
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Measures and prints; without --floor the figures are also in quality-TASK.json under
    --scratch, and the answer to each film in answers-TASK.csv."""
    parser = options(__doc__)
    parser.add_argument('--floor', action='store_true', help='the floor alone; nothing is trained')
    parser.add_argument(
        '--layer', help='another layer of the backbone, by its name in Keras, for the second floor'
    )
    parser.add_argument('--keep', action='store_true', help='write the figures to docs/quality')
    args = parser.parse_args(argv)
    if args.keep and (args.floor or args.layer or args.set):
        parser.error(
            '--keep is for the configuration as it stands: not with --floor, --layer or --set'
        )
    console = Console(width=None if sys.stdout.isatty() else 160)
    chosen = plan(args.task, args.weights, args.set)
    cohort = cohort_lib.load(args.data_root, chosen.parameters.model.image_size)
    console.print(
        f'{args.task}: {len(cohort.stored):,} films of {len(np.unique(cohort.patients)):,} patients'
    )
    beside = floors(args.task, cohort, chosen.parameters.model, args.scratch, args.layer)
    if args.floor:
        for name, floor in beside.items():
            console.print(name)
            console.print(table(figures(args.task, cohort, floor, {})))
        return
    ours = cross_validation.answers(chosen, cohort, args.scratch, console).probabilities
    for name, settings in BESIDE.get(args.task, {}).items():
        console.print(name)
        other = plan(args.task, args.weights, [*args.set, *settings])
        beside[name] = cross_validation.answers(other, cohort, args.scratch, console).probabilities
    found = figures(args.task, cohort, ours, beside)
    content = {
        'task': args.task,
        'films': len(cohort.stored),
        'patients': len(np.unique(cohort.patients)),
        'settings': cross_validation.settings(chosen),
        'figures': {name: vars(figure) for name, figure in found.items()},
    }
    text = json.dumps(content, indent=1, ensure_ascii=False) + '\n'
    (args.scratch / f'quality-{args.task}.json').write_text(text)
    write_answers(
        args.scratch / f'answers-{args.task}.csv', cohort, TASKS[args.task].outputs[0], ours[:, 0]
    )
    if args.keep:
        quality_table.file_of(args.task).write_text(text)
    console.print(table(found))


def floors(
    task: str, cohort: Cohort, parameters: ModelParameters, scratch: Path, layer: str | None = None
) -> dict[str, np.ndarray]:
    """Name -> probabilities float64 [n, outputs] from frozen features: of the last layer, and of
    `layer` or that of `WITHIN`.
    """
    layers: dict[str, str | None] = {FLOOR: None}
    if within := layer or WITHIN.get(parameters.backbone):
        layers[f'{FLOOR} of {within}'] = within
    return {
        name: cross_validation.of_frozen_features(
            TASKS[task], cohort, parameters, scratch, layer=of
        )
        for name, of in layers.items()
    }


def write_answers(path: Path, cohort: Cohort, label: str, probability: np.ndarray) -> None:
    """A line a film, the most surely wrong ones first: what the label says, and the probability
    from the network that had not seen it.
    """
    values = cohort.labels[label]
    with path.open('w', newline='', encoding='utf-8') as file:
        lines = csv.writer(file)
        lines.writerow(['image_id', 'patient_id', 'source', label, 'probability'])
        for row in np.argsort(-np.abs(values - probability), kind='stable'):
            lines.writerow(
                [
                    cohort.ids[row],
                    cohort.patients[row],
                    cohort.sources[row],
                    values[row],
                    f'{probability[row]:.4f}',
                ]
            )


def figures(
    task: str, cohort: Cohort, ours: np.ndarray, beside: Mapping[str, np.ndarray]
) -> dict[str, Figure]:
    """Row of the table -> its figure.

    Args:
      task: a name of TASKS.
      cohort: the films.
      ours: probabilities [n, outputs] of the trained networks.
      beside: those of others, by name.
    """
    outputs = TASKS[task].outputs
    label = cohort.labels[outputs[0]]
    cases = Cases(ours[:, 0], (ours[:, 0] >= 0.5).astype(float), label)
    statistics = _against(
        'AUC',
        bootstrap.auc(ours[:, 0], label),
        {name: bootstrap.auc(each[:, 0], label) for name, each in beside.items()},
    )
    statistics |= _of_groups(cohort, ours[:, 0], label) | _of_metadata(cohort, label)
    statistics |= {
        'accuracy at 0.5': bootstrap.accuracy(cases),
        'sensitivity at 0.5': bootstrap.sensitivity(cases),
        'specificity at 0.5': bootstrap.specificity(cases),
        'expected calibration error': bootstrap.calibration_error(cases),
    }
    if len(outputs) > 1:
        by_finding = {
            name: bootstrap.auc(ours[:, place], cohort.labels[name])
            for place, name in enumerate(outputs)
            if place
        }
        means = {
            name: bootstrap.mean(
                [
                    bootstrap.auc(each[:, place], cohort.labels[of])
                    for place, of in enumerate(outputs)
                    if place
                ]
            )
            for name, each in beside.items()
        }
        statistics |= _against(MEAN, bootstrap.mean(list(by_finding.values())), means)
        statistics |= {f'AUC of {name}': statistic for name, statistic in by_finding.items()}
    return bootstrap.figures(statistics, cohort.patients, _REPLICATES, _LEVEL)


def _against(figure: str, own: Statistic, others: Mapping[str, Statistic]) -> dict[str, Statistic]:
    """A figure, that of others, and by how much it is above each."""
    return {
        figure: own,
        **{f'{figure}, {name}': other for name, other in others.items()},
        **{
            f'{figure} above {name}': bootstrap.difference(own, other)
            for name, other in others.items()
        },
    }


def _of_groups(cohort: Cohort, probability: np.ndarray, label: np.ndarray) -> dict[str, Statistic]:
    """AUCs within each view, and within each source that has enough films of both classes."""
    views = cohort.column('view_position')
    statistics = {
        f'AUC within {view} films': _within(views == view, probability, label)
        for view in np.unique(views)
        if view != UNKNOWN
    }
    sources, counts = np.unique(cohort.sources, return_counts=True)
    for source in sources[np.argsort(-counts, kind='stable')]:
        rows = cohort.sources == source
        if len(sources) > 1 and min(label[rows].sum(), (1 - label[rows]).sum()) >= _OF_EACH_CLASS:
            statistics[f'AUC within {rows.sum():,} films of source {source}'] = _within(
                rows, probability, label
            )
    return statistics


def _of_metadata(cohort: Cohort, label: np.ndarray) -> dict[str, Statistic]:
    """AUCs without the image, where the metadata table has values."""
    age, sex, view = (cohort.column(name) for name in ('age', 'sex', 'view_position'))
    statistics = {}
    for name, columns in (
        ('AUC of age, sex and view alone', metadata_model.columns(age, sex, view)),
        (
            'AUC of these and the follow-up number',
            metadata_model.columns(age, sex, view, cohort.column('follow_up')),
        ),
    ):
        scores = metadata_model.cross_fitted(columns, label, cohort.patients)
        if scores is not None:
            statistics[name] = bootstrap.auc(scores, label)
    return statistics


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
    return bootstrap.among(rows, bootstrap.auc(probability[rows], label[rows]))


if __name__ == '__main__':
    main()
