"""What is left of a calibration and of an operating point where films are others than those that
they were chosen on.

    python -m experiments.shift nih_triage --data-root DIR --weights PATH

The official test list of NIH ChestX-ray14 holds more abnormal and more bedside films than the list
for training. A network is trained on patients of the latter, calibrated and given its operating
point on others of these, and asked about still others, and about the official test films. Intervals
are by patient, as are those of the differences.
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
from pipeline import config
from records import side_files
from records.data_root import scan
from records.metadata import read_list
from records.spelling import ImageNames
from trainer import calibration, training
from trainer.tasks import TASKS

GROUPS = ('calibration', 'held out', 'official test')
# Patients of the list for training, in twentieths: 13 to train with.
_PARTS = {
    'val': range(2),
    'calibration': range(2, 4),
    'held out': range(4, 7),
    'train': range(7, 20),
}
_REPLICATES, _LEVEL = 2000, 0.95


def main(argv: Sequence[str] | None = None) -> None:
    """Measures and prints; the figures are also in shift-TASK.json under --scratch."""
    args = quality.options(__doc__).parse_args(argv)
    console = Console(width=None if sys.stdout.isatty() else 160)
    chosen = quality.plan(args.task, args.weights, args.set)
    sensitivity = config.load(
        str(quality.config_of(args.task)), args.set
    ).operating_point.sensitivity
    cohort = cohort_lib.load(args.data_root, chosen.parameters.model.image_size)
    places = split(cohort, test_list(args.data_root))
    logits = _logits(chosen, cohort, places, args.scratch)
    found = figures(cohort, TASKS[args.task].label, places, logits, sensitivity)
    content = {name: [vars(figure) for figure in row] for name, row in found.items()}
    (args.scratch / f'shift-{args.task}.json').write_text(json.dumps(content, indent=1))
    console.print(table(found))


def test_list(root: Path) -> ImageNames:
    """The official test list of a data root.

    Raises:
      DataRootError, MetadataError: it is not there, or cannot be used.
    """
    path = side_files.resolve(side_files.TEST_LIST, side_files.AUTO, scan(str(root)))
    return read_list(str(root / (path or '')))


def split(cohort: Cohort, official: Set[str]) -> dict[str, np.ndarray]:
    """Split -> the places of its films; no patient is in two.

    Args:
      cohort: all films.
      official: the image ids of the official test list.

    Raises:
      SystemExit: it names none of the films.
    """
    of_list = {
        patient
        for image_id, patient in zip(cohort.ids, cohort.patients, strict=True)
        if image_id in official
    }
    outside = np.isin(cohort.patients, list(of_list))
    if not outside.any() or outside.all():
        raise SystemExit(
            f'of {len(outside)} films {outside.sum()} are on the official test list: some have to '
            'be, and others not'
        )
    part = np.where(outside, -1, metadata_model.folds(cohort.patients, 20, 0))
    return {'official test': np.flatnonzero(outside)} | {
        name: np.flatnonzero(np.isin(part, list(parts))) for name, parts in _PARTS.items()
    }


def figures(
    cohort: Cohort,
    label: str,
    places: dict[str, np.ndarray],
    logits: dict[str, np.ndarray],
    target: float,
) -> dict[str, tuple[Figure, ...]]:
    """Row of the table -> its figure for each of GROUPS, and by how much the last is above the one
    before it.

    Args:
      cohort: all films.
      label: of the task.
      places: of the films of each group.
      logits: theirs, float [n].
      target: the sensitivity that the operating point is chosen for.
    """
    truth = {name: cohort.labels[label][rows] for name, rows in places.items()}
    fitted = calibration.fit(logits['calibration'], truth['calibration'])
    said = {name: fitted.apply(logits[name]) for name in GROUPS}
    point = calibration.choose_operating_point(said['calibration'], truth['calibration'], target)
    statistics: dict[str, Statistic] = {}
    for name in GROUPS:
        cases = Cases(said[name], (said[name] >= point.threshold).astype(float), truth[name])
        bedside = (cohort.column('view_position')[places[name]] == 'AP').astype(float)
        for row, statistic in {
            'abnormal': bootstrap.average(truth[name].astype(float)),
            'AP films': bootstrap.average(bedside),
            'AUC': bootstrap.auc(said[name], truth[name]),
            'sensitivity at the operating point': bootstrap.sensitivity(cases),
            'specificity at the operating point': bootstrap.specificity(cases),
            'mean probability over share of abnormal': bootstrap.calibration_ratio(cases),
            'expected calibration error': bootstrap.calibration_error(cases),
        }.items():
            statistics[f'{row} / {name}'] = bootstrap.among(places[name], statistic)
    rows = list(dict.fromkeys(name.partition(' / ')[0] for name in statistics))
    _, inside, outside = GROUPS
    for row in rows:
        statistics[f'{row} / difference'] = bootstrap.difference(
            statistics[f'{row} / {outside}'], statistics[f'{row} / {inside}']
        )
    found = bootstrap.figures(statistics, cohort.patients, _REPLICATES, _LEVEL)
    return {
        row: tuple(found[f'{row} / {column}'] for column in (*GROUPS, 'difference')) for row in rows
    }


def table(found: dict[str, tuple[Figure, ...]]) -> Table:
    """A row a figure, a column a group of films."""
    shown = Table(box=None, pad_edge=False)
    for name in ('', *GROUPS, 'official test less held out'):
        shown.add_column(name, justify='right' if name else 'left')
    for name, row in found.items():
        shown.add_row(name, *(_text(figure) for figure in row))
    return shown


def _logits(
    plan: Plan, cohort: Cohort, places: dict[str, np.ndarray], scratch: Path
) -> dict[str, np.ndarray]:
    """Those of the task's label for each group; kept, as those of `cross_validation` are."""
    # Another test list is another training.
    groups = hashlib.sha256(
        b''.join(places[name].tobytes() for name in sorted(places))
    ).hexdigest()[:8]
    kept = scratch / 'folds' / f'{cross_validation.key(plan, cohort)}-shift-{groups}.npz'
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        batch = plan.parameters.train.batch_size
        with cross_validation.trained(plan, cohort, places) as (network, splits):
            answers: dict[str, Any] = {
                name: training.predict_logits(network.model, splits[name], batch)[0][:, 0]
                for name in GROUPS
            }
        np.savez(kept, **answers)
    return dict(np.load(kept))


def _text(figure: Figure) -> str:
    if figure.value is None:
        return '–'
    return f'{figure.value:.3f}' + (
        '' if figure.lower is None else f'  ({figure.lower:.3f} – {figure.upper:.3f})'
    )


if __name__ == '__main__':
    main()
