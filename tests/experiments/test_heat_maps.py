"""Heat maps compared with boxes: correct, wrong and mean maps get the expected figures."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from experiments import heat_maps
from experiments.heat_maps import Box

CORNER, MIDDLE = Box('Mass', 0.0, 0.0, 0.25, 0.5), Box('Nodule', 0.5, 0.5, 0.25, 0.25)


def _map(row: int, column: int) -> np.ndarray:
    heat_map = np.zeros((8, 8), np.float32)
    heat_map[row, column] = 1
    return heat_map


def test_boxes_are_read_as_shares_of_the_image(tmp_path: Path) -> None:
    path = tmp_path / 'boxes.csv.gz'
    lines = [
        'Image Index,Finding Label,Bbox [x,y,w,h],,,',
        'a.png,Mass,0.0,512,256.0,102.4',
        'b.png,Mass,1,2,3,4',
        'a.png,Nodule,512,0,512,512',
    ]
    path.write_bytes(gzip.compress('\n'.join(lines).encode()))
    boxes = heat_maps.read_boxes(path)
    assert boxes['a.png'] == [Box('Mass', 0.0, 0.5, 0.25, 0.1), Box('Nodule', 0.5, 0.0, 0.5, 0.5)]
    assert len(boxes) == 2


def test_coverage_of_boxes() -> None:
    covered = heat_maps.coverage([CORNER, MIDDLE])
    assert covered.mean() == pytest.approx(0.25 * 0.5 + 0.25 * 0.25)
    assert covered[0, 0] and covered[63, 31] and not covered[64, 0] and not covered[0, 32]
    assert covered[64, 64] and covered[95, 95] and not covered[96, 64]


@pytest.mark.parametrize(('row', 'column', 'hit'), [(1, 0, 1.0), (6, 6, 0.0), (5, 5, 1.0)])
def test_the_pointing_game(row: int, column: int, hit: float) -> None:
    maps = heat_maps.resized(_map(row, column)[None])
    assert heat_maps.hits(maps, heat_maps.coverage([CORNER, MIDDLE])[None]).tolist() == [hit]


def test_overlap_is_1_for_the_box_and_0_outside_of_it() -> None:
    box = heat_maps.coverage([MIDDLE])[None]
    assert heat_maps.overlaps(box.astype(float), box).tolist() == [1.0]
    assert heat_maps.overlaps(1.0 - box, box).tolist() == [0.0]
    shifted = np.roll(box, 16, axis=2)
    assert heat_maps.overlaps(shifted.astype(float), box) == pytest.approx([1 / 3])


def test_figures_compare_with_the_mean_map() -> None:
    """The maps of the images with boxes point at the box, and all other maps point elsewhere."""
    maps = np.stack([_map(1, 0), _map(5, 5), *[_map(7, 7)] * 8])
    figures = heat_maps.figures(
        maps,
        np.array([0, 1]),
        [[CORNER], [MIDDLE]],
        np.array([str(number) for number in range(10)]),
    )
    assert figures['pointing game'].value == 1
    assert figures['pointing game, mean map'].value == 0
    assert figures['pointing game above the mean map'].lower == 1
    assert figures['IoU'].value > 0.3 > figures['IoU, mean map'].value
    assert figures['share of the film in boxes'].value == pytest.approx((0.125 + 0.0625) / 2)
