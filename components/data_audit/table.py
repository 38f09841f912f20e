"""The table of images, on which the checks compute."""

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

# Left half of an 8x8 template, mirrored to the right: the linear discriminant between chest X-rays
# and their negatives, from 1,948 NIH images (shrunk covariance; each image also mirrored). Dark
# corners and a bright spine and abdomen indicate normal polarity.
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

# The numbers of an Inspection that become float columns.
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
      shard, index: int64 [n], the file and the record in it, from 0.
      split, image_id, patient, sex, view: object [n], see ImageRecord.
      source, format, mode: object [n], see Inspection; '' if not decoded.
      problem, detail: object [n], see ImageRecord.
      age: int64 [n], years; -1 if unknown.
      task: int64 [n], 0, 1 or MISSING.
      labels: int8 [n, 15], 0, 1 or MISSING.
      other: bool [n], whether the image has a finding that none of LABELS names.
      size: int64 [n], bytes of the encoded image.
      decoded: bool [n].
      number: name -> float64 [n], NaN if not decoded: `width`, `height`, `channels`, `quality`,
        `mean`, `std`, `low`, `high`, `black`, `white`, `span`, and from the thumbnail
        `border_black` and `polarity` (-1..1, likeness to a chest X-ray; an inverted image has the
        negated score).
      pixel_hash, byte_hash: object [n], b'' if not decoded.
      thumbnails: uint8 [n, SIDE, SIDE], 0 if not decoded.
      features: names of all features, from the first record of each file.
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
    other: np.ndarray
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
    """The table of `records`, which may be in any order.

    Args:
      records: of the images.
      shards: the files of these records, and others if there are any.
    """
    by_number = {shard.number: shard for shard in shards}
    rows = sorted(records, key=lambda row: (row.shard, row.index))
    inspections = [row.inspection for row in rows]
    thumbnails = np.zeros((len(rows), SIDE, SIDE), dtype=np.uint8)
    for position, inspection in enumerate(inspections):
        if inspection:
            thumbnails[position] = np.frombuffer(inspection.thumbnail, dtype=np.uint8).reshape(
                SIDE, SIDE
            )
    number = {
        name: np.array(
            [
                float(getattr(inspection, name)) if inspection else np.nan
                for inspection in inspections
            ]
        )
        for name in _NUMBERS
    }
    decoded = np.array([inspection is not None for inspection in inspections], dtype=bool)
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
        source=texts(inspection.source if inspection else '' for inspection in inspections),
        format=texts(inspection.format if inspection else '' for inspection in inspections),
        mode=texts(inspection.mode if inspection else '' for inspection in inspections),
        problem=texts(row.problem for row in rows),
        detail=texts(row.detail for row in rows),
        age=np.array([row.age for row in rows], dtype=np.int64),
        task=np.array([row.task for row in rows], dtype=np.int64),
        labels=np.array([row.labels for row in rows], dtype=np.int8).reshape(
            len(rows), len(LABELS)
        ),
        other=np.array([row.other for row in rows], dtype=bool),
        size=np.array([row.size for row in rows], dtype=np.int64),
        decoded=decoded,
        number=number,
        pixel_hash=texts(
            inspection.pixel_hash if inspection else b'' for inspection in inspections
        ),
        byte_hash=texts(inspection.byte_hash if inspection else b'' for inspection in inspections),
        thumbnails=thumbnails,
        features=frozenset(name for row in rows for name in row.features),
    )


def concatenate(parts: Sequence[Table]) -> Table:
    """Joins tables, in any order, into one sorted by file and record.

    Args:
      parts: at least one.
    """
    shard, index = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ('shard', 'index')
    )
    position = np.empty(len(shard), dtype=np.int64)
    position[np.lexsort((index, shard))] = np.arange(len(shard))

    def column(values: Sequence[np.ndarray]) -> np.ndarray:
        # Fill in place: another copy of the thumbnails of the full data set would take 250 MB.
        joined = np.empty((len(position), *values[0].shape[1:]), dtype=values[0].dtype)
        start = 0
        for value in values:
            joined[position[start : start + len(value)]] = value
            start += len(value)
        return joined

    arrays = [
        field.name for field in fields(Table) if field.name not in ('shards', 'number', 'features')
    ]
    return Table(
        shards={number: shard for part in parts for number, shard in part.shards.items()},
        number={name: column([part.number[name] for part in parts]) for name in parts[0].number},
        features=frozenset().union(*(part.features for part in parts)),
        **{name: column([getattr(part, name) for part in parts]) for name in arrays},
    )


def border_black(thumbnails: np.ndarray) -> np.ndarray:
    """The share of black pixels in the outer ring of thumbnails, which is 2 of 48 pixels wide.

    Args:
      thumbnails: uint8 [n, SIDE, SIDE].

    Returns:
      float64 [n], 0..1.
    """
    ring = np.ones((SIDE, SIDE), dtype=bool)
    ring[_BORDER:-_BORDER, _BORDER:-_BORDER] = False
    return (thumbnails[:, ring] <= _DARK).mean(axis=1)


def polarity(thumbnails: np.ndarray) -> np.ndarray:
    """The correlation of thumbnails with the template of a chest X-ray.

    Args:
      thumbnails: uint8 [n, SIDE, SIDE].

    Returns:
      float64 [n], -1..1; 0 for an image of a single grey level.
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
