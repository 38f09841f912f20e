"""Fits the weights of the service's gate, and checks them on a source that it was not fitted on.

    python -m experiments.assessment --data-root DIR --pediatric DIR

A logistic regression tells frontal chest X-rays from each other kind of image, on the patients that
`benchmarks.assessment` does not use. The limits of the evidence are found by cross-validation on
the same patients. Both go to serving/assessment/weights.json. Then it is fitted again without the
NIH images, and without the pediatric ones, and applied to those with the same limits.
"""

from __future__ import annotations

import argparse
import json
import sys
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table
from sklearn.linear_model import LogisticRegression

from experiments import assessment_images as images
from experiments.assessment_images import RealImage
from records.parallel import default_workers, ordered_map
from schemas import not_assessed
from serving.assessment import descriptors, gate

FRONTAL, OTHER = 'frontal', 'other'
_CROPPED = tuple(f'only_{part}' for part in images.PARTS)
REASONS = {
    'inverted': not_assessed.INVERTED,
    'turned_left': not_assessed.ROTATED,
    'turned_right': not_assessed.ROTATED,
    'upside_down': not_assessed.ROTATED,
    OTHER: not_assessed.NOT_CHEST,
    **dict.fromkeys(_CROPPED, not_assessed.CROPPED),
}
# Beginnings of the names of sources.
_SETS = ('NIH', 'pediatric')
# Share of the real images of each set that the limit of a reason accepts.
_ACCEPTED = 0.999
# Another kind has to be seven times as likely. A lower limit finds more of it, but also refuses
# more chests of a set that is not in the fit.
_SMALLEST_LIMIT = 2.0
_FOLDS = 5
_FROM_EACH_SET = 1_300
# Of each real image: varied ones, and those with each change.
_VARIATIONS, _CHANGED = 6, 2
_DRAWN = 500
# Descriptors that hardly vary must not get large weights.
_SMALLEST_SPREAD = 0.05


@dataclass(frozen=True)
class Examples:
    """n descriptions of images.

    Attributes:
      values: float32 [n, descriptors.LENGTH].
      kinds: str [n].
      sources: str [n]; '' for a drawn image.
      patients: str [n]; each drawn image has its own.
      varied: bool [n], whether the image was varied.
    """

    values: np.ndarray
    kinds: np.ndarray
    sources: np.ndarray
    patients: np.ndarray
    varied: np.ndarray

    def where(self, rows: np.ndarray) -> Examples:
        """Some of them."""
        return Examples(
            self.values[rows],
            self.kinds[rows],
            self.sources[rows],
            self.patients[rows],
            self.varied[rows],
        )

    def is_whole(self, name: str) -> np.ndarray:
        """Rows of the real images of a set as they are."""
        is_real = (self.kinds == FRONTAL) & ~self.varied
        return is_real & np.char.startswith(self.sources, name)


def main(argv: Sequence[str] | None = None) -> None:
    """Fits, writes and prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--data-root', type=Path, required=True, help='NIH images')
    parser.add_argument('--pediatric', type=Path, required=True, help='folder of the set')
    parser.add_argument('--out', type=Path, default=gate.WEIGHTS, help='the file of weights')
    args = parser.parse_args(argv)
    console = Console(width=None if sys.stdout.isatty() else 160)
    real = (*images.nih(args.data_root), *images.pediatric(args.pediatric))
    fitted_on = [image for image in real if not image.is_held_out and not image.flaw]
    examples = describe(
        [
            image
            for name in _SETS
            for image in _some([image for image in fitted_on if image.source.startswith(name)])
        ]
    )
    limits = find_limits(examples)
    args.out.write_text(text(limits, fit(examples)), encoding='utf-8')
    console.print({reason: round(limit, 2) for reason, limit in limits.items()})
    console.print(_across_sources(examples, limits))


def describe(real: Sequence[RealImage]) -> Examples:
    """Descriptions of real images, of what the changes make of them, and of drawn images."""
    groups = ordered_map(_describe_real, list(enumerate(real)), default_workers())
    rows = [row for group in track(groups, total=len(real), transient=True) for row in group]
    drawn = [(name, seed) for name in images.DRAWN for seed in range(_DRAWN)]
    rows += [
        (values, OTHER, '', f'{name} {seed}', False)
        for (name, seed), values in zip(
            track(drawn, transient=True),
            ordered_map(_describe_drawn, drawn, default_workers()),
            strict=True,
        )
    ]
    values, *others = zip(*rows, strict=True)
    return Examples(np.stack(values), *map(np.array, others))


# Kind -> weights and bias.
Fitted = dict[str, tuple[np.ndarray, float]]


def fit(examples: Examples) -> Fitted:
    """Kind -> weights and bias of its evidence against `frontal`."""
    mean = examples.values.mean(axis=0)
    scale = examples.values.std(axis=0) + _SMALLEST_SPREAD
    model = LogisticRegression(C=0.02, max_iter=100, tol=1e-3)
    model.fit((examples.values - mean) / scale, examples.kinds)
    rows = {
        name: (model.coef_[row], model.intercept_[row]) for row, name in enumerate(model.classes_)
    }
    result = {}
    for name in REASONS:
        coefficients = (rows[name][0] - rows[FRONTAL][0]) / scale
        bias = rows[name][1] - rows[FRONTAL][1] - coefficients @ mean
        result[name] = coefficients, float(bias)
    return result


def highest_evidence(fitted: Fitted, values: np.ndarray) -> dict[str, np.ndarray]:
    """Reason -> the highest evidence of its kinds, float64 [n]."""
    evidence = {name: values @ row + bias for name, (row, bias) in fitted.items()}
    return {
        reason: np.max([evidence[name] for name in REASONS if REASONS[name] == reason], axis=0)
        for reason in REASONS.values()
    }


def find_limits(examples: Examples) -> dict[str, float]:
    """Reason -> the limit that accepts `_ACCEPTED` of each set, if no patient was in the fit."""
    folds = np.array([zlib.crc32(name.encode()) // 2 % _FOLDS for name in examples.patients])
    highest = {reason: np.empty(len(folds)) for reason in REASONS.values()}
    for fold in range(_FOLDS):
        rows = folds == fold
        for reason, values in highest_evidence(
            fit(examples.where(~rows)), examples.values[rows]
        ).items():
            highest[reason][rows] = values
    rows_of_sets = [examples.is_whole(name) for name in _SETS]
    return {
        reason: max(
            _SMALLEST_LIMIT,
            *(float(np.quantile(values[rows], _ACCEPTED)) for rows in rows_of_sets),
        )
        for reason, values in highest.items()
    }


def text(limits: dict[str, float], fitted: Fitted) -> str:
    """The text of the file of weights: a line for each kind."""
    kinds = {
        name: {
            'reason': REASONS[name],
            'limit': round(limits[REASONS[name]], 2),
            'bias': round(bias, 4),
            'weights': [round(float(value), 4) for value in coefficients],
        }
        for name, (coefficients, bias) in fitted.items()
    }
    lines = [f'{json.dumps(name)}: {json.dumps(kind)}' for name, kind in kinds.items()]
    return '{\n' + ',\n'.join(lines) + '\n}\n'


def _some(real: list[RealImage]) -> list[RealImage]:
    if len(real) <= _FROM_EACH_SET:
        return real
    chosen = np.random.default_rng(0).choice(len(real), _FROM_EACH_SET, replace=False)
    return [real[row] for row in sorted(chosen)]


Row = tuple[np.ndarray, str, str, str, bool]


def _describe_real(item: tuple[int, RealImage]) -> list[Row]:
    number, real = item
    rng = np.random.default_rng([1, number])
    image = real.open().resize((images.SIDE, images.SIDE), images.Image.Resampling.BOX)

    def row(changed: images.Image.Image, kind: str, varied: bool) -> Row:
        return (_describe(changed), kind, real.source, real.patient, varied)

    rows = [row(image, FRONTAL, False)]
    rows += [row(images.variation(image, rng), FRONTAL, True) for _ in range(_VARIATIONS)]
    for name, change in images.CHANGES.items():
        for _ in range(_CHANGED):
            varied = bool(rng.random() < 0.6)
            start = images.variation(image, rng) if varied else image
            rows.append(row(change(start, rng), name, varied))
    return rows


def _describe_drawn(item: tuple[str, int]) -> np.ndarray:
    name, seed = item
    rng = np.random.default_rng([2, seed, list(images.DRAWN).index(name)])
    return _describe(images.DRAWN[name](rng))


def _describe(image: images.Image.Image) -> np.ndarray:
    return descriptors.describe(images.reduced(image).grey)


def _across_sources(examples: Examples, limits: dict[str, float]) -> Table:
    """A table of the shares that are refused, of a set that was left out."""
    result = Table('fitted without', 'applied to', 'refused', box=None, pad_edge=False)
    for name in _SETS:
        is_left_out = np.char.startswith(examples.sources, name)
        fitted = fit(examples.where(~is_left_out))
        left_out = examples.where(is_left_out & ~examples.varied)
        highest = highest_evidence(fitted, left_out.values)
        is_refused = np.any([highest[reason] > limits[reason] for reason in highest], axis=0)
        for kind in (FRONTAL, *images.CHANGES):
            share = is_refused[left_out.kinds == kind].mean()
            result.add_row(name, f'{name}, {kind}', f'{share:.3f}')
    return result


if __name__ == '__main__':
    main()
