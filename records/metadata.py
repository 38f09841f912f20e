"""The NIH metadata table (Data_Entry_2017_v2020.csv) and the official split lists: reading them with every check."""

from __future__ import annotations

import csv
import gzip
import io
import re
import zlib
from dataclasses import dataclass

from records.tfrecord import open_binary
from trainer.features import UNKNOWN, UNKNOWN_NUMBER

# Header names of the NIH release; `Patient Gender` became `Patient Sex` in some mirrors.
COLUMNS: dict[str, tuple[str, ...]] = {
    'image_id': ('Image Index',),
    'findings': ('Finding Labels',),
    'follow_up': ('Follow-up #',),
    'patient_id': ('Patient ID',),
    'age': ('Patient Age',),
    'sex': ('Patient Sex', 'Patient Gender'),
    'view_position': ('View Position',),
}
_NIH_IMAGE_ID = re.compile(r'(\d{8})_\d{3}\.\w+')
_SEXES = ('F', 'M')
_VIEWS = ('PA', 'AP')
_OLDEST = 120


class MetadataError(ValueError):
    """A metadata table or split list that cannot be used; the text names the file, the line and what was expected."""


@dataclass(frozen=True)
class Entry:
    """What the table says of one image; ages in years, UNKNOWN or UNKNOWN_NUMBER where it says nothing usable."""

    patient_id: str
    age: int = UNKNOWN_NUMBER
    sex: str = UNKNOWN
    view_position: str = UNKNOWN
    follow_up: int = UNKNOWN_NUMBER
    findings: tuple[str, ...] = ()


def nih_patient(image_id: str) -> str | None:
    """The patient in an image id of the NIH form `PPPPPPPP_FFF.png`, as the 8 digits; None for other forms."""
    match = _NIH_IMAGE_ID.fullmatch(image_id)
    return match.group(1) if match else None


def normal_patient_id(text: str) -> str:
    """A patient id as it is compared and hashed: a numeric one with 8 digits, as it stands in NIH image ids; others as they are."""
    return text.zfill(8) if text.isdigit() else text


def read_table(path: str) -> dict[str, Entry]:
    """Reads a Data_Entry table (CSV, plain or gzip) into image id -> Entry.

    A numeric patient id is written with 8 digits, as it stands in NIH image ids. Ages above 120 (the first release had some) are unknown.

    Raises:
      MetadataError: a column is missing, a line is short, a number is none, or an image stands there twice.
      OSError: the file cannot be read.
    """
    rows = csv.reader(io.StringIO(_read_text(path)))
    try:
        header = next(rows, None)
        if not header:
            raise MetadataError(f'{path}: the metadata table is empty; expected a CSV with the header of Data_Entry_2017_v2020.csv')
        places = _places(path, [name.strip() for name in header])
        entries = _entries(path, rows, places)
    except csv.Error as error:
        raise MetadataError(f'{path}, line {rows.line_num}: no CSV ({error})') from None
    if not entries:
        raise MetadataError(f'{path}: the metadata table has a header but no rows')
    return entries


def read_list(path: str) -> frozenset[str]:
    """Reads a list of image ids, one a line (plain or gzip).

    Raises:
      MetadataError: the list is empty.
      OSError: the file cannot be read.
    """
    names = frozenset(line.strip() for line in _read_text(path).splitlines() if line.strip())
    if not names:
        raise MetadataError(f'{path}: the list of images is empty; expected one image id a line')
    return names


def _read_text(path: str) -> str:
    with open_binary(path) as file:
        data = file.read()
    try:
        return (gzip.decompress(data) if data[:2] == b'\x1f\x8b' else data).decode('utf-8-sig')
    except (UnicodeDecodeError, EOFError, OSError, zlib.error) as error:
        raise MetadataError(f'{path}: not readable as UTF-8 text, plain or gzip ({error})') from None


def _places(path: str, header: list[str]) -> dict[str, int]:
    places = {}
    for name, spellings in COLUMNS.items():
        found = [header.index(spelling) for spelling in spellings if spelling in header]
        if not found:
            raise MetadataError(f'{path}: column {spellings[0]!r} is missing; found {", ".join(header)}')
        places[name] = found[0]
    return places


def _entries(path: str, rows, places: dict[str, int]) -> dict[str, Entry]:
    entries: dict[str, Entry] = {}
    for row in rows:
        if not row:
            continue
        line = rows.line_num
        if len(row) <= max(places.values()):
            raise MetadataError(f'{path}, line {line}: {len(row)} fields, expected at least {max(places.values()) + 1}')
        image_id = row[places['image_id']].strip()
        if not image_id:
            raise MetadataError(f'{path}, line {line}: the image index is empty')
        if image_id in entries:
            raise MetadataError(f'{path}, line {line}: image {image_id!r} stands in the table a second time')
        entries[image_id] = _entry(path, line, {name: row[place].strip() for name, place in places.items()})
    return entries


def _entry(path: str, line: int, row: dict[str, str]) -> Entry:
    patient = row['patient_id']
    if not patient:
        raise MetadataError(f'{path}, line {line}: the patient id is empty')
    # The first release wrote ages as 058Y.
    age = _number(path, line, COLUMNS['age'][0], row['age'].rstrip('Y'))
    return Entry(
        patient_id=normal_patient_id(patient),
        age=age if age <= _OLDEST else UNKNOWN_NUMBER,
        sex=row['sex'] if row['sex'] in _SEXES else UNKNOWN,
        view_position=row['view_position'] if row['view_position'] in _VIEWS else UNKNOWN,
        follow_up=_number(path, line, COLUMNS['follow_up'][0], row['follow_up']),
        findings=tuple(row['findings'].split('|')) if row['findings'] else (),
    )


def _number(path: str, line: int, column: str, text: str) -> int:
    if not text:
        return UNKNOWN_NUMBER
    if not (text.isascii() and text.isdigit()):
        raise MetadataError(f'{path}, line {line}: {column!r} is {text!r}, expected a whole number')
    return int(text)
