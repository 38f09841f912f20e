"""Tables of labels that become known later."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest
from sqlalchemy.orm import Session, sessionmaker

from monitoring import label_table
from monitoring.label_table import LabelTableError
from serving.database import connection
from serving.database.tables import PENDING, SCORED, Study
from serving.pacs import accession, origin

_VERSION = 3
_NOON = datetime.datetime(2026, 11, 30, 12, tzinfo=datetime.timezone.utc)


def _write(folder: Path, text: str) -> Path:
    path = folder / 'labels.csv'
    path.write_text(text, encoding='utf-8')
    return path


@pytest.fixture
def sessions(tmp_path: Path) -> sessionmaker[Session]:
    """Four studies: the third is of another version, and the fourth waits."""
    sessions = connection.connect(connection.sqlite_url(tmp_path / 'gateway.sqlite'))
    key = accession.load_key(tmp_path)
    with sessions() as session, session.begin():
        for row in range(4):
            session.add(
                Study(
                    id=f'{row:032x}',
                    arrived_at=_NOON + datetime.timedelta(minutes=row),
                    uploaded_by='test',
                    reference=f'ward {row}',
                    state=PENDING if row == 3 else SCORED,
                    probability=0.2 + 0.2 * row,
                    flag=row > 0,
                    version=_VERSION + (row == 2),
                    dicom_key=origin.key(f'1.2.{row}'),
                    accession_key=accession.keyed(key, f'A{row}'),
                )
            )
    return sessions


@pytest.mark.parametrize(
    ('key', 'name'),
    [
        (label_table.ACCESSION, 'A{}'),
        (label_table.UID, '1.2.{}'),
        (label_table.REFERENCE, 'ward {}'),
        (label_table.STUDY, '{:032x}'),
    ],
)
def test_studies_are_found_by_each_key(
    sessions: sessionmaker[Session], tmp_path: Path, key: str, name: str
) -> None:
    rows = [(1, 'Abnormal'), (0, 'normal'), (2, 'normal'), (3, 'normal'), (9, 'normal')]
    lines = ''.join(f'"{name.format(row)}",x,{label}\n' for row, label in rows)
    table = label_table.read(_write(tmp_path, f'{key},comment,label\n{lines}'))
    with sessions() as session:
        found = label_table.find(session, table, _VERSION, tmp_path)
    assert (found.rows, found.matched) == (5, 2)
    assert [(study.probability, study.verdict) for study in found.studies] == [
        (0.2, 'normal'),
        (0.4, 'abnormal'),
    ]
    assert {study.reader for study in found.studies} == {'labels.csv'}


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('', 'has the columns none: expected label and one of accession_number, '),
        ('reference\nA', 'has the columns reference: expected label and one of'),
        ('reference,study,label\nA,B,normal', 'expected label and one of'),
        ('reference,label\n', 'has no rows'),
        ('reference,label\nA,sick', r"line 2: label is 'sick': expected normal or abnormal"),
        ('reference,label\nA', r"line 2: label is '': expected"),
        ('reference,label\n,normal', 'line 2: reference is empty'),
        ('reference,label\nA,normal\nA,abnormal', 'line 3: a second, other label'),
    ],
)
def test_a_table_that_cannot_be_used_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = _write(tmp_path, text)
    with pytest.raises(LabelTableError, match=message) as error:
        label_table.read(path)
    assert str(error.value).startswith(str(path))


def test_a_table_in_another_encoding_is_named(tmp_path: Path) -> None:
    path = tmp_path / 'labels.csv'
    path.write_bytes('reference,label\nStraße,normal'.encode('latin-1'))
    with pytest.raises(LabelTableError, match='not a CSV file in UTF-8'):
        label_table.read(path)
