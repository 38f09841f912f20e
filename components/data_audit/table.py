"""Image records as columns: what the checks compute on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from components.data_audit.inspection import SIDE
from components.data_audit.reading import ImageRecord, Shard
from schemas.labels import LABELS

_DARK = 8  # grey levels up to which a border counts as black
_BORDER = 2  # width of the border in thumbnail pixels
_BATCH = 4096

# Left half of an 8x8 template, mirrored to the right: linear discriminant between chest films and
# their negatives, from 1,948 NIH films (shrunk covariance; each film also mirrored). Dark corners,
# a bright spine and abdomen count for the right polarity.
_POLARITY_HALF = (
    (-29, -18, -5, 1),
    (-4, -4, -13, 10),
    (-3, 0, -11, -2),
    (1, -3, -8, 1),
    (-3, -4, -4, 10),
    (-8, -3, 3, 25),
    (-7, -6, 15, 38),
    (-6, 2, 13, 22),
)

# Numbers of an Inspection that become float columns.
_NUMBERS = (
    'width',
    'height',
    'channels',
    'quality',
    'mean',
    'std',
    'low',
    'high',
    'black',
    'white',
    'span',
)


@dataclass
class Table:
    """Columns of n images, sorted by split, file and record.

    Attributes:
      shards: number -> Shard.
      shard, index: int [n]; split, image_id, patient, sex, view, source, format, mode, problem,
      detail: object [n]. age, task: int [n]; labels: int8 [n, 15], -1 missing; size: int [n] bytes.
      decoded: bool [n].
      number: name -> float64 [n], NaN where not decoded: `width`, `height`, `channels`, `quality`,
        `mean`, `std`, `low`, `high`, `black`, `white`, `span`, and from the thumbnail
        `border_black` and `polarity` (likeness to a chest film, -1..1; an inverted film has the
        score of the film, negated).
      pixel_hash, byte_hash: object [n], b'' where not decoded.
      thumbnails: uint8 [n, SIDE, SIDE].
      features: names of features, of the first record of each file.
    """

    shards: dict[int, Shard]
    shard: np.ndarray
    index: np.ndarray
    split: np.ndarray
    image_id: np.ndarray
    patient: np.ndarray
    sex: np.ndarray
    view: np.ndarray
    source: np.ndarray
    format: np.ndarray
    mode: np.ndarray
    problem: np.ndarray
    detail: np.ndarray
    age: np.ndarray
    task: np.ndarray
    labels: np.ndarray
    size: np.ndarray
    decoded: np.ndarray
    number: dict[str, np.ndarray]
    pixel_hash: np.ndarray
    byte_hash: np.ndarray
    thumbnails: np.ndarray
    features: frozenset[str]

    def __len__(self) -> int:
        return len(self.shard)


def build(records: Sequence[ImageRecord], shards: Sequence[Shard]) -> Table:
    """The table of `records`, whose order does not matter."""
    by_number = {shard.number: shard for shard in shards}
    rows = sorted(records, key=lambda row: (row.shard, row.index))
    seen = [row.inspection for row in rows]
    thumbnails = np.zeros((len(rows), SIDE, SIDE), dtype=np.uint8)
    for place, inspection in enumerate(seen):
        if inspection:
            thumbnails[place] = np.frombuffer(inspection.thumbnail, dtype=np.uint8).reshape(
                SIDE, SIDE
            )
    number = {
        name: np.array([float(getattr(one, name)) if one else np.nan for one in seen])
        for name in _NUMBERS
    }
    decoded = np.array([one is not None for one in seen], dtype=bool)
    number['border_black'] = np.where(decoded, border_black(thumbnails), np.nan)
    number['polarity'] = np.where(decoded, polarity(thumbnails), np.nan)

    def texts(values) -> np.ndarray:
        return np.array([*values, None], dtype=object)[:-1]

    return Table(
        shards=by_number,
        shard=np.array([row.shard for row in rows], dtype=np.int64),
        index=np.array([row.index for row in rows], dtype=np.int64),
        split=texts(by_number[row.shard].split for row in rows),
        image_id=texts(row.image_id for row in rows),
        patient=texts(row.patient for row in rows),
        sex=texts(row.sex for row in rows),
        view=texts(row.view for row in rows),
        source=texts(one.source if one else '' for one in seen),
        format=texts(one.format if one else '' for one in seen),
        mode=texts(one.mode if one else '' for one in seen),
        problem=texts(row.problem for row in rows),
        detail=texts(row.detail for row in rows),
        age=np.array([row.age for row in rows], dtype=np.int64),
        task=np.array([row.task for row in rows], dtype=np.int64),
        labels=np.array([row.labels for row in rows], dtype=np.int8).reshape(
            len(rows), len(LABELS)
        ),
        size=np.array([row.size for row in rows], dtype=np.int64),
        decoded=decoded,
        number=number,
        pixel_hash=texts(one.pixel_hash if one else b'' for one in seen),
        byte_hash=texts(one.byte_hash if one else b'' for one in seen),
        thumbnails=thumbnails,
        features=frozenset(name for row in rows for name in row.features),
    )


def concatenate(parts: Sequence[Table]) -> Table:
    """One table of all rows of one or more others, whatever their order."""
    shard, index = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ('shard', 'index')
    )
    place = np.empty(len(shard), dtype=np.int64)
    place[np.lexsort((index, shard))] = np.arange(len(shard))

    def column(values: Sequence[np.ndarray]) -> np.ndarray:
        # Filled in place: with the thumbnails of the full set, a copy more is a quarter of a
        # gigabyte.
        joined = np.empty((len(place), *values[0].shape[1:]), dtype=values[0].dtype)
        start = 0
        for value in values:
            joined[place[start : start + len(value)]] = value
            start += len(value)
        return joined

    arrays = [
        each.name for each in fields(Table) if each.name not in ('shards', 'number', 'features')
    ]
    return Table(
        shards={number: shard for part in parts for number, shard in part.shards.items()},
        number={name: column([part.number[name] for part in parts]) for name in parts[0].number},
        features=frozenset().union(*(part.features for part in parts)),
        **{name: column([getattr(part, name) for part in parts]) for name in arrays},
    )


def border_black(thumbnails: np.ndarray) -> np.ndarray:
    """Share of the outer ring (2/48 of the side) that is black; uint8 [n, SIDE, SIDE] -> float
    [n].
    """
    ring = np.ones((SIDE, SIDE), dtype=bool)
    ring[_BORDER:-_BORDER, _BORDER:-_BORDER] = False
    return (thumbnails[:, ring] <= _DARK).mean(axis=1)


def polarity(thumbnails: np.ndarray) -> np.ndarray:
    """Correlation with the template of a chest film; uint8 [n, SIDE, SIDE] -> float [n], -1..1, 0
    for a plain image.
    """
    half = np.array(_POLARITY_HALF, dtype=np.float32)
    template = np.concatenate([half, half[:, ::-1]], axis=1)
    template -= template.mean()
    template /= np.linalg.norm(template)
    cell = SIDE // 8
    scores = np.zeros(len(thumbnails))
    for start in range(0, len(thumbnails), _BATCH):
        batch = thumbnails[start : start + _BATCH]
        coarse = batch.reshape(len(batch), 8, cell, 8, cell).mean((2, 4), dtype=np.float32)
        coarse -= coarse.mean((1, 2), keepdims=True)
        norm = np.linalg.norm(coarse, axis=(1, 2))
        scores[start : start + _BATCH] = (coarse * template).sum((1, 2)) / np.maximum(norm, 1e-6)
    return scores
