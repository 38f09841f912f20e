"""Predictions for made-up test images, and the evaluation that an Evaluator would make of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from components.evaluator import predictions
from components.evaluator.results import CANDIDATE, Confusion, Slice, SliceKey
from pages.measured import Evaluation
from schemas import image_status

# An image can have exactly this probability, and is then flagged.
OPERATING_POINT = 0.4137261
KEYS: tuple[SliceKey, ...] = (
    (),
    (('sex', 'F'),),
    (('sex', 'M'),),
    (('view_position', 'AP'),),
    (('Mass', '1'),),
    (('sex', 'F'), ('view_position', 'PA')),
    (('age_band', '80+'),),
)


def table(count: int, seed: int = 5) -> pd.DataFrame:
    """Predictions as `predictions.read` returns them, some of images that were not assessed.

    Images with a mass are positive, so their slice has only one class. The model flags 13 of the 16
    images of the oldest patients: a sensitivity of 0.8125, which Python and JavaScript round
    differently.
    """
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 2, count)
    probability = np.where(label, rng.beta(4, 2, count), rng.beta(2, 4, count)).astype(np.float32)
    probability[:3] = np.float32(OPERATING_POINT)
    label[-16:] = 1
    probability[-16:] = [*np.linspace(0.7, 0.95, 13), 0.1, 0.2, 0.3]
    band = rng.choice(['18-39', '40-59'], count).astype(object)
    band[-16:] = '80+'
    status = np.where(np.arange(count) % 50 == 7, 'truncated', image_status.OK)
    status[-16:] = image_status.OK
    probability[status != image_status.OK] = 1.0
    return pd.DataFrame(
        {
            'image_id': [f'{number:08d}_000.png' for number in range(count)],
            'patient_id': [f'{number // 2:08d}' for number in range(count)],
            'sex': rng.choice(['F', 'M'], count),
            'view_position': rng.choice(['PA', 'AP'], count, p=[0.7, 0.3]),
            'age_band': band,
            'label': label,
            'Mass': label * rng.integers(0, 2, count),
            'probability': probability,
            'flag': (probability >= np.float32(OPERATING_POINT)).astype(int),
            'status': status,
        }
    )


def inside(kept: pd.DataFrame, key: SliceKey) -> pd.DataFrame:
    """The images of a slice."""
    for feature, value in key:
        kept = kept[kept[feature].astype(str) == value]
    return kept


def evaluation(kept: pd.DataFrame, folder: Path, keys: Sequence[SliceKey] = KEYS) -> Evaluation:
    """Writes the predictions into a folder, and returns the evaluation with their counts."""
    types = predictions.columns(('Mass',), has_served=False)
    schema = pa.schema([(name, types[name]) for name in kept.columns])
    pq.write_table(pa.Table.from_pandas(kept, schema), folder / 'predictions-00000.parquet')
    slices = []
    for key in keys:
        images = inside(kept, key)
        pairs = list(zip(images['label'], images['flag'], strict=True))
        cells = [pairs.count(pair) for pair in ((1, 1), (0, 1), (1, 0), (0, 0))]
        slices.append(Slice(key, confusion={CANDIDATE: Confusion(*cells)}))
    return Evaluation(str(folder), tuple(slices), (), 0.95)
