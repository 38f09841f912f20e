"""Whose films these are and which labels go together: counts by split, view, sex and age band, and
of pairs of labels.
"""

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
    """A row a group, of split, view, sex and age band: images, patients, and for each label images
    with it, in all and by split.

    A label that an image does not have on record counts as not set; `labelled` says how many images
    have the task label.
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
            here = values == group
            rows.append({'by': by, 'group': group, **_counts(table, here, parameters)})
            if by != SPLIT:
                rows[-1]['splits'] = {
                    split: _counts(table, here & (table.split == split), parameters)
                    for split in splits
                }
    return rows


def cooccurrence_table(table: Table) -> dict[str, Any]:
    """`labels`, and `counts`: how many images have both the label of the row and that of the
    column; on the diagonal, those with it.
    """
    present = (table.labels == 1).astype(np.int64)
    return {'labels': list(LABELS), 'counts': (present.T @ present).tolist()}


def _counts(table: Table, here: np.ndarray, parameters: AuditParameters) -> dict[str, Any]:
    positives = {parameters.task_label: int((table.task[here] == 1).sum())}
    positives |= {
        name: int((table.labels[here, place] == 1).sum()) for place, name in enumerate(LABELS)
    }
    return {
        'images': int(here.sum()),
        'patients': len(set(table.patient[here]) - {''}),
        'labelled': int((table.task[here] >= 0).sum()),
        'positives': positives,
    }
