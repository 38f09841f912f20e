"""Who is in the data, and which labels go together."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from components.data_audit import populations
from components.data_audit.parameters import AuditParameters
from schemas.features import UNKNOWN
from schemas.labels import LABELS


def table(rows: list[dict[str, Any]]) -> Any:
    """As much of the audit's table as the counts look at."""

    def column(name: str) -> np.ndarray:
        return np.array([*(row[name] for row in rows), None], dtype=object)[:-1]

    labels = np.array(
        [[int(name in row['labels']) for name in LABELS] for row in rows], dtype=np.int8
    ).reshape(len(rows), len(LABELS))
    return SimpleNamespace(
        split=column('split'),
        view=column('view'),
        sex=column('sex'),
        patient=column('patient'),
        age=np.array([row['age'] for row in rows], dtype=int),
        task=np.array([row['task'] for row in rows], dtype=int),
        labels=labels,
    )


FILMS = [
    {
        'split': 'train',
        'view': 'PA',
        'sex': 'F',
        'patient': '1',
        'age': 45,
        'task': 1,
        'labels': {'Mass', 'Nodule'},
    },
    {
        'split': 'train',
        'view': 'PA',
        'sex': 'F',
        'patient': '1',
        'age': 46,
        'task': 1,
        'labels': {'Mass'},
    },
    {
        'split': 'test',
        'view': 'AP',
        'sex': 'M',
        'patient': '2',
        'age': 81,
        'task': 0,
        'labels': {'No Finding'},
    },
    {
        'split': 'test',
        'view': UNKNOWN,
        'sex': UNKNOWN,
        'patient': '',
        'age': -1,
        'task': -1,
        'labels': set(),
    },
]


def test_every_image_is_in_one_group_of_each_kind():
    rows = populations.populations_table(table(FILMS), ['train', 'test'], AuditParameters())
    for by in ('split', 'view_position', 'sex', 'age_band'):
        assert sum(row['images'] for row in rows if row['by'] == by) == len(FILMS), by
    groups = {(row['by'], row['group']): row for row in rows}
    assert groups['split', 'train'] == {
        'by': 'split',
        'group': 'train',
        'images': 2,
        'patients': 1,
        'labelled': 2,
        'positives': dict.fromkeys(LABELS, 0) | {'abnormal': 2, 'Mass': 2, 'Nodule': 1},
    }
    assert groups['age_band', '40-59']['splits']['train']['positives']['abnormal'] == 2
    assert groups['age_band', '40-59']['splits']['test']['images'] == 0
    assert (groups['sex', UNKNOWN]['labelled'], groups['sex', UNKNOWN]['patients']) == (0, 0)
    assert [row['group'] for row in rows if row['by'] == 'age_band'] == ['40-59', '80+', UNKNOWN]


def test_pairs_of_labels():
    found = populations.cooccurrence_table(table(FILMS))
    counts = np.array(found['counts'])
    place = found['labels'].index
    assert counts[place('Mass'), place('Mass')] == 2
    assert counts[place('Mass'), place('Nodule')] == counts[place('Nodule'), place('Mass')] == 1
    assert counts[place('No Finding'), place('Mass')] == 0


@pytest.mark.parametrize('films', [[]])
def test_no_images(films):
    assert [
        row['images']
        for row in populations.populations_table(table(films), ['train'], AuditParameters())
    ] == [0]
    assert np.array(populations.cooccurrence_table(table(films))['counts']).sum() == 0
