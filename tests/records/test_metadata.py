"""The NIH metadata table and the lists of the official split."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from records import metadata
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


def read(table: Path, *lines: str) -> dict[str, Entry]:
    table.write_text('\n'.join(lines) + '\n')
    return metadata.read_table(str(table))


@pytest.mark.parametrize(
    'data',
    [
        pytest.param(f'{HEADER}\n{ROW}\n'.encode(), id='plain'),
        pytest.param(gzip.compress(f'{HEADER}\n{ROW}\n'.encode()), id='gzip'),
        pytest.param(f'\ufeff{HEADER}\r\n{ROW}\r\n'.encode(), id='from a spreadsheet: byte order mark, CR LF'),
        pytest.param(f'{HEADER}\n\n{ROW}\n\n'.encode(), id='blank lines'),
        pytest.param(f'{HEADER.replace("Sex", "Gender")}\n{ROW}'.encode(), id='older header'),
        pytest.param(f'{HEADER}\n{ROW.replace(",60,", ",060Y,")}'.encode(), id='older age'),
        pytest.param(f'{HEADER}\n{ROW.replace(",", " , ")}'.encode(), id='spaces around values'),
    ],
)
def test_spellings_of_a_table(table: Path, data: bytes) -> None:
    table.write_bytes(data)
    assert metadata.read_table(str(table)) == {'00000013_005.png': ENTRY}


@pytest.mark.parametrize(
    ('old', 'new', 'field', 'value'),
    [
        pytest.param(',60,', ',414,', 'age', -1, id='age of 414 years'),
        pytest.param(',60,', ',,', 'age', -1, id='no age'),
        pytest.param(',60,', ',0,', 'age', 0, id='newborn'),
        pytest.param(',M,', ',O,', 'sex', 'unknown', id='another sex'),
        pytest.param(',AP,', ',LL,', 'view_position', 'unknown', id='lateral view'),
        pytest.param(',5,13', ',,13', 'follow_up', -1, id='no follow-up'),
        pytest.param('Mass|Edema', '', 'findings', (), id='no findings'),
        pytest.param(',13,', ',person7,', 'patient_id', 'person7', id='patient id that is no number'),
    ],
)
def test_values_of_an_entry(table: Path, old: str, new: str, field: str, value: object) -> None:
    assert old in ROW
    (entry,) = read(table, HEADER, ROW.replace(old, new)).values()
    assert getattr(entry, field) == value


@pytest.mark.parametrize(
    ('lines', 'told'),
    [
        pytest.param([''], 'the metadata table is empty', id='empty'),
        pytest.param([HEADER], 'a header but no rows', id='header only'),
        pytest.param([HEADER.replace('Patient ID', 'Patient'), ROW], "column 'Patient ID' is missing", id='missing column'),
        pytest.param([HEADER, ROW, '00000014_000.png,Mass,0'], 'line 3: 3 fields, expected at least 7', id='short line'),
        pytest.param([HEADER, ROW, ROW], "line 3: image '00000013_005.png' stands in the table a second time", id='twice'),
        pytest.param([HEADER, ROW.replace(',60,', ',old,')], "line 2: 'Patient Age' is 'old', expected a whole number", id='age in words'),
        pytest.param([HEADER, ROW.replace(',60,', ',-3,')], "line 2: 'Patient Age' is '-3'", id='negative age'),
        pytest.param([HEADER, ROW.replace(',13,', ',,')], 'line 2: the patient id is empty', id='no patient'),
        pytest.param([HEADER, ROW.removeprefix('00000013_005.png')], 'line 2: the image index is empty', id='no image'),
    ],
)
def test_a_table_that_cannot_be_used(table: Path, lines: list[str], told: str) -> None:
    with pytest.raises(MetadataError) as caught:
        read(table, *lines)
    assert told in str(caught.value)
    assert str(table) in str(caught.value)


@pytest.mark.parametrize(
    'data',
    [
        pytest.param(b'\xff\xfe\x00I', id='not UTF-8'),
        pytest.param(gzip.compress(b'Image Index' * 100)[:-12], id='truncated gzip'),
        pytest.param(b'\x1f\x8b\x08\x00' + bytes(6) + b'\x07' * 20, id='damaged gzip'),
        pytest.param(HEADER.encode() + b'\n"' + b'x' * 200_000, id='a quote that never closes'),
    ],
)
def test_a_file_that_is_no_table(table: Path, data: bytes) -> None:
    table.write_bytes(data)
    with pytest.raises(MetadataError, match=r'Data_Entry\.csv'):
        metadata.read_table(str(table))


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
    assert all(metadata.nih_patient(image_id) == entry.patient_id for image_id, entry in entries.items())
    train, test = (metadata.read_list(str(folder / f'{name}_list.txt.gz')) for name in ('train_val', 'test'))
    assert (len(train), len(test)) == (86_524, 25_596)
    assert train | test == set(entries)
