"""The gallery of an evaluation: which test images it shows, and where their pictures are.

The `evaluation` artifact has one Parquet file with a row for each image that the gallery shows, see
`SCHEMA`. Its pictures stay when the records no longer exist.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

import storage
from components.evaluator.predictions import LABEL, SERVED
from schemas import image_status
from schemas.features import AGE_BAND, SEX, VIEW
from schemas.labels import FINDINGS
from schemas.signatures import FLAG, HEAT_MAP, PROBABILITY, STATUS

if TYPE_CHECKING:
    import pandas as pd

FILE = 'gallery.parquet'
MISSED, FALSE_ALARM, BORDERLINE, CHANGED = 'missed', 'false_alarm', 'borderline', 'changed'
KINDS = (MISSED, FALSE_ALARM, BORDERLINE, CHANGED)
ROW, THUMBNAIL, HEAT_MAP_WIDTH = 'row', 'thumbnail', 'heat_map_width'
SCHEMA = pa.schema(
    {
        # Position of the image in `predictions.read`.
        ROW: pa.int32(),
        # Position of the image in each kind, from 0; null if it is not shown there.
        **dict.fromkeys(KINDS, pa.int32()),
        # A JPEG; null if the image does not decode, or if several records have its id.
        THUMBNAIL: pa.binary(),
        # Row by row, see `schemas.signatures.EXPLAIN`; null if the model has no heat map.
        HEAT_MAP: pa.list_(pa.float32()),
        HEAT_MAP_WIDTH: pa.int16(),
    }
)
# How many images of a kind the gallery shows, and how many of each sex, view, age band and finding,
# so that a reader who looks for one of them finds some.
FIRST, FIRST_IN_GROUP = 24, 8


def ranked(kept: pd.DataFrame) -> dict[str, np.ndarray]:
    """The positions of the images of each kind, the most telling one first.

    - missed: positive and not flagged, the lowest probability first;
    - false_alarm: negative and flagged, the highest probability first;
    - borderline: all images, the one nearest to the operating point first;
    - changed: flagged by only one of candidate and served model, the largest change first.

    Images that a model did not assess have no probability of their own, and are in no kind.

    Args:
      kept: of `predictions.read`.

    Returns:
      Kind -> int [images of that kind].
    """
    probability, flag = kept[PROBABILITY].to_numpy(float), kept[FLAG].to_numpy(float)
    positive, is_usable = kept[LABEL].to_numpy(float) == 1, usable(kept)
    kinds = {
        MISSED: _sorted(is_usable & positive & (flag == 0), probability),
        FALSE_ALARM: _sorted(is_usable & ~positive & (flag == 1), -probability),
        BORDERLINE: _sorted(is_usable, _distance(probability, flag, is_usable)),
        CHANGED: np.array([], int),
    }
    if SERVED + FLAG in kept:
        changed = is_usable & usable(kept, SERVED) & (kept[SERVED + FLAG].to_numpy(float) != flag)
        change = np.abs(probability - kept[SERVED + PROBABILITY].to_numpy(float))
        kinds[CHANGED] = _sorted(changed, -change)
    return kinds


def usable(kept: pd.DataFrame, prefix: str = '') -> np.ndarray:
    """Whether a model assessed each image, and the image has a label: bool [images].

    Args:
      kept: of `predictions.read`.
      prefix: of the columns of the model: '' for the candidate, or SERVED.
    """
    # Models of an earlier version have no status.
    is_assessed = kept[prefix + STATUS].isna() | (kept[prefix + STATUS] == image_status.OK)
    is_complete = kept[[LABEL, prefix + FLAG, prefix + PROBABILITY]].notna().all(axis=1)
    return (is_assessed & is_complete).to_numpy()


def choose(kept: pd.DataFrame) -> dict[str, list[int]]:
    """The positions of the images of each kind that the gallery shows, in the order of `ranked`.

    These are the first FIRST, and the first FIRST_IN_GROUP of each group.

    Args:
      kept: of `predictions.read`.
    """
    groups = list(_groups(kept))
    chosen = {}
    for kind, positions in ranked(kept).items():
        first = set(positions[:FIRST].tolist())
        for group in groups:
            first.update(positions[group[positions]][:FIRST_IN_GROUP].tolist())
        chosen[kind] = [position for position in positions.tolist() if position in first]
    return chosen


def read(folder: str) -> pd.DataFrame | None:
    """The gallery of an `evaluation` artifact, see `SCHEMA`; None for an earlier version's.

    Raises:
      OSError, pyarrow.ArrowException: it cannot be read.
    """
    import pyarrow.parquet as pq

    path = storage.join(folder, FILE)
    if not storage.exists(path):
        return None
    table = pq.read_table(pa.BufferReader(storage.read_bytes(path)))
    # Whole numbers that may be missing stay whole.
    return table.to_pandas(integer_object_nulls=True)


def _sorted(mask: np.ndarray, key: np.ndarray) -> np.ndarray:
    positions = np.flatnonzero(mask)
    return positions[np.argsort(key[positions], kind='stable')]


def _distance(probability: np.ndarray, flag: np.ndarray, is_usable: np.ndarray) -> np.ndarray:
    """How far each probability is from the operating point.

    The predictions do not say where it is. It lies between the highest probability without a flag
    and the lowest with one.
    """
    below, above = probability[is_usable & (flag == 0)], probability[is_usable & (flag == 1)]
    low, high = below.max(initial=0.0), above.min(initial=1.0)
    return np.abs(probability - (low + high) / 2)


def _groups(kept: pd.DataFrame) -> Iterator[np.ndarray]:
    for feature in (SEX, VIEW, AGE_BAND):
        for value in kept[feature].dropna().unique():
            yield (kept[feature] == value).to_numpy()
    for finding in FINDINGS:
        # An evaluation of an earlier version has only the findings of its task.
        if finding in kept:
            yield (kept[finding] == 1).to_numpy()
