"""Measures calibration and operating point on images that differ from the calibration split.

    python -m experiments.shift nih_triage --data-root DIR --weights PATH

The official test list of NIH ChestX-ray14 has more abnormal and more bedside images than the list
for training. The network is trained, and its calibration and operating point are chosen, on
patients of the training list. It is evaluated on other patients of that list, and on the official
test images. All intervals are by patient.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Sequence, Set
from pathlib import Path
from typing import Any

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')

import numpy as np
from rich.console import Console
from rich.table import Table

from components.evaluator import bootstrap, metadata_model
from components.evaluator.bootstrap import Cases, Figure, Statistic
from experiments import cohort as cohort_lib
from experiments import cross_validation, quality
from experiments.cohort import Cohort
from experiments.cross_validation import Plan
from experiments.official_list import test_list
from pipeline import config
from trainer import calibration, training
from trainer.tasks import TASKS

GROUPS = ('calibration', 'held out', 'official test')
# The patients of the training list in 20 parts, of which 13 are for training.
_PARTS = {
    'val': range(2),
    'calibration': range(2, 4),
    'held out': range(4, 7),
    'train': range(7, 20),
}
_REPLICATES, _LEVEL = 2000, 0.95


def main(argv: Sequence[str] | None = None) -> None:
    """Measures and prints; also writes the figures to shift-TASK.json under --scratch."""
    args = quality.options(__doc__).parse_args(argv)
    console = Console(width=None if sys.stdout.isatty() else 160)
    configured = quality.plan(args.task, args.weights, args.set)
    sensitivity = config.load(
        str(quality.config_path(args.task)), args.set
    ).operating_point.sensitivity
    cohort = cohort_lib.load(args.data_root, configured.parameters.model.image_size)
    rows = split(cohort, test_list(args.data_root))
    logits = _logits(configured, cohort, rows, args.scratch)
    results = figures(cohort, TASKS[args.task].label, rows, logits, sensitivity)
    content = {name: [vars(figure) for figure in row] for name, row in results.items()}
    (args.scratch / f'shift-{args.task}.json').write_text(json.dumps(content, indent=1))
    console.print(table(results))


def split(cohort: Cohort, official: Set[str]) -> dict[str, np.ndarray]:
    """Split -> indices of its images; no patient is in two splits.

    Args:
      cohort: all images.
      official: the image ids of the official test list.

    Raises:
      SystemExit: the list has none or all of the images.
    """
    official_patients = {
        patient
        for image_id, patient in zip(cohort.ids, cohort.patients, strict=True)
        if image_id in official
    }
    is_official = np.isin(cohort.patients, list(official_patients))
    if not is_official.any() or is_official.all():
        raise SystemExit(
            f'{is_official.sum()} of {len(is_official)} images are on the official test list: '
            'expected some, but not all'
        )
    part = np.where(is_official, -1, metadata_model.folds(cohort.patients, 20, 0))
    return {'official test': np.flatnonzero(is_official)} | {
        name: np.flatnonzero(np.isin(part, list(parts))) for name, parts in _PARTS.items()
    }


def figures(
    cohort: Cohort,
    label: str,
    rows: dict[str, np.ndarray],
    logits: dict[str, np.ndarray],
    target: float,
) -> dict[str, tuple[Figure, ...]]:
    """Figure -> its values in each of GROUPS, and the last group minus the one before it.

    Args:
      cohort: all images.
      label: of the task.
      rows: group -> indices of its images.
      logits: group -> logits of its images, float [n].
      target: the sensitivity that the operating point is chosen for.
    """
    labels = {name: cohort.labels[label][indices] for name, indices in rows.items()}
    fitted = calibration.fit(logits['calibration'], labels['calibration'])
    scores = {name: fitted.apply(logits[name]) for name in GROUPS}
    point = calibration.choose_operating_point(scores['calibration'], labels['calibration'], target)
    statistics: dict[str, Statistic] = {}
    for name in GROUPS:
        flags = (scores[name] >= point.threshold).astype(float)
        cases = Cases(scores[name], flags, labels[name])
        bedside = (cohort.column('view_position')[rows[name]] == 'AP').astype(float)
        for figure, statistic in {
            'abnormal': bootstrap.average(labels[name].astype(float)),
            'AP films': bootstrap.average(bedside),
            'AUC': bootstrap.auc(scores[name], labels[name]),
            'sensitivity at the operating point': bootstrap.sensitivity(cases),
            'specificity at the operating point': bootstrap.specificity(cases),
            'mean probability over share of abnormal': bootstrap.calibration_ratio(cases),
            'expected calibration error': bootstrap.calibration_error(cases),
        }.items():
            statistics[f'{figure} / {name}'] = bootstrap.among(rows[name], statistic)
    names = list(dict.fromkeys(name.partition(' / ')[0] for name in statistics))
    _, held_out, official = GROUPS
    for name in names:
        statistics[f'{name} / difference'] = bootstrap.difference(
            statistics[f'{name} / {official}'], statistics[f'{name} / {held_out}']
        )
    values = bootstrap.figures(statistics, cohort.patients, _REPLICATES, _LEVEL)
    return {
        name: tuple(values[f'{name} / {column}'] for column in (*GROUPS, 'difference'))
        for name in names
    }


def table(results: dict[str, tuple[Figure, ...]]) -> Table:
    """A table with a row for each figure and a column for each group."""
    result = Table(box=None, pad_edge=False)
    for name in ('', *GROUPS, 'official test minus held out'):
        result.add_column(name, justify='right' if name else 'left')
    for name, row in results.items():
        result.add_row(name, *(_text(figure) for figure in row))
    return result


def _logits(
    plan: Plan, cohort: Cohort, rows: dict[str, np.ndarray], scratch: Path
) -> dict[str, np.ndarray]:
    """Group -> logits of the task's label; cached, like those of `cross_validation`."""
    # Another test list gives another training.
    groups = hashlib.sha256(b''.join(rows[name].tobytes() for name in sorted(rows))).hexdigest()[:8]
    path = scratch / 'folds' / f'{cross_validation.key(plan, cohort)}-shift-{groups}.npz'
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        batch_size = plan.parameters.train.batch_size
        with cross_validation.trained_network(plan, cohort, rows) as (network, splits):
            logits: dict[str, Any] = {
                name: training.predict_logits(network.model, splits[name], batch_size)[0][:, 0]
                for name in GROUPS
            }
        np.savez(path, **logits)
    return dict(np.load(path))


def _text(figure: Figure) -> str:
    if figure.value is None:
        return '–'
    return f'{figure.value:.3f}' + (
        '' if figure.lower is None else f'  ({figure.lower:.3f} – {figure.upper:.3f})'
    )


if __name__ == '__main__':
    main()
