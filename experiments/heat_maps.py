"""Whether a network looks where radiologists drew boxes: BBox_List_2017 against the heat maps of
films that it was not trained on.

    python -m experiments.heat_maps nih_triage --data-root DIR --weights PATH

The networks are those of `experiments.quality` on the same films, taken from its scratch folder
where they are done. Pointing game (Zhang et al., "Top-down neural attention by excitation
backprop", ECCV 2016): how often the highest point of the map lies in a box of its film. IoU: of the
boxes and of as large a part of the map, its highest. Beside each stands what a map without
knowledge of the film would get: the mean map of the films without boxes.
"""

from __future__ import annotations

import csv
import dataclasses
import gzip
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')

import numpy as np
import tensorflow as tf
from rich.console import Console

from components.evaluator import bootstrap
from components.evaluator.bootstrap import Figure
from experiments import cohort as cohort_lib
from experiments import cross_validation, quality

BOXES = 'metadata/BBox_List_2017.csv.gz'
_SIDE = 1024  # pixels of the films that the boxes were drawn on
_GRID = 128  # on which maps and boxes are compared


@dataclasses.dataclass(frozen=True)
class Box:
    """A drawn box: the finding, and left, top, width and height as shares of the side."""

    finding: str
    left: float
    top: float
    width: float
    height: float


def read_boxes(path: Path) -> dict[str, list[Box]]:
    """Image id -> its boxes, from the list of the NIH release."""
    with gzip.open(path, 'rt', encoding='utf-8', newline='') as file:
        rows = list(csv.reader(file))[1:]
    found: dict[str, list[Box]] = {}
    for row in rows:
        found.setdefault(row[0], []).append(
            Box(row[1], *(float(value) / _SIDE for value in row[2:6]))
        )
    return found


def inside(boxes: Sequence[Box]) -> np.ndarray:
    """Which places lie in one of the boxes, bool [_GRID, _GRID]."""
    centres = (np.arange(_GRID) + 0.5) / _GRID
    columns, rows = centres[None, :], centres[:, None]
    covered = np.zeros((_GRID, _GRID), bool)
    for box in boxes:
        covered |= (
            (columns >= box.left)
            & (columns < box.left + box.width)
            & (rows >= box.top)
            & (rows < box.top + box.height)
        )
    return covered


def enlarged(maps: np.ndarray) -> np.ndarray:
    """Maps [n, height, width] on the grid, float32 [n, _GRID, _GRID], bilinear."""
    return tf.image.resize(maps[..., None], [_GRID, _GRID]).numpy()[..., 0]


def points(maps: np.ndarray, covered: np.ndarray) -> np.ndarray:
    """Whether the highest point of each map is covered, 0/1 [n]."""
    flat = maps.reshape(len(maps), -1)
    return covered.reshape(len(maps), -1)[np.arange(len(maps)), flat.argmax(axis=1)].astype(float)


def overlaps(maps: np.ndarray, covered: np.ndarray) -> np.ndarray:
    """Intersection over union of what is covered and of as many of the highest places of each map,
    float64 [n].
    """
    found = []
    for heat_map, box in zip(maps, covered, strict=True):
        highest = np.zeros(box.size, bool)
        highest[np.argsort(-heat_map.ravel(), kind='stable')[: box.sum()]] = True
        found.append((highest & box.ravel()).sum() / (highest | box.ravel()).sum())
    return np.array(found)


def main(argv: Sequence[str] | None = None) -> None:
    """Measures and prints; the figures are also in heat-maps-TASK.json under --scratch."""
    args = quality.options(__doc__).parse_args(argv)
    console = Console(width=None if sys.stdout.isatty() else 160)
    chosen = quality.plan(args.task, args.weights, args.set)
    cohort = cohort_lib.load(args.data_root, chosen.parameters.model.image_size)
    boxes = read_boxes(args.data_root / BOXES)
    rows = np.array([row for row, image_id in enumerate(cohort.ids) if image_id in boxes])
    if not len(rows):
        raise SystemExit(f'{args.data_root / BOXES} has no box on a film of {args.data_root}')
    maps = cross_validation.answers(chosen, cohort, args.scratch, console).maps
    found = figures(maps, rows, [boxes[cohort.ids[row]] for row in rows], cohort.patients)
    (args.scratch / f'heat-maps-{args.task}.json').write_text(
        json.dumps({name: vars(figure) for name, figure in found.items()}, indent=1)
    )
    console.print(f'{sum(len(boxes[cohort.ids[row]]) for row in rows)} boxes on {len(rows)} films')
    console.print(quality.table(found))


def figures(
    maps: np.ndarray, rows: np.ndarray, boxes: Sequence[Sequence[Box]], patients: np.ndarray
) -> dict[str, Figure]:
    """Name -> its figure, with an interval by patient.

    Args:
      maps: of all films, [n, height, width].
      rows: the films with boxes.
      boxes: theirs.
      patients: of all films, [n].
    """
    covered = np.stack([inside(box) for box in boxes])
    own = enlarged(maps[rows])
    others = enlarged(np.delete(maps, rows, axis=0).mean(axis=0)[None])
    blind = np.repeat(others, len(rows), axis=0)
    shares = {
        'pointing game': points(own, covered),
        'pointing game, mean map': points(blind, covered),
        'IoU': overlaps(own, covered),
        'IoU, mean map': overlaps(blind, covered),
        'share of the film in boxes': covered.mean(axis=(1, 2)),
    }

    statistics = {name: bootstrap.average(values) for name, values in shares.items()}
    for name in ('pointing game', 'IoU'):
        statistics[f'{name} above the mean map'] = bootstrap.difference(
            statistics[name], statistics[f'{name}, mean map']
        )
    return bootstrap.figures(statistics, patients[rows], 2000, 0.95)


if __name__ == '__main__':
    main()
