"""Counts images and labels by split, view, sex and age band, and counts pairs of labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from components.data_audit.parameters import AuditParameters
from components.data_audit.table import Table
from schemas.features import AGE_BAND, AGE_BANDS, SEX, VIEW, age_band
from schemas.labels import LABELS

SPLIT = 'split'


def populations_table(
    table: Table, splits: Sequence[str], parameters: AuditParameters
) -> list[dict[str, Any]]:
    """Counts images, patients and labels in each group of split, view, sex and age band.

    Returns:
      A row per group; `splits` has the same counts by split. `labelled` counts the images that have
      the task label as 0 or 1. `positives` counts the images with each label; a missing label
      counts as 0.
    """
    bands = np.array([*map(age_band, table.age), None], dtype=object)[:-1]
    rows = []
    for by, values, order in (
        (SPLIT, table.split, list(splits)),
        (VIEW, table.view, sorted(set(table.view))),
        (SEX, table.sex, sorted(set(table.sex))),
        (AGE_BAND, bands, [band for band in AGE_BANDS if band in set(bands)]),
    ):
        for group in order:
            in_group = values == group
            rows.append({'by': by, 'group': group, **_counts(table, in_group, parameters)})
            if by != SPLIT:
                rows[-1]['splits'] = {
                    split: _counts(table, in_group & (table.split == split), parameters)
                    for split in splits
                }
    return rows


def cooccurrence_table(table: Table) -> dict[str, Any]:
    """Counts pairs of labels.

    Returns:
      `labels`: their names. `counts`: a matrix of the number of images with the labels of row and
      column; on the diagonal, the images with the label.
    """
    present = (table.labels == 1).astype(np.int64)
    return {'labels': list(LABELS), 'counts': (present.T @ present).tolist()}


def _counts(table: Table, rows: np.ndarray, parameters: AuditParameters) -> dict[str, Any]:
    positives = {parameters.task_label: int((table.task[rows] == 1).sum())}
    positives |= {
        name: int((table.labels[rows, column] == 1).sum()) for column, name in enumerate(LABELS)
    }
    return {
        'images': int(rows.sum()),
        'patients': len(set(table.patient[rows]) - {''}),
        'labelled': int((table.task[rows] >= 0).sum()),
        'positives': positives,
    }
