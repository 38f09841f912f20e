"""Counts of images by group, and of labels that occur together."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from components.data_audit import populations
from components.data_audit.parameters import AuditParameters
from schemas.features import UNKNOWN
from schemas.labels import LABELS


def table(rows: list[dict[str, Any]]) -> Any:
    """The columns of the audit's table that the counts read."""

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


IMAGES = [
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


def test_every_image_is_in_one_group_of_each_column():
    rows = populations.populations_table(table(IMAGES), ['train', 'test'], AuditParameters())
    for by in ('split', 'view_position', 'sex', 'age_band'):
        assert sum(row['images'] for row in rows if row['by'] == by) == len(IMAGES), by
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


def test_images_with_both_labels_are_counted():
    cooccurrence = populations.cooccurrence_table(table(IMAGES))
    counts = np.array(cooccurrence['counts'])
    index = cooccurrence['labels'].index
    assert counts[index('Mass'), index('Mass')] == 2
    assert counts[index('Mass'), index('Nodule')] == counts[index('Nodule'), index('Mass')] == 1
    assert counts[index('No Finding'), index('Mass')] == 0


def test_without_images_all_counts_are_zero():
    empty = table([])
    rows = populations.populations_table(empty, ['train'], AuditParameters())
    assert [row['images'] for row in rows] == [0]
    assert np.array(populations.cooccurrence_table(empty)['counts']).sum() == 0
