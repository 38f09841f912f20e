"""The predictions for each test image: what the Evaluator keeps of them, and how to read it.

The `evaluation` artifact has one Parquet file with a row for each image, see `columns`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

import storage
from schemas.features import AGE, AGE_BAND, FOLLOW_UP, IMAGE_ID, PATIENT_ID, SEX, VIEW, WEIGHT
from schemas.labels import FINDINGS
from schemas.signatures import FLAG, PROBABILITY, STATUS

if TYPE_CHECKING:
    import pandas as pd

PREFIX, SUFFIX = 'predictions', '.parquet'
SPLIT, LABEL = 'split', 'label'
# Prefix of the columns of the served model.
SERVED = 'served_'
# What is known about an image, with its type.
FEATURES: dict[str, pa.DataType] = {
    IMAGE_ID: pa.string(),
    PATIENT_ID: pa.string(),
    SEX: pa.string(),
    VIEW: pa.string(),
    AGE: pa.int64(),
    AGE_BAND: pa.string(),
    FOLLOW_UP: pa.int64(),
    WEIGHT: pa.float32(),
}
_OUTPUTS: dict[str, pa.DataType] = {
    PROBABILITY: pa.float32(),
    FLAG: pa.int8(),
    STATUS: pa.string(),
}


class PredictionsError(ValueError):
    """An evaluation has no predictions; the text says which and what to do."""


def columns(findings: Sequence[str], has_served: bool) -> dict[str, pa.DataType]:
    """Column -> type of a table of predictions.

    First the image: FEATURES, `split`, `label`, which `probability` and `flag` answer to, and the
    label of each of FINDINGS. Then the outputs of the candidate: `probability`, `flag`, `status`,
    and the probability of each finding of the task, such as `Mass_probability`. Last the outputs of
    the served model, such as `served_probability`, if there was one. What is not known is null.
    """
    of_findings = {probability_of(name): pa.float32() for name in findings}
    outputs = _OUTPUTS | of_findings
    served = {SERVED + name: dtype for name, dtype in outputs.items()} if has_served else {}
    labels = dict.fromkeys((LABEL, *FINDINGS), pa.int8())
    return {**FEATURES, SPLIT: pa.string(), **labels, **outputs, **served}


def probability_of(finding: str) -> str:
    """The column with the probability of a finding."""
    return f'{finding}_{PROBABILITY}'


def paths(folder: str) -> list[str]:
    """The files with predictions of an `evaluation` artifact; empty for an earlier version's."""
    return storage.glob(storage.join(folder, f'{PREFIX}-*{SUFFIX}'))


def read(folder: str) -> pd.DataFrame:
    """The predictions of an `evaluation` artifact, sorted by image.

    Args:
      folder: of the artifact.

    Raises:
      PredictionsError: it has none, since an earlier version made it.
      OSError, pyarrow.ArrowException: it cannot be read.
    """
    import pyarrow.parquet as pq

    files = paths(folder)
    if not files:
        raise PredictionsError(
            f'{folder}: it has no predictions, because an earlier version made it. Run the '
            'pipeline again to add them'
        )
    tables = [pq.read_table(pa.BufferReader(storage.read_bytes(path))) for path in files]
    return (
        pa.concat_tables(tables)
        .to_pandas()
        .sort_values([IMAGE_ID, PATIENT_ID, PROBABILITY], ignore_index=True)
    )
