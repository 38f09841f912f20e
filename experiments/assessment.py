"""Fits the weights of the service's gate, and checks them on a source that it was not fitted on.

    python -m experiments.assessment --data-root DIR --pediatric DIR

A logistic regression tells frontal chest X-rays from each other kind of image, on the patients that
`benchmarks.assessment` does not use. The weights go to serving/assessment/weights.json. Then it is
fitted again without the NIH images, and without the pediatric ones, and applied to those.
"""

from __future__ import annotations

import argparse
import json
import sys
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
# Evidence from which an image is refused: more than that of 99.9 % of the real images, also of a
# source that the model was not fitted on, except for crops of which that would miss too many.
LIMITS = {
    **dict.fromkeys(REASONS, 3.0),
    OTHER: 2.0,
    **dict.fromkeys(_CROPPED, 3.5),
}
_FROM_EACH_SET = 1_300
_VARIATIONS = 3
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
      varied: bool [n], whether the image was varied.
    """

    values: np.ndarray
    kinds: np.ndarray
    sources: np.ndarray
    varied: np.ndarray

    def where(self, rows: np.ndarray) -> Examples:
        """Some of them."""
        return Examples(self.values[rows], self.kinds[rows], self.sources[rows], self.varied[rows])


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
    examples = describe(
        [
            *_some([image for image in images.nih(args.data_root) if not image.is_held_out]),
            *_some([image for image in images.pediatric(args.pediatric) if not image.is_held_out]),
        ]
    )
    args.out.write_text(text(weights(fit(examples))), encoding='utf-8')
    console.print(_across_sources(examples))


def describe(real: Sequence[RealImage]) -> Examples:
    """Descriptions of real images, of what the changes make of them, and of drawn images."""
    groups = ordered_map(_describe_real, list(enumerate(real)), default_workers())
    rows = [row for group in track(groups, total=len(real), transient=True) for row in group]
    drawn = [(name, seed) for name in images.DRAWN for seed in range(_DRAWN)]
    rows += [
        (values, OTHER, '', False)
        for values in track(
            ordered_map(_describe_drawn, drawn, default_workers()),
            total=len(drawn),
            transient=True,
        )
    ]
    values, kinds, sources, varied = zip(*rows, strict=True)
    return Examples(np.stack(values), np.array(kinds), np.array(sources), np.array(varied))


def fit(examples: Examples) -> dict[str, tuple[np.ndarray, float]]:
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


def weights(fitted: dict[str, tuple[np.ndarray, float]]) -> dict:
    """The content of the file of weights."""
    return {
        name: {
            'reason': REASONS[name],
            'limit': LIMITS[name],
            'bias': round(bias, 4),
            'weights': [round(float(value), 4) for value in coefficients],
        }
        for name, (coefficients, bias) in fitted.items()
    }


def text(content: dict) -> str:
    """The text of the file of weights: a line for each kind."""
    lines = [f'{json.dumps(name)}: {json.dumps(kind)}' for name, kind in content.items()]
    return '{\n' + ',\n'.join(lines) + '\n}\n'


def _some(real: list[RealImage]) -> list[RealImage]:
    if len(real) <= _FROM_EACH_SET:
        return real
    chosen = np.random.default_rng(0).choice(len(real), _FROM_EACH_SET, replace=False)
    return [real[row] for row in sorted(chosen)]


Row = tuple[np.ndarray, str, str, bool]


def _describe_real(item: tuple[int, RealImage]) -> list[Row]:
    number, real = item
    rng = np.random.default_rng([1, number])
    image = real.open().resize((images.SIDE, images.SIDE), images.Image.Resampling.BOX)
    rows = [(_describe(image), FRONTAL, real.source, False)]
    for _ in range(_VARIATIONS):
        rows.append((_describe(images.variation(image, rng)), FRONTAL, real.source, True))
    for name, change in images.CHANGES.items():
        varied = bool(rng.random() < 0.6)
        start = images.variation(image, rng) if varied else image
        rows.append((_describe(change(start, rng)), name, real.source, varied))
    return rows


def _describe_drawn(item: tuple[str, int]) -> np.ndarray:
    name, seed = item
    rng = np.random.default_rng([2, seed, list(images.DRAWN).index(name)])
    return _describe(images.DRAWN[name](rng))


def _describe(image: images.Image.Image) -> np.ndarray:
    return descriptors.describe(images.reduced(image).grey)


def _across_sources(examples: Examples) -> Table:
    """A table of the shares that are refused with each reason, of a set that was left out."""
    result = Table(box=None, pad_edge=False)
    for name in ('fitted without', 'applied to', 'refused', *dict.fromkeys(REASONS.values())):
        result.add_column(name, justify='left' if name.startswith(('f', 'ap')) else 'right')
    for prefix in ('NIH', 'pediatric'):
        is_left_out = np.char.startswith(examples.sources, prefix)
        fitted = fit(examples.where(~is_left_out))
        left_out = examples.where(is_left_out & ~examples.varied)
        for kind in (FRONTAL, *REASONS):
            values = left_out.values[left_out.kinds == kind]
            if not len(values):
                continue
            excess = {
                name: values @ coefficients + bias - LIMITS[name]
                for name, (coefficients, bias) in fitted.items()
            }
            refused = np.max(list(excess.values()), axis=0) > 0
            shares = [
                np.mean(np.max([excess[n] for n in REASONS if REASONS[n] == reason], axis=0) > 0)
                for reason in dict.fromkeys(REASONS.values())
            ]
            cells = [f'{share:.3f}' for share in (refused.mean(), *shares)]
            result.add_row(prefix, f'{prefix}, {kind}', *cells)
    return result


if __name__ == '__main__':
    main()
