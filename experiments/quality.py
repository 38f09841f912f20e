"""Measures model quality on real images, with patients that a network was not trained on.

    python -m experiments.quality nih_triage --data-root DIR --weights PATH
    python -m experiments.quality findings14 --data-root DIR --weights PATH
    python -m experiments.quality cardiomegaly --data-root DIR --weights PATH
    python -m experiments.quality pneumonia_pediatric --data-root DIR --weights PATH
    python -m experiments.quality nih_triage --data-root DIR --weights PATH --floor --set
    model.image_size=448
    python -m experiments.quality nih_triage --data-root DIR --weights PATH --keep && make docs

The network of the task's configuration is trained fold by fold, as in the pipeline. It is compared
with the floor on the same folds: logistic regression on the features of the frozen backbone,
from its last layer and from an inner one (`INNER_LAYERS`). Some tasks also have alternative
trainings (`ALTERNATIVES`). All intervals are by patient. --floor measures only the floors, which
takes minutes: it shows what another image size, backbone or --layer is worth before a training.
--keep writes the figures to docs/quality, where `make docs` reads the tables of docs/quality.md and
docs/experiments.md.
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
# Task -> alternative training -> settings that override the configuration of the task.
ALTERNATIVES: dict[str, dict[str, tuple[str, ...]]] = {
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
# Backbone -> an inner layer whose frozen features give a better AUC on small images than those of
# the last layer, which fit the classes of ImageNet. docs/experiments.md has more layers.
INNER_LAYERS = {'mobilenet_v2': 'block_13_expand_relu'}
# A source with fewer images of a class gets no row.
_MIN_IMAGES_OF_CLASS = 20


def config_path(task: str) -> Path:
    """The configuration file of a task."""
    return _CONFIGS / f'{task}.yaml'


def plan(task: str, weights: str | None, settings: Sequence[str]) -> Plan:
    """The training of a task's configuration. `weights` is not used for training from scratch.

    Raises:
      ConfigError: a setting is not allowed.
    """
    configuration = config.load(str(config_path(task)), settings)
    model = (
        configuration.model.model_copy(update={'weights': weights})
        if configuration.model.backbone in PRETRAINED
        else configuration.model
    )
    return Plan(task, TrainerParameters(model=model, train=configuration.train))


def options(description: str | None) -> argparse.ArgumentParser:
    """The command-line options that all experiments share."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('task', choices=list(TASKS))
    parser.add_argument('--data-root', type=Path, required=True)
    parser.add_argument('--weights', help="ImageNet weights of the configuration's backbone")
    parser.add_argument(
        '--set', action='append', default=[], metavar='KEY=VALUE', help='as in cxr-triage run'
    )
    parser.add_argument('--scratch', type=Path, default=scale.SCRATCH)
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Measures and prints.

    Without --floor, it also writes the figures to quality-TASK.json under --scratch, and the
    probability of each image to answers-TASK.csv.
    """
    parser = options(__doc__)
    parser.add_argument('--floor', action='store_true', help='only the floors, without training')
    parser.add_argument(
        '--layer', help="inner layer of the backbone for the second floor, by Keras's name"
    )
    parser.add_argument('--keep', action='store_true', help='write the figures to docs/quality')
    args = parser.parse_args(argv)
    if args.keep and (args.floor or args.layer or args.set):
        parser.error(
            '--keep is for the unchanged configuration: use it without --floor, --layer and --set'
        )
    console = Console(width=None if sys.stdout.isatty() else 160)
    configured = plan(args.task, args.weights, args.set)
    cohort = cohort_lib.load(args.data_root, configured.parameters.model.image_size)
    console.print(
        f'{args.task}: {len(cohort.stored):,} images of '
        f'{len(np.unique(cohort.patients)):,} patients'
    )
    references = floors(args.task, cohort, configured.parameters.model, args.scratch, args.layer)
    if args.floor:
        for name, floor in references.items():
            console.print(name)
            console.print(table(figures(args.task, cohort, floor, {})))
        return
    own = cross_validation.predict(configured, cohort, args.scratch, console).probabilities
    for name, settings in ALTERNATIVES.get(args.task, {}).items():
        console.print(name)
        other = plan(args.task, args.weights, [*args.set, *settings])
        references[name] = cross_validation.predict(
            other, cohort, args.scratch, console
        ).probabilities
    rows = figures(args.task, cohort, own, references)
    content = {
        'task': args.task,
        'films': len(cohort.stored),
        'patients': len(np.unique(cohort.patients)),
        'settings': cross_validation.settings(configured),
        'figures': {name: vars(figure) for name, figure in rows.items()},
    }
    text = json.dumps(content, indent=1, ensure_ascii=False) + '\n'
    (args.scratch / f'quality-{args.task}.json').write_text(text)
    write_probabilities(
        args.scratch / f'answers-{args.task}.csv', cohort, TASKS[args.task].outputs[0], own[:, 0]
    )
    if args.keep:
        quality_table.results_path(args.task).write_text(text)
    console.print(table(rows))


def floors(
    task: str, cohort: Cohort, parameters: ModelParameters, scratch: Path, layer: str | None = None
) -> dict[str, np.ndarray]:
    """Name -> probabilities from frozen features, float64 [n, outputs].

    The features are those of the last layer, and of `layer` or else that of `INNER_LAYERS`.
    """
    layers: dict[str, str | None] = {FLOOR: None}
    if inner := layer or INNER_LAYERS.get(parameters.backbone):
        layers[f'{FLOOR} of {inner}'] = inner
    return {
        name: cross_validation.predict_from_frozen_features(
            TASKS[task], cohort, parameters, scratch, layer=keras_name
        )
        for name, keras_name in layers.items()
    }


def write_probabilities(path: Path, cohort: Cohort, label: str, probability: np.ndarray) -> None:
    """Writes a line for each image with its label and probability, the largest errors first."""
    values = cohort.labels[label]
    with path.open('w', newline='', encoding='utf-8') as file:
        writer = csv.writer(file)
        writer.writerow(['image_id', 'patient_id', 'source', label, 'probability'])
        for row in np.argsort(-np.abs(values - probability), kind='stable'):
            writer.writerow(
                [
                    cohort.ids[row],
                    cohort.patients[row],
                    cohort.sources[row],
                    values[row],
                    f'{probability[row]:.4f}',
                ]
            )


def figures(
    task: str, cohort: Cohort, own: np.ndarray, references: Mapping[str, np.ndarray]
) -> dict[str, Figure]:
    """Row of the table -> its figure.

    Args:
      task: a name of TASKS.
      cohort: the images.
      own: probabilities [n, outputs] of the networks of the configuration.
      references: name -> probabilities of floors and alternatives.
    """
    outputs = TASKS[task].outputs
    label = cohort.labels[outputs[0]]
    cases = Cases(own[:, 0], (own[:, 0] >= 0.5).astype(float), label)
    statistics = _compared(
        'AUC',
        bootstrap.auc(own[:, 0], label),
        {name: bootstrap.auc(scores[:, 0], label) for name, scores in references.items()},
    )
    statistics |= _group_statistics(cohort, own[:, 0], label)
    statistics |= _metadata_statistics(cohort, label)
    statistics |= {
        'accuracy at 0.5': bootstrap.accuracy(cases),
        'sensitivity at 0.5': bootstrap.sensitivity(cases),
        'specificity at 0.5': bootstrap.specificity(cases),
        'expected calibration error': bootstrap.calibration_error(cases),
    }
    if len(outputs) > 1:
        by_finding = {
            name: bootstrap.auc(own[:, column], cohort.labels[name])
            for column, name in enumerate(outputs)
            if column
        }
        means = {
            name: bootstrap.mean(
                [
                    bootstrap.auc(scores[:, column], cohort.labels[finding])
                    for column, finding in enumerate(outputs)
                    if column
                ]
            )
            for name, scores in references.items()
        }
        statistics |= _compared(MEAN, bootstrap.mean(list(by_finding.values())), means)
        statistics |= {f'AUC of {name}': statistic for name, statistic in by_finding.items()}
    return bootstrap.figures(statistics, cohort.patients, _REPLICATES, _LEVEL)


def _compared(
    figure: str, own: Statistic, references: Mapping[str, Statistic]
) -> dict[str, Statistic]:
    """A figure, the same figure of references, and the differences."""
    return {
        figure: own,
        **{f'{figure}, {name}': other for name, other in references.items()},
        **{
            f'{figure} above {name}': bootstrap.difference(own, other)
            for name, other in references.items()
        },
    }


def _group_statistics(
    cohort: Cohort, probability: np.ndarray, label: np.ndarray
) -> dict[str, Statistic]:
    """AUCs of each view, and of each source that has enough images of both classes."""
    views = cohort.column('view_position')
    statistics = {
        f'AUC within {view} films': _within(views == view, probability, label)
        for view in np.unique(views)
        if view != UNKNOWN
    }
    sources, counts = np.unique(cohort.sources, return_counts=True)
    for source in sources[np.argsort(-counts, kind='stable')]:
        rows = cohort.sources == source
        if (
            len(sources) > 1
            and min(label[rows].sum(), (1 - label[rows]).sum()) >= _MIN_IMAGES_OF_CLASS
        ):
            statistics[f'AUC within {rows.sum():,} films of source {source}'] = _within(
                rows, probability, label
            )
    return statistics


def _metadata_statistics(cohort: Cohort, label: np.ndarray) -> dict[str, Statistic]:
    """AUCs from metadata only, if the metadata table has values."""
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


def table(rows: Mapping[str, Figure]) -> Table:
    """A table of values and intervals."""
    result = Table(box=None, pad_edge=False)
    for name in ('', 'value', '95 % interval'):
        result.add_column(name, justify='right' if name else 'left')
    for name, figure in rows.items():
        value = '–' if figure.value is None else f'{figure.value:.4f}'
        interval = '' if figure.lower is None else f'{figure.lower:.4f} – {figure.upper:.4f}'
        result.add_row(name, value, interval)
    return result


def _within(rows: np.ndarray, probability: np.ndarray, label: np.ndarray) -> Statistic:
    return bootstrap.among(rows, bootstrap.auc(probability[rows], label[rows]))


if __name__ == '__main__':
    main()
