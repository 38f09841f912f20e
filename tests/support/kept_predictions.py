"""Writes the predictions of an evaluation without evaluating anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from components.evaluator import predictions
from components.evaluator.predictions import LABEL, SERVED, SPLIT
from schemas import image_status
from schemas.features import AGE, AGE_BAND, FOLLOW_UP, IMAGE_ID, PATIENT_ID, SEX, VIEW, WEIGHT
from schemas.labels import FINDINGS
from schemas.signatures import FLAG, PROBABILITY, STATUS

# An image that the rows of `write` change: negative and not flagged.
_IMAGE: dict[str, Any] = {
    PATIENT_ID: '1',
    SEX: 'F',
    VIEW: 'PA',
    AGE: 50,
    AGE_BAND: '40-59',
    FOLLOW_UP: 0,
    WEIGHT: 1.0,
    SPLIT: 'test',
    LABEL: 0,
    **dict.fromkeys(FINDINGS, 0),
    PROBABILITY: 0.1,
    FLAG: 0,
    STATUS: image_status.OK,
}


def write(
    folder: Path, rows: Sequence[Mapping[str, Any]], findings: Sequence[str] = ()
) -> pd.DataFrame:
    """Writes the predictions and returns them as `predictions.read` does.

    Args:
      folder: of the evaluation.
      rows: for each image the values that differ from `_IMAGE`; its id is its number. If one of
        them has values of a served model, all get some.
      findings: of the task.
    """
    has_served = any(name.startswith(SERVED) for row in rows for name in row)
    served = {SERVED + name: _IMAGE[name] for name in (PROBABILITY, FLAG, STATUS)}
    base = _IMAGE | dict.fromkeys(map(predictions.probability_of, findings), 0.5)
    if has_served:
        base |= served
    content = [{IMAGE_ID: f'{number:05d}.png'} | base | row for number, row in enumerate(rows)]
    schema = pa.schema(list(predictions.columns(findings, has_served).items()))
    pq.write_table(
        pa.Table.from_pylist(content, schema),
        str(folder / f'{predictions.PREFIX}-00000-of-00001{predictions.SUFFIX}'),
    )
    return predictions.read(str(folder))
