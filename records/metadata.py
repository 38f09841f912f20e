"""The NIH metadata table (Data_Entry_2017_v2020.csv) and the official split lists: reading them
with every check.

People write tables in many ways, and one odd cell must not cost 112,120 rows: common spellings are
understood (`records.spelling`), what is not understood is unknown, and every such cell is counted
with its line.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
import zlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from records import spelling
from records.spelling import ImageNames
from records.terminal import printable
from records.tfrecord import open_binary
from schemas.features import UNKNOWN, UNKNOWN_NUMBER

# Columns by their names, of which the first is that of the NIH release. Case, spaces and signs do
# not matter.
COLUMNS: dict[str, tuple[str, ...]] = {
    'image_id': ('Image Index', 'Image ID', 'Image', 'File name'),
    'findings': ('Finding Labels', 'Findings', 'Labels'),
    'follow_up': ('Follow-up #', 'Follow-up number'),
    'patient_id': ('Patient ID', 'Patient'),
    'age': ('Patient Age', 'Age'),
    'sex': ('Patient Sex', 'Patient Gender', 'Sex', 'Gender'),
    'view_position': ('View Position', 'View'),
}
_NIH_IMAGE_ID = re.compile(r'(\d{8})_\d{3}\.\w+')
_DELIMITERS = (',', ';', '\t')
# Ways to say that a value is not known.
_BLANK = frozenset({'', '-', '?', 'na', 'n/a', 'nan', 'none', 'null', 'unknown', 'u'})
# Ten times the NIH table. A gzip file of 3 MB can hold 3 GB.
_MAX_TEXT_BYTES = 1 << 27
_EXAMPLES = 5
_LONGEST_EXAMPLE = 40


class MetadataError(ValueError):
    """A metadata table or split list that cannot be used; the text names the file, the line and
    what was expected.
    """


@dataclass(frozen=True)
class Entry:
    """What the table says of one image; ages in years, UNKNOWN or UNKNOWN_NUMBER where it says
    nothing usable.

    `patient_id` is '' where the table names none. `unknown_findings` are names in the cell of
    findings that are no label.
    """

    patient_id: str
    age: int = UNKNOWN_NUMBER
    sex: str = UNKNOWN
    view_position: str = UNKNOWN
    follow_up: int = UNKNOWN_NUMBER
    findings: tuple[str, ...] = ()
    unknown_findings: tuple[str, ...] = ()


@dataclass
class Oddity:
    """Rows of a table that share a fault.

    Attributes:
      column: a key of COLUMNS; '' where the fault is of the whole row.
      what: the fault.
      rows: how many rows have it.
      line: the first of their lines in the file, from 1.
      examples: some of the values.
    """

    column: str
    what: str
    rows: int
    line: int
    examples: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        place = f'{COLUMNS[self.column][0]}: ' if self.column else ''
        values = ', '.join(repr(value) for value in self.examples)
        rows = '1 row' if self.rows == 1 else f'{self.rows:,} rows, the first'
        return f'{place}{self.what} ({rows} in line {self.line}{": " if values else ""}{values})'


class Table(Mapping[str, Entry]):
    """A metadata table: image id -> Entry. An image is also found by another spelling of its name.

    Attributes:
      path: the file.
      oddities: what was not understood, or is contradictory.
      unknown: column -> rows in which its value is not known, be the cell empty or not understood.
    """

    def __init__(
        self, path: str, entries: dict[str, Entry], oddities: list[Oddity], unknown: Counter[str]
    ) -> None:
        self.path, self.oddities, self.unknown = path, oddities, unknown
        self._entries = entries
        self._names = ImageNames(entries)

    def spelled(self, image_id: str) -> str | None:
        """How the table writes the name of an image, None when it does not name it."""
        return self._names.spelled(image_id)

    def __getitem__(self, image_id: str) -> Entry:
        name = self.spelled(image_id)
        if name is None:
            raise KeyError(image_id)
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


def nih_patient(image_id: str) -> str | None:
    """The patient in an image id of the NIH form `PPPPPPPP_FFF.png`, as the 8 digits; None for
    other forms.
    """
    match = _NIH_IMAGE_ID.fullmatch(image_id)
    return match.group(1) if match else None


def normal_patient_id(text: str) -> str:
    """A patient id as it is compared and hashed: a numeric one with 8 digits, as it stands in NIH
    image ids; others as they are.
    """
    return spelling.patient(text)


def read_table(path: str) -> Table:
    """Reads a Data_Entry table: CSV, plain or gzip, separated by commas, semicolons or tabs.

    What a cell says and is not understood is unknown. A row that cannot be used (too few fields, no
    image, a second row that says something else of the same image) is left out. Both are counted in
    the result's `oddities`.

    Raises:
      MetadataError: the file is not a table, a column is missing, or no row can be used.
      OSError: the file cannot be read.
    """
    text, note = _read_text(path)
    sheet = _Sheet(path, text)
    reader = _Reader(sheet)
    if note:
        reader.odd('', note, 1)
    for line, row in sheet.rows():
        reader.take(line, row)
    return reader.table(path)


def read_cells(path: str, columns: Collection[str]) -> dict[str, dict[str, str]]:
    """The text of further columns: image id -> column -> cell, without columns that the table
    lacks.

    Raises:
      MetadataError, OSError: as `read_table`.
    """
    sheet = _Sheet(path, _read_text(path)[0])
    places = {name: place for name in columns if (place := sheet.place_of((name,))) is not None}
    places |= {
        name: place
        for column, place in sheet.places.items()
        for name in COLUMNS[column]
        if name in columns
    }
    image_id = sheet.places['image_id']
    usable = (row for _, row in sheet.rows() if sheet.fits(row))
    return {
        row[image_id]: {name: row[place] for name, place in places.items() if place < len(row)}
        for row in usable
    }


def read_list(path: str) -> ImageNames:
    """Reads a list of image ids, one a line (plain or gzip).

    Raises:
      MetadataError: the list is empty or is not text.
      OSError: the file cannot be read.
    """
    lines = (line.strip(' \t\r\n,;"') for line in _lines(_read_text(path)[0]))
    names = ImageNames(line for line in lines if line)
    if not names:
        raise MetadataError(f'{path}: the list of images is empty; expected one image id a line')
    return names


def read_text(path: str) -> str:
    """The text of a file, plain or gzip: UTF-8, UTF-16, or Windows-1252 as spreadsheets write it.

    Raises:
      MetadataError: it is not text, or longer than 128 MiB (unzipped).
      OSError: the file cannot be read.
    """
    return _read_text(path)[0]


def _read_text(path: str) -> tuple[str, str]:
    """The text of a file, and what is to be known of its encoding."""
    with open_binary(path) as file:
        try:
            zipped = file.peek(2)[:2] == b'\x1f\x8b'
            data = (gzip.GzipFile(fileobj=file) if zipped else file).read(_MAX_TEXT_BYTES + 1)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise MetadataError(f'{path}: not readable as text, plain or gzip ({error})') from None
    if len(data) > _MAX_TEXT_BYTES:
        raise MetadataError(
            f'{path}: more than {_MAX_TEXT_BYTES >> 20} MiB{" unzipped" if zipped else ""}, '
            'expected a table or list of images'
        )
    if data[:2] in (b'\xff\xfe', b'\xfe\xff'):
        return data.decode('utf-16', errors='replace'), ''
    try:
        return data.decode('utf-8-sig'), ''
    except UnicodeDecodeError:
        return data.decode(
            'cp1252', errors='replace'
        ), 'the file is not UTF-8, and was read as Windows-1252'


def _lines(text: str) -> Iterable[str]:
    return io.StringIO(text, newline=None)


class _Sheet:
    """The rows of a table, and which column is which.

    Attributes:
      places: key of COLUMNS -> position in a row.
    """

    def __init__(self, path: str, text: str) -> None:
        """Reads the header.

        Raises:
          MetadataError: there is none, or a column is missing.
        """
        self._lines = enumerate(_lines(text), 1)
        header = next(
            (
                line
                for _, line in self._lines
                if line.strip() and not line.lower().startswith('sep=')
            ),
            '',
        )
        if not header:
            raise MetadataError(
                f'{path}: the metadata table is empty; expected a CSV with the header of '
                'Data_Entry_2017_v2020.csv'
            )
        self._delimiter, names = _header(path, header)
        self._letters = [spelling.letters(name) for name in names]
        self.places: dict[str, int] = {}
        for column, spellings in COLUMNS.items():
            place = self.place_of(spellings)
            if place is None:
                raise MetadataError(
                    f'{path}: column {spellings[0]!r} is missing; found '
                    f'{printable(", ".join(names))[:300]}'
                )
            self.places[column] = place
        self._least = max(self.places.values()) + 1

    def place_of(self, spellings: Iterable[str]) -> int | None:
        """The position of the column that has one of these names."""
        keys = map(spelling.letters, spellings)
        return next((self._letters.index(key) for key in keys if key in self._letters), None)

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """Line number and cells of each row that is not blank.

        Each line is read by itself: a stray quote costs its own row, and does not swallow those
        behind it.
        """
        for line, content in self._lines:
            if '"' in content:
                try:
                    row = next(csv.reader([content], delimiter=self._delimiter), [])
                except csv.Error:
                    row = [content]
            else:
                row = content.split(self._delimiter)
            row = [cell.strip() for cell in row]
            while len(row) > len(self._letters) and not row[-1]:
                row.pop()
            if any(row):
                yield line, row

    def fits(self, row: list[str]) -> bool:
        """Whether a row has as many fields as the header, or only lacks some behind the last column
        that is used.
        """
        return self._least <= len(row) <= len(self._letters)


def _header(path: str, content: str) -> tuple[str, list[str]]:
    """The delimiter, and the names of the columns."""
    best: tuple[str, list[str]] = (',', [])
    try:
        for delimiter in _DELIMITERS:
            cells = next(csv.reader([content], delimiter=delimiter))
            # Two names of the release hold a comma each; mirrors quote them, the release does not:
            # its rows have a field for each half.
            names = [part.strip() for cell in cells for part in cell.split(',')]
            if not best[1] or _known(names) > _known(best[1]):
                best = delimiter, names
    except csv.Error as error:
        raise MetadataError(f'{path}, line 1: not the header of a CSV file ({error})') from None
    return best


def _known(header: list[str]) -> int:
    letters = {spelling.letters(name) for name in header}
    return sum(
        not letters.isdisjoint(map(spelling.letters, spellings)) for spellings in COLUMNS.values()
    )


class _Reader:
    """Turns rows into entries and counts what is odd."""

    def __init__(self, sheet: _Sheet) -> None:
        self._sheet = sheet
        self._entries: dict[str, Entry] = {}
        self._odd: dict[tuple[str, str], Oddity] = {}
        self._unknown: Counter[str] = Counter()
        self._contradictory: set[str] = set()

    def odd(self, column: str, what: str, line: int, value: str = '') -> None:
        """Counts a fault; `value` is an example of it."""
        oddity = self._odd.setdefault((column, what), Oddity(column, what, 0, line))
        oddity.rows += 1
        value = value if len(value) <= _LONGEST_EXAMPLE else value[:_LONGEST_EXAMPLE] + '…'
        if value and value not in oddity.examples and len(oddity.examples) < _EXAMPLES:
            oddity.examples.append(value)

    def take(self, line: int, row: list[str]) -> None:
        """Takes one row."""
        if not self._sheet.fits(row):
            self.odd(
                '',
                'another number of fields than the header has: the row is left out',
                line,
                f'{len(row)} fields',
            )
            return
        cells = {column: row[place] for column, place in self._sheet.places.items()}
        image_id = cells['image_id']
        if _blank(image_id):
            self.odd('image_id', 'empty: the row is left out', line)
            return
        entry = self._entry(line, image_id, cells)
        other = self._entries.setdefault(image_id, entry)
        if other is entry:
            return
        if other == entry:
            self.odd('image_id', 'rows that repeat an earlier one', line, image_id)
        else:
            self._contradictory.add(image_id)
            self.odd(
                'image_id',
                'rows that contradict an earlier one of the same image: the image is left out',
                line,
                image_id,
            )

    def table(self, path: str) -> Table:
        """What was read."""
        for image_id in self._contradictory:
            del self._entries[image_id]
        oddities = list(self._odd.values())
        if not self._entries:
            if oddities:
                raise MetadataError(
                    f'{path}: the metadata table has no row that can be used: '
                    + '; '.join(map(str, oddities[:3]))
                )
            raise MetadataError(f'{path}: the metadata table has a header but no rows')
        return Table(path, self._entries, oddities, self._unknown)

    def _entry(self, line: int, image_id: str, cells: dict[str, str]) -> Entry:
        patient = '' if _blank(cells['patient_id']) else spelling.patient(cells['patient_id'])
        if not patient:
            self.odd(
                'patient_id',
                'empty: the patient is told by the name of the image, where it tells one',
                line,
                image_id,
            )
        elif (nih_patient(image_id) or patient) != patient:
            self.odd(
                'patient_id',
                'another patient than the name of the image says: the table is believed',
                line,
                f'{image_id}: {patient}',
            )
        findings, unknown_findings = spelling.findings(cells['findings'])
        for name in unknown_findings:
            self.odd('findings', 'names that are no label', line, name)
        age = self._value('age', spelling.age, 'not an age from 0 to 120: unknown', line, cells)
        follow_up = self._value(
            'follow_up', spelling.study_number, 'not a follow-up number: unknown', line, cells
        )
        return Entry(
            patient_id=patient,
            age=UNKNOWN_NUMBER if age is None else age,
            sex=self._value('sex', spelling.sex, 'neither F nor M: unknown', line, cells)
            or UNKNOWN,
            view_position=self._value(
                'view_position', spelling.view, 'neither PA nor AP: unknown', line, cells
            )
            or UNKNOWN,
            follow_up=UNKNOWN_NUMBER if follow_up is None else follow_up,
            findings=findings,
            unknown_findings=unknown_findings,
        )

    def _value(self, column: str, understand, what: str, line: int, cells: dict[str, str]):
        text = cells[column]
        value = None if _blank(text) else understand(text)
        if value is None:
            self._unknown[column] += 1
            if not _blank(text):
                self.odd(column, what, line, text)
        return value


def _blank(text: str) -> bool:
    return text.casefold() in _BLANK
