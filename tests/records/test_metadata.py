"""The NIH metadata table and the lists of the official split."""

from __future__ import annotations

import gzip
import os
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest

from records import metadata, sheet
from records.metadata import Entry, MetadataError

HEADER = (
    'Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Sex,View Position,'
    'OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]'
)
ROW = '00000013_005.png,Mass|Edema,5,13,60,M,AP,3056,2544,0.139,0.139'
ENTRY = Entry('00000013', 60, 'M', 'AP', 5, ('Mass', 'Edema'))


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return tmp_path / 'Data_Entry.csv'


def read(table: Path, *lines: str) -> metadata.Table:
    table.write_text('\n'.join(lines) + '\n')
    return metadata.read_table(str(table))


@pytest.mark.parametrize(
    'data',
    [
        pytest.param(f'{HEADER}\n{ROW}\n'.encode(), id='plain'),
        pytest.param(gzip.compress(f'{HEADER}\n{ROW}\n'.encode()), id='gzip'),
        pytest.param(
            f'\ufeff{HEADER}\r\n{ROW}\r\n'.encode(), id='from a spreadsheet: byte order mark, CR LF'
        ),
        pytest.param(f'{HEADER}\n\n{ROW}\n\n'.encode(), id='blank lines'),
        pytest.param(f'{HEADER.replace("Sex", "Gender")}\n{ROW}'.encode(), id='older header'),
        pytest.param(f'{HEADER}\n{ROW.replace(",60,", ",060Y,")}'.encode(), id='older age'),
        pytest.param(f'{HEADER}\n{ROW.replace(",", " , ")}'.encode(), id='spaces around values'),
        pytest.param(f'{HEADER}\n{ROW}'.replace(',', ';').encode(), id='semicolons'),
        pytest.param(
            f'sep=;\n{HEADER}\n{ROW}'.replace(',', ';').encode(),
            id='semicolons, and a line for Excel',
        ),
        pytest.param(
            f'{HEADER}\n{ROW}'.replace(',', '\t').encode('utf-16'),
            id='Unicode text of a spreadsheet',
        ),
        pytest.param(
            f'{HEADER}\n{ROW}'.encode().replace(b'0.139', 'é'.encode('cp1252')), id='Windows-1252'
        ),
        pytest.param(f'{HEADER}\r{ROW}\r'.encode(), id='CR alone'),
        pytest.param(f'{HEADER}\n{ROW},,,'.encode(), id='empty fields behind the last'),
        pytest.param(
            f'{HEADER.lower().replace(" ", "_")}\n{ROW}'.encode(), id='header in other letters'
        ),
        pytest.param(
            HEADER.replace('OriginalImage[Width,Height]', '"OriginalImage[Width,Height]"').encode()
            + f'\n{ROW}'.encode(),
            id='a quoted name',
        ),
    ],
)
def test_spellings_of_a_table(table: Path, data: bytes) -> None:
    table.write_bytes(data)
    assert metadata.read_table(str(table)) == {'00000013_005.png': ENTRY}


@pytest.mark.parametrize(
    ('old', 'new', 'field', 'value'),
    [
        pytest.param(',60,', ',,', 'age', -1, id='no age'),
        pytest.param(',60,', ',nan,', 'age', -1, id='age of a data frame'),
        pytest.param(',60,', ',0,', 'age', 0, id='newborn'),
        pytest.param(',60,', ',58.0,', 'age', 58, id='age as a decimal'),
        pytest.param(',60,', ',013M,', 'age', 1, id='age in months'),
        pytest.param(',60,', ',001D,', 'age', 0, id='age in days'),
        pytest.param(',60,', ',90+,', 'age', 90, id='age of de-identified data'),
        pytest.param(',60,', ',58 years,', 'age', 58, id='age with its unit'),
        pytest.param(',M,', ',female,', 'sex', 'F', id='sex as a word'),
        pytest.param(',M,', ',f,', 'sex', 'F', id='sex in lower case'),
        pytest.param(',AP,', ',pa,', 'view_position', 'PA', id='view in lower case'),
        pytest.param(',AP,', ',AP supine,', 'view_position', 'AP', id='view with technique'),
        pytest.param(',AP,', ',Postero-Anterior,', 'view_position', 'PA', id='view as a word'),
        pytest.param(',5,13', ',,13', 'follow_up', -1, id='no follow-up'),
        pytest.param(',5,13', ',5.0,13', 'follow_up', 5, id='follow-up as a decimal'),
        pytest.param('Mass|Edema', '', 'findings', (), id='no findings'),
        pytest.param('Mass|Edema', 'No finding', 'findings', ('No Finding',), id='another case'),
        pytest.param(
            'Mass|Edema', 'Pleural Thickening', 'findings', ('Pleural_Thickening',), id='a space'
        ),
        pytest.param(
            'Mass|Edema',
            'Mass|Edema|',
            'findings',
            ('Mass', 'Edema'),
            id='a bar behind the last finding',
        ),
        pytest.param(
            'Mass|Edema', 'mass; edema', 'findings', ('Mass', 'Edema'), id='findings by semicolons'
        ),
        pytest.param(
            'Mass|Edema', '"Mass, Edema"', 'findings', ('Mass', 'Edema'), id='findings by commas'
        ),
        pytest.param(
            ',13,', ',person7,', 'patient_id', 'person7', id='patient id that is no number'
        ),
        pytest.param(',13,', ',13.0,', 'patient_id', '00000013', id='patient as a decimal'),
        pytest.param(',13,', ',00000013,', 'patient_id', '00000013', id='patient with its zeros'),
        pytest.param(',13,', ',,', 'patient_id', '', id='no patient'),
    ],
)
def test_values_of_an_entry(table: Path, old: str, new: str, field: str, value: object) -> None:
    assert old in ROW
    (entry,) = read(table, HEADER, ROW.replace(old, new)).values()
    assert getattr(entry, field) == value


@pytest.mark.parametrize(
    ('old', 'new', 'column', 'example', 'entry'),
    [
        pytest.param(',60,', ',old,', 'age', 'old', {'age': -1}, id='age in words'),
        pytest.param(',60,', ',-3,', 'age', '-3', {'age': -1}, id='negative age'),
        pytest.param(',60,', ',414,', 'age', '414', {'age': -1}, id='age of 414 years'),
        pytest.param(',M,', ',O,', 'sex', 'O', {'sex': 'unknown'}, id='another sex'),
        pytest.param(
            ',AP,', ',LL,', 'view_position', 'LL', {'view_position': 'unknown'}, id='lateral view'
        ),
        pytest.param(
            ',5,13',
            f',{2**63},13',
            'follow_up',
            str(2**63),
            {'follow_up': -1},
            id='follow-up that no int64 holds',
        ),
        pytest.param(
            'Mass|Edema',
            'Mass|Lumbago',
            'findings',
            'Lumbago',
            {'findings': ('Mass',), 'unknown_findings': ('Lumbago',)},
            id='finding',
        ),
        pytest.param(
            ',13,',
            ',14,',
            'patient_id',
            '00000013_005.png: 00000014',
            {'patient_id': '00000014'},
            id='patient of another image',
        ),
        pytest.param(
            ',13,', ',,', 'patient_id', '00000013_005.png', {'patient_id': ''}, id='no patient'
        ),
    ],
)
def test_a_cell_that_is_not_understood_is_counted(
    table: Path, old: str, new: str, column: str, example: str, entry: dict[str, object]
) -> None:
    other_rows = [f'000000{number}_000.png,No Finding,0,{number},40,F,PA' for number in (20, 21)]
    entries = read(table, HEADER, other_rows[0], ROW.replace(old, new), other_rows[1])
    assert len(entries) == 3
    assert entries['00000013_005.png'] == replace(ENTRY, **entry)
    (problem,) = entries.problems
    assert (problem.column, problem.rows, problem.line, problem.examples) == (
        column,
        1,
        3,
        [example],
    )
    assert f"(1 row in line 3: '{example}')" in str(problem)


@pytest.mark.parametrize(
    ('line', 'example', 'count'),
    [
        pytest.param('00000014_000.png,Mass,0', '3 fields', 2, id='too few fields'),
        pytest.param(
            '00000014_000.png,Mass,Edema,0,14,50,F,PA,1,1,1,1',
            '12 fields',
            2,
            id='a comma without quotes',
        ),
        pytest.param(
            '"00000014_000.png,Mass,0,14,50,F,PA,1,1,1,1',
            '1 fields',
            2,
            id='a quote that does not close',
        ),
        pytest.param(
            '00000014_000.png,"' + 'x' * 200_000, '1 fields', 2, id='a cell that is too long'
        ),
        pytest.param(ROW.removeprefix('00000013_005.png'), None, 2, id='no image'),
        pytest.param(ROW, '00000013_005.png', 2, id='a row twice'),
        pytest.param(ROW.replace(',60,', ',61,'), '00000013_005.png', 1, id='two rows that differ'),
    ],
)
def test_a_row_that_cannot_be_used_costs_no_other(
    table: Path, line: str, example: str | None, count: int
) -> None:
    entries = read(table, HEADER, ROW, line, '00000020_000.png,No Finding,0,20,40,F,PA')
    assert len(entries) == count
    assert entries['00000020_000.png'] == Entry('00000020', 40, 'F', 'PA', 0, ('No Finding',))
    (problem,) = entries.problems
    assert (problem.rows, problem.line, problem.examples) == (1, 3, [example] if example else [])


def test_how_many_values_are_unknown(table: Path) -> None:
    rows = [
        f'000000{number}_000.png,Mass,0,{number},{age},{sex},PA'
        for number, age, sex in ((20, '', 'X'), (21, 'old', 'F'), (22, '7', ''))
    ]
    entries = read(table, HEADER, *rows)
    assert entries.unknown == {'age': 2, 'sex': 2}
    assert [(problem.column, problem.rows) for problem in entries.problems] == [
        ('sex', 1),
        ('age', 1),
    ]


@pytest.mark.parametrize(
    ('spelling', 'image_id'),
    [
        pytest.param('00000013_005', '00000013_005.png', id='without suffix'),
        pytest.param('00000013_005.PNG', '00000013_005.png', id='suffix in capitals'),
        pytest.param('00000013_005.dcm', '00000013_005.png', id='another suffix'),
        pytest.param('images_001/00000013_005.png', '00000013_005.png', id='path'),
        pytest.param('images_001\\00000013_005.png', '00000013_005.png', id='path of Windows'),
        pytest.param('58.0', '58.png', id='a number that became a decimal'),
    ],
)
def test_an_image_is_found_by_another_spelling_of_its_name(
    table: Path, tmp_path: Path, spelling: str, image_id: str
) -> None:
    entries = read(table, HEADER, ROW.replace('00000013_005.png', spelling))
    assert entries[image_id] == ENTRY
    assert 'other.png' not in entries
    (tmp_path / 'list.txt').write_text(spelling)
    assert image_id in metadata.read_list(str(tmp_path / 'list.txt'))


def test_an_ambiguous_name_matches_no_image(table: Path) -> None:
    entries = read(
        table, HEADER, ROW.replace('00000013_005', 'a'), ROW.replace('00000013_005', 'A')
    )
    assert 'a.png' in entries
    assert 'a.jpg' not in entries


@pytest.mark.parametrize(
    ('lines', 'message'),
    [
        pytest.param([''], 'the metadata table is empty', id='empty'),
        pytest.param([HEADER], 'a header but no rows', id='header only'),
        pytest.param(
            [HEADER.replace('Patient ID', 'Person'), ROW],
            "column 'Patient ID' is missing",
            id='missing column',
        ),
        pytest.param(
            [HEADER, 'x', 'y'],
            'no row that can be used: not as many fields',
            id='no row that can be used',
        ),
    ],
)
def test_a_table_that_cannot_be_used(table: Path, lines: list[str], message: str) -> None:
    with pytest.raises(MetadataError) as caught:
        read(table, *lines)
    assert message in str(caught.value)
    assert str(table) in str(caught.value)


@pytest.mark.parametrize(
    'data',
    [
        pytest.param(b'\xff\xfe\x00I', id='not UTF-8'),
        pytest.param(gzip.compress(b'Image Index' * 100)[:-12], id='truncated gzip'),
        pytest.param(b'\x1f\x8b\x08\x00' + bytes(6) + b'\x07' * 20, id='damaged gzip'),
        pytest.param(b'\x81\x8d\x8f', id='neither UTF-8 nor Windows-1252'),
        pytest.param(bytes(range(256)) * 9, id='binary'),
    ],
)
def test_a_file_that_is_not_a_table_is_refused(table: Path, data: bytes) -> None:
    table.write_bytes(data)
    with pytest.raises(MetadataError, match=r'Data_Entry\.csv'):
        metadata.read_table(str(table))


@pytest.mark.parametrize(
    'read_file', [metadata.read_table, metadata.read_list], ids=['table', 'list']
)
def test_a_gzip_file_that_unpacks_to_too_much(
    table: Path, read_file, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sheet, '_MAX_TEXT_BYTES', 1 << 20)
    table.write_bytes(gzip.compress(f'{HEADER}\n{ROW}\n'.encode() + bytes(64 << 20)))
    tracemalloc.start()
    try:
        with pytest.raises(
            MetadataError, match=r'Data_Entry\.csv: more than 1 MiB unzipped, expected a table'
        ):
            read_file(str(table))
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_a_table_that_is_not_a_regular_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / 'table.csv')
    with pytest.raises(OSError, match=r"not a regular file: '.*table\.csv'"):
        metadata.read_table(str(tmp_path / 'table.csv'))


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        metadata.read_table(str(tmp_path / 'none.csv'))


@pytest.mark.parametrize(
    ('image_id', 'patient'),
    [
        ('00000013_005.png', '00000013'),
        ('00000013_005.jpg', '00000013'),
        ('00000013_0005.png', None),
        ('0000013_005.png', None),
        ('person7_bacteria_24.png', None),
        ('00000013_005', None),
        ('00000013_005.png\n', None),
        ('', None),
    ],
)
def test_patient_in_an_image_id(image_id: str, patient: str | None) -> None:
    assert metadata.nih_patient(image_id) == patient


def test_list_of_images(tmp_path: Path) -> None:
    names = tmp_path / 'test_list.txt'
    names.write_bytes(b'a.png\r\n\r\n b.png \na.png\n')
    assert metadata.read_list(str(names)) == {'a.png', 'b.png'}
    names.write_bytes(gzip.compress(b'a.png\n'))
    assert metadata.read_list(str(names)) == {'a.png'}
    names.write_bytes(b'\n\n')
    with pytest.raises(MetadataError, match='list of images is empty'):
        metadata.read_list(str(names))


@pytest.mark.real_data
def test_the_table_and_the_lists_of_the_release(real_data: Path) -> None:
    folder = real_data / 'nih' / 'metadata'
    entries = metadata.read_table(str(folder / 'Data_Entry_2017_v2020.csv.gz'))
    assert len(entries) == 112_120
    assert len({entry.patient_id for entry in entries.values()}) == 30_805
    assert all(
        metadata.nih_patient(image_id) == entry.patient_id for image_id, entry in entries.items()
    )
    train, test = (
        metadata.read_list(str(folder / f'{name}_list.txt.gz')) for name in ('train_val', 'test')
    )
    assert (len(train), len(test)) == (86_524, 25_596)
    assert train | test == set(entries)


def test_several_tables_are_read_as_one(tmp_path: Path) -> None:
    text = (
        'Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position'
    )
    paths = []
    for number, name in enumerate(('a.png', 'b.png')):
        path = tmp_path / f'{number}.csv'
        path.write_text(f'{text}\n{name},No Finding,0,p{number},,F,PA\n')
        paths.append(str(path))
    table = metadata.read_tables(paths)
    assert {name: table[name].patient_id for name in table} == {'a.png': 'p0', 'b.png': 'p1'}
    assert table.unknown['age'] == 2
    with pytest.raises(MetadataError, match=r'1.csv: it names image b.png, and so does'):
        metadata.read_tables([*paths, paths[1]])
