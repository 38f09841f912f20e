"""Writes large synthetic data sets quickly, as 600x600 JPEGs of real size in the NIH layout.

Drawing an image takes 50 ms, so 112,120 of them take hours. This module draws some thousand images.
Every record is a retake of one of them, with the same view and both normal or both abnormal, but
with another position, exposure and grain, so that no two have the same pixels. The images are for
measuring speed and memory, not for training useful models.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from records.parallel import default_workers, ordered_map
from records.synth import population, rendering
from records.synth.dataset import SynthSummary, write_dataset
from records.synth.population import LabelledStudy

SIZE = 600
_SEED = 7
DRAWN = 2_000  # number of images to draw; with more, fewer records look alike
_FILE = 'drawn.npy'


def write(
    out: Path, count: int, on_progress: Callable[[int], None] | None = None, drawn: int = DRAWN
) -> SynthSummary:
    """Writes a data root of `count` records to `out`; the same arguments give the same bytes.

    Args:
      out: the data root.
      count: records.
      on_progress: called with the number of records written so far.
      drawn: number of images to draw: enough for normal and abnormal ones of both views.

    Raises:
      SynthError: `out` has records that are not synthetic.
      OSError: writing fails.
    """
    out.mkdir(parents=True, exist_ok=True)
    studies = population.draw(drawn, _SEED, 0.0)
    indices = defaultdict(list)
    for index, study in enumerate(studies):
        indices[_kind(study)].append(index)
    try:
        np.save(out / _FILE, np.stack(list(ordered_map(_draw, studies, default_workers()))))
        return write_dataset(
            out,
            count,
            _SEED,
            overwrite=True,
            on_progress=on_progress,
            jpeg=Retake(str(out / _FILE), dict(indices)),
        )
    finally:
        (out / _FILE).unlink(missing_ok=True)


@dataclass(frozen=True)
class Retake:
    """A retake of a drawn image: another position, rotation, exposure and grain.

    Attributes:
      path: the file with the drawn images, uint8 [images, SIZE, SIZE]. It is memory-mapped, so that
        all workers share it.
      indices: kind of study -> indices of its images.
    """

    path: str
    indices: dict[tuple[bool, str], list[int]]

    def __call__(self, study: LabelledStudy) -> bytes:
        rng = np.random.default_rng([_SEED, study.study.patient, study.study.number])
        indices = self.indices[_kind(study)]
        image = Image.fromarray(_drawn_images(self.path)[indices[rng.integers(len(indices))]])
        angle, scale = rng.uniform(-0.2, 0.2), rng.uniform(0.8, 1.15)
        a, b = scale * np.cos(angle), scale * np.sin(angle)
        x, y = (
            SIZE / 2 * (1 - a - b) + rng.uniform(-60, 60),
            SIZE / 2 * (1 + b - a) + rng.uniform(-60, 60),
        )
        image = image.transform(
            (SIZE, SIZE), Image.Transform.AFFINE, (a, b, x, -b, a, y), Image.Resampling.BILINEAR
        )
        levels = 255 * (np.arange(256) / 255) ** rng.uniform(0.8, 1.25)
        pixels = np.asarray(image.point(levels.astype(np.uint8).tolist())).astype(np.int16)
        pixels += np.roll(_grain(), (int(rng.integers(SIZE)), int(rng.integers(SIZE))), (0, 1))
        return rendering.encode_jpeg(np.clip(pixels, 0, 255).astype(np.uint8))


def _kind(study: LabelledStudy) -> tuple[bool, str]:
    return bool(study.study.findings), study.study.view


def _draw(study: LabelledStudy) -> np.ndarray:
    return rendering.render(study.study, _SEED, SIZE)


@lru_cache(maxsize=1)
def _drawn_images(path: str) -> np.ndarray:
    return np.load(path, mmap_mode='r')


@lru_cache(maxsize=1)
def _grain() -> np.ndarray:
    return np.random.default_rng(_SEED).normal(0, 1, (SIZE, SIZE)).round().astype(np.int16)
