"""Tables of experts' labels: columns, answers, several readers, and errors that name the place."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from records import expert_labels
from records.sheet import MetadataError
from schemas.labels import ABNORMAL, FINDINGS

# The columns that Google published: all findings, and four findings beside NIH's own columns.
_ALL = (
    'Image ID',
    'Patient ID',
    'Abnormal',
    *(name.replace('_', ' ') for name in FINDINGS),
    'Other',
)
_FOUR = (
    'Image Index,Finding Labels,Follow-up #,Patient ID,Fracture,Pneumothorax,Airspace opacity,'
    'Nodule or mass,Set Id\n'
)


def _table(folder: Path, text: str) -> str:
    path = folder / 'labels.csv'
    path.write_text(text)
    return str(path)


def test_columns_with_the_name_of_a_label_are_found(tmp_path: Path) -> None:
    cells = ['00000013_005.png', '13', '1', *['NO'] * 14, 'YES']
    cells[_ALL.index('Pleural Thickening')] = 'YES'
    table = expert_labels.read(_table(tmp_path, f'{",".join(_ALL)}\n{",".join(cells)}\n'))
    assert set(table.columns) == {ABNORMAL, *FINDINGS}
    positive = {label for label, values in table.labels.items() if values['00000013_005.png']}
    assert positive == {ABNORMAL, 'Pleural_Thickening'}


def test_a_label_of_several_columns_is_1_where_one_says_yes(tmp_path: Path) -> None:
    rows = [
        'a.png,No Finding,0,1,NO,NO,YES,NO,test', 'b.png,Mass,0,2,NO,NO,NO,NO,test',
        'c.png,Mass,0,3,NO,HEDGE,NO,NO,test', 'd.png,Mass,0,4,YES,HEDGE,NO,,test',
    ]  # fmt: skip
    columns = {ABNORMAL: ['Fracture', 'Pneumothorax', 'Airspace opacity', 'Nodule or mass']}
    table = expert_labels.read(_table(tmp_path, _FOUR + '\n'.join(rows)), columns=columns)
    # c is neither: no column says YES, and one is uncertain.
    assert table.labels == {ABNORMAL: {'a.png': 1, 'b.png': 0, 'd.png': 1}}
    assert (table.rows, len(table.images)) == (4, 4)
    found = expert_labels.read(_table(tmp_path, _FOUR + '\n'.join(rows)))
    assert found.columns == {'Pneumothorax': ('Pneumothorax',)}


def test_the_majority_of_the_readers_decides(tmp_path: Path) -> None:
    answers = {'a.png': 'YES YES NO', 'b.png': 'NO NO YES', 'c.png': 'YES NO', 'd.png': 'YES HEDGE'}
    rows = [f'{name};{answer}' for name, texts in answers.items() for answer in texts.split()]
    packed = tmp_path / 'readers.csv.gz'
    packed.write_bytes(gzip.compress('\n'.join(['File name;MASS', *rows]).encode()))
    table = expert_labels.read(str(packed))
    assert table.labels == {'Mass': {'a.png': 1, 'b.png': 0}}
    assert (table.rows, len(table.images)) == (10, 4)


@pytest.mark.parametrize(
    ('text', 'options', 'message'),
    [
        ('Scan,Mass\na,YES\n', {}, 'no column is named Image Index, .*data.expert_labels.image'),
        ('Image ID,Airspace opacity\na,YES\n', {}, 'no column has the name of a label .*Airspace'),
        (
            'Image ID,Mass\na,YES\n\nb,perhaps\n',
            {},
            r"line 4: column 'Mass' is 'perhaps': expected",
        ),
        ('Image ID,Mass\n,YES\n', {}, "line 2: column 'Image ID' is empty"),
        ('Image ID,Mass\n', {}, 'a header and no rows'),
        ('Image ID,Mass\na,YES\n', {'image': 'Scan'}, "'Scan', which data.expert_labels.image"),
        (
            'Image ID,Mass\na,YES\n',
            {'columns': {'Mass': ['Nodule or mass']}},
            "'Nodule or mass', which data.expert_labels.columns names, is missing",
        ),
    ],
    ids=['no image', 'no label', 'cell', 'empty image', 'no rows', 'image', 'column'],
)
def test_an_error_names_the_place(text: str, options: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(MetadataError, match=message):
        expert_labels.read(_table(tmp_path, text), **options)


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(MetadataError, match=r'gone.csv: no such file.*data.expert_labels.file'):
        expert_labels.read(str(tmp_path / 'gone.csv'))
