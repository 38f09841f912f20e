"""Compares heat maps with the boxes that radiologists drew (BBox_List_2017).

    python -m experiments.heat_maps nih_triage --data-root DIR --weights PATH

The heat maps are of images that the network was not trained on. The networks are those of
`experiments.quality`, and finished folds are read from its scratch folder. The pointing game (Zhang
et al., "Top-down neural attention by excitation backprop", ECCV 2016) counts how often the highest
point of a map is in a box of its image. The IoU compares the boxes with the highest part of the map
that has the same area. Both are also measured for a map that does not depend on the image: the mean
map of the images without boxes.
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
_SIDE = 1024  # width and height in pixels of the images that the boxes were drawn on
_GRID = 128  # width and height of the grid on which maps and boxes are compared


@dataclasses.dataclass(frozen=True)
class Box:
    """A box: its finding, and left, top, width and height as shares of the image's side."""

    finding: str
    left: float
    top: float
    width: float
    height: float


def read_boxes(path: Path) -> dict[str, list[Box]]:
    """Reads NIH's list: image id -> boxes."""
    with gzip.open(path, 'rt', encoding='utf-8', newline='') as file:
        rows = list(csv.reader(file))[1:]
    boxes: dict[str, list[Box]] = {}
    for row in rows:
        boxes.setdefault(row[0], []).append(
            Box(row[1], *(float(value) / _SIDE for value in row[2:6]))
        )
    return boxes


def coverage(boxes: Sequence[Box]) -> np.ndarray:
    """Whether each point of the grid is in one of the boxes, bool [_GRID, _GRID]."""
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


def resized(maps: np.ndarray) -> np.ndarray:
    """Resizes maps [n, height, width] to the grid, float32 [n, _GRID, _GRID]."""
    return tf.image.resize(maps[..., None], [_GRID, _GRID]).numpy()[..., 0]


def hits(maps: np.ndarray, covered: np.ndarray) -> np.ndarray:
    """Whether the highest point of each map is in a box, 0/1 [n]."""
    flat = maps.reshape(len(maps), -1)
    return covered.reshape(len(maps), -1)[np.arange(len(maps)), flat.argmax(axis=1)].astype(float)


def overlaps(maps: np.ndarray, covered: np.ndarray) -> np.ndarray:
    """Intersection over union of the boxes and the highest points of each map, float64 [n]."""
    result = []
    for heat_map, in_box in zip(maps, covered, strict=True):
        highest = np.zeros(in_box.size, bool)
        highest[np.argsort(-heat_map.ravel(), kind='stable')[: in_box.sum()]] = True
        result.append((highest & in_box.ravel()).sum() / (highest | in_box.ravel()).sum())
    return np.array(result)


def main(argv: Sequence[str] | None = None) -> None:
    """Measures and prints; also writes the figures to heat-maps-TASK.json under --scratch."""
    args = quality.options(__doc__).parse_args(argv)
    console = Console(width=None if sys.stdout.isatty() else 160)
    configured = quality.plan(args.task, args.weights, args.set)
    cohort = cohort_lib.load(args.data_root, configured.parameters.model.image_size)
    boxes = read_boxes(args.data_root / BOXES)
    rows = np.array([row for row, image_id in enumerate(cohort.ids) if image_id in boxes])
    if not len(rows):
        raise SystemExit(f'{args.data_root / BOXES} has no box in an image of {args.data_root}')
    maps = cross_validation.predict(configured, cohort, args.scratch, console).maps
    results = figures(maps, rows, [boxes[cohort.ids[row]] for row in rows], cohort.patients)
    (args.scratch / f'heat-maps-{args.task}.json').write_text(
        json.dumps({name: vars(figure) for name, figure in results.items()}, indent=1)
    )
    console.print(f'{sum(len(boxes[cohort.ids[row]]) for row in rows)} boxes in {len(rows)} images')
    console.print(quality.table(results))


def figures(
    maps: np.ndarray, rows: np.ndarray, boxes: Sequence[Sequence[Box]], patients: np.ndarray
) -> dict[str, Figure]:
    """Name -> figure, with an interval by patient.

    Args:
      maps: of all images, [n, height, width].
      rows: indices of the images with boxes.
      boxes: of these images.
      patients: of all images, [n].
    """
    covered = np.stack([coverage(box) for box in boxes])
    own = resized(maps[rows])
    mean_map = resized(np.delete(maps, rows, axis=0).mean(axis=0)[None])
    mean_maps = np.repeat(mean_map, len(rows), axis=0)
    shares = {
        'pointing game': hits(own, covered),
        'pointing game, mean map': hits(mean_maps, covered),
        'IoU': overlaps(own, covered),
        'IoU, mean map': overlaps(mean_maps, covered),
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
