"""Comparisons of views, sources and splits count patients, not images."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from components.data_audit import associations
from components.data_audit.parameters import AuditParameters
from schemas.labels import LABELS

PARAMETERS = AuditParameters(min_group=30)


def _table(patients: int, images: int, positive: np.ndarray, source: np.ndarray) -> Any:
    """A table with equal images of each patient; `positive` and `source` have a value per patient.

    Args:
      patients: how many patients.
      images: how many images of each patient.
      positive: 0 or 1.
      source: the source, which is also the split.
    """
    patient = np.repeat(np.arange(patients), images)
    count = len(patient)
    return SimpleNamespace(
        patient=patient.astype(str).astype(object),
        task=positive[patient].astype(np.int8),
        labels=np.repeat(positive[patient].astype(np.int8)[:, None], len(LABELS), axis=1),
        source=source[patient].astype(object),
        split=source[patient].astype(object),
        view=np.full(count, 'PA', dtype=object),
        decoded=np.ones(count, bool),
    )


@pytest.mark.parametrize('images', [1, 20])
@pytest.mark.parametrize(
    ('share', 'flagged'), [(0.5, False), (0.9, True)], ids=['by chance', 'a real difference']
)
def test_more_images_per_patient_do_not_change_the_result(
    images: int, share: float, flagged: bool
) -> None:
    source = np.array(['a'] * 60 + ['b'] * 60)
    # 22 of 60 patients against 30 of 60 can be chance; 22 against 54 cannot.
    positive = np.array(
        [1] * 22 + [0] * 38 + [1] * round(60 * share) + [0] * round(60 * (1 - share))
    )
    table = _table(120, images, positive, source)
    (_, row) = associations.groups_table(table, PARAMETERS)
    assert (row['by'], row['flagged']) == ('source', flagged)
    assert (row['p_value'] > 0.1) is not flagged
    by_split = associations.prevalence_table(table, ('a', 'b'), PARAMETERS)[0]
    assert (by_split['flagged'], by_split['p_value']) == (flagged, pytest.approx(row['p_value']))


def test_a_group_of_few_patients_is_listed_but_not_compared() -> None:
    """The number of their images does not matter."""
    source = np.array(['a'] * 60 + ['b'] * 29)
    table = _table(89, 50, np.array([0, 1] * 30 + [1] * 29), source)
    (_, row) = associations.groups_table(table, PARAMETERS)
    assert [
        (cell['group'], cell['images'], cell['patients'], cell['compared'])
        for cell in row['groups']
    ] == [
        ('a', 3000, 60, True),
        ('b', 1450, 29, False),
    ]
    assert (row['difference'], row['p_value'], row['flagged']) == (0.0, 1.0, False)
