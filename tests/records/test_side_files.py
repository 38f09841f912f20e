"""Metadata tables and split lists: their usual names and folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from records import side_files
from records.data_root import DataRootError, scan
from records.side_files import AUTO, EXCLUDED, TABLE, TEST_LIST, TRAIN_VAL_LIST, Kind, resolve


def _root(folder: Path, *names: str) -> Path:
    for name in ('data/000-1.tfrec', *names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('')
    return folder


@pytest.mark.parametrize(
    ('kind', 'name'),
    [
        (TABLE, 'metadata/Data_Entry_2017_v2020.csv.gz'),
        (TABLE, 'metadata/Data_Entry_2017_v2020.csv'),
        (TABLE, 'Data_Entry_2017.csv'),
        (TABLE, 'data/data_entry_2017.CSV'),
        (TABLE, 'data/metadata/Data_Entry.csv.gz'),
        (TRAIN_VAL_LIST, 'train_val_list.txt'),
        (TRAIN_VAL_LIST, 'metadata/train_val_list.txt.gz'),
        (TEST_LIST, 'data/test_list.txt'),
        (TEST_LIST, 'metadata/test_list.txt.gz'),
    ],
    ids=lambda value: value if isinstance(value, str) else value.key,
)
def test_usual_names_and_places(kind: Kind, name: str, tmp_path: Path) -> None:
    root = _root(
        tmp_path,
        name,
        'elsewhere/Data_Entry.csv',
        'elsewhere/test_list.txt',
        'metadata/my_Data_Entry.txt',
    )
    assert resolve(kind, AUTO, scan(str(root))) == name


@pytest.mark.parametrize(
    ('kind', 'message'),
    [
        (
            TABLE,
            r'no metadata table \(data\.metadata\)\. Expected Data_Entry\*\.csv, '
            r'Data_Entry\*\.csv\.gz in metadata/, the data root '
            r'itself, data/metadata/, data/\. .* Set data\.metadata to null to run without one',
        ),
        (
            TEST_LIST,
            r'no test list \(data\.split\.test_list\)\. Expected test_list\.txt, '
            r'test_list\.txt\.gz in metadata/',
        ),
    ],
    ids=['table', 'list'],
)
def test_a_missing_file_is_named(kind: Kind, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataRootError, match=message):
        resolve(kind, AUTO, scan(str(_root(tmp_path))))


def test_two_candidates_are_refused(tmp_path: Path) -> None:
    root = _root(tmp_path, 'metadata/Data_Entry.csv', 'metadata/Data_Entry.csv.gz')
    with pytest.raises(
        DataRootError,
        match=(
            r'the metadata table could be metadata/Data_Entry\.csv or '
            r'metadata/Data_Entry\.csv\.gz\. '
            r'.* data\.metadata'
        ),
    ):
        resolve(TABLE, AUTO, scan(str(root)))


def test_a_named_file(tmp_path: Path) -> None:
    root = scan(str(_root(tmp_path / 'root', 'mine.csv', 'auto')))
    (tmp_path / 'other.csv').write_text('')
    assert resolve(TABLE, 'mine.csv', root) == 'mine.csv'
    assert resolve(TABLE, str(tmp_path / 'other.csv'), root) == str(tmp_path / 'other.csv')
    assert resolve(TABLE, None, root) is None
    assert resolve(EXCLUDED, 'auto', root) == 'auto'


def test_a_missing_named_file_with_another_one_present(tmp_path: Path) -> None:
    root = _root(tmp_path, 'metadata/Data_Entry_2017_v2020.csv')
    message = (
        r"data\.metadata is 'metadata/Data_Entry_2017_v2020\.csv\.gz': .*no such file\. There is "
        r'metadata/Data_Entry_2017_v2020\.csv: set'
    )
    with pytest.raises(DataRootError, match=message):
        resolve(TABLE, 'metadata/Data_Entry_2017_v2020.csv.gz', scan(str(root)))
    with pytest.raises(
        DataRootError, match=r"data\.exclude is 'gone\.txt': .*gone\.txt: no such file"
    ):
        resolve(EXCLUDED, 'gone.txt', scan(str(root)))


def test_kinds_name_keys_of_the_configuration() -> None:
    from components.xray_example_gen.parameters import DataParameters

    for kind in (side_files.TABLE, side_files.EXCLUDED, *side_files.LISTS):
        place: object = DataParameters()
        for part in kind.key.split('.')[1:]:
            assert hasattr(place, part), kind.key
            place = getattr(place, part)


@pytest.mark.parametrize(
    ('names', 'expected'),
    [
        pytest.param(
            ['metadata/Data_Entry.csv', 'span-2/metadata/Data_Entry.csv', 'span-2/data/1-1.tfrec'],
            ['metadata/Data_Entry.csv', 'span-2/metadata/Data_Entry.csv'],
            id='one for all and one for a span',
        ),
        pytest.param(
            ['metadata/Data_Entry.csv', 'span-2/data/1-1.tfrec'],
            ['metadata/Data_Entry.csv'],
            id='one for all',
        ),
        pytest.param(
            [
                'Data_Entry.csv',
                'span-1/Data_Entry.csv',
                'span-1/1-1.tfrec',
                'span-2/Data_Entry.csv',
            ],
            ['Data_Entry.csv', 'span-1/Data_Entry.csv', 'span-2/Data_Entry.csv'],
            id='in the folders of the spans',
        ),
    ],
)
def test_auto_adds_the_table_of_each_span(names: list, expected: list, tmp_path: Path) -> None:
    data_root = scan(str(_root(tmp_path, *names)))
    assert list(side_files.tables([AUTO], data_root)) == expected
    assert side_files.present_tables(data_root) == expected


def test_records_outside_of_spans_need_a_table_of_their_own(tmp_path: Path) -> None:
    data_root = scan(
        str(_root(tmp_path, 'span-2/metadata/Data_Entry.csv', 'span-2/data/1-1.tfrec'))
    )
    with pytest.raises(DataRootError, match='no metadata table'):
        side_files.tables([AUTO], data_root)


def test_several_tables_of_a_span_are_an_error(tmp_path: Path) -> None:
    names = ('span-2/metadata/Data_Entry.csv', 'span-2/Data_Entry_2.csv', 'Data_Entry.csv')
    with pytest.raises(DataRootError, match='Keep one, or name it'):
        side_files.tables([AUTO], scan(str(_root(tmp_path, *names))))
