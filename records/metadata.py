"""Reads the NIH metadata table (Data_Entry_2017_v2020.csv) and the official split lists.

People write tables in many ways, and one odd cell must not cost 112,120 rows. Common spellings are
understood (`records.spelling`); other values count as unknown, and each of them is reported with
its line.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from records import spelling
from records.sheet import COLUMNS, MetadataError, Sheet, decode_text, split_lines
from records.spelling import ImageNames
from schemas.features import SEXES, UNKNOWN, UNKNOWN_NUMBER, VIEWS

__all__ = [
    'Entry',
    'MetadataError',
    'RowProblem',
    'Table',
    'nih_patient',
    'read_cells',
    'read_list',
    'read_table',
    'read_tables',
    'read_text',
]

_Value = TypeVar('_Value')
_NIH_IMAGE_ID = re.compile(r'(\d{8})_\d{3}\.\w+')
# Spellings of an unknown value.
_BLANK = frozenset({'', '-', '?', 'na', 'n/a', 'nan', 'none', 'null', 'unknown', 'u'})
_MAX_EXAMPLES = 5
_MAX_EXAMPLE_LENGTH = 40


@dataclass(frozen=True)
class Entry:
    """The row of one image.

    Attributes:
      patient_id: '' if the table has none.
      age: years, or UNKNOWN_NUMBER.
      sex: one of SEXES, or UNKNOWN.
      view_position: one of VIEWS, or UNKNOWN.
      follow_up: the patient's study number, or UNKNOWN_NUMBER.
      findings: labels in the cell of findings.
      unknown_findings: names in it that are not labels.
    """

    patient_id: str
    age: int = UNKNOWN_NUMBER
    sex: str = UNKNOWN
    view_position: str = UNKNOWN
    follow_up: int = UNKNOWN_NUMBER
    findings: tuple[str, ...] = ()
    unknown_findings: tuple[str, ...] = ()


@dataclass
class RowProblem:
    """A problem that one or more rows of a table have.

    Attributes:
      column: a key of COLUMNS; '' if the problem concerns the whole row.
      what: the problem.
      rows: number of rows with it.
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
    """A metadata table: image id -> Entry. Other spellings of an image's name work too.

    Attributes:
      path: the file.
      problems: values that were not understood, or contradict each other.
      unknown: column -> number of rows whose value is unknown, empty cells included.
    """

    def __init__(
        self,
        path: str,
        entries: dict[str, Entry],
        problems: list[RowProblem],
        unknown: Counter[str],
    ) -> None:
        self.path, self.problems, self.unknown = path, problems, unknown
        self._entries = entries
        self._names = ImageNames(entries)

    def spelled(self, image_id: str) -> str | None:
        """The name of an image as the table writes it; None if the table does not name it."""
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
    """The 8 digits of the patient in an image id of the NIH form `PPPPPPPP_FFF.png`; else None."""
    match = _NIH_IMAGE_ID.fullmatch(image_id)
    return match.group(1) if match else None


def read_table(path: str) -> Table:
    """Reads a Data_Entry table: CSV, plain or gzip, separated by commas, semicolons or tabs.

    A value that is not understood is unknown. A row that cannot be used (too few fields, no image,
    or a second row that contradicts the first one of an image) is left out. The table's `problems`
    count both.

    Example:
        >>> read_table('metadata/Data_Entry_2017_v2020.csv.gz')['00000013_005.png'].age
        60

    Raises:
      MetadataError: the file is not a table, a column is missing, or no row can be used.
      OSError: the file cannot be read.
    """
    text, warning = decode_text(path)
    sheet = Sheet(path, text)
    reader = _Reader(sheet)
    if warning:
        reader.report('', warning, 1)
    for line, row in sheet.rows():
        reader.add(line, row)
    return reader.table(path)


def read_tables(paths: Sequence[str]) -> Table:
    """Reads tables that together name all images; see `read_table`.

    Raises:
      MetadataError: as `read_table`, or two tables name the same image.
      OSError: a file cannot be read.
    """
    tables = [read_table(path) for path in paths]
    if len(tables) == 1:
        return tables[0]
    owner: dict[str, str] = {}
    for table in tables:
        for image_id in table:
            if image_id in owner:
                raise MetadataError(
                    f'{table.path}: it names image {image_id}, and so does {owner[image_id]}. '
                    'Remove the image from one of the data sets'
                )
            owner[image_id] = table.path
    return Table(
        ', '.join(paths),
        {image_id: table[image_id] for table in tables for image_id in table},
        [problem for table in tables for problem in table.problems],
        sum((table.unknown for table in tables), Counter()),
    )


def read_cells(path: str, columns: Collection[str]) -> dict[str, dict[str, str]]:
    """Reads further columns as text: image id -> heading -> cell.

    Headings that the table lacks are left out.

    Raises:
      MetadataError, OSError: as `read_table`.
    """
    sheet = Sheet(path, decode_text(path)[0])
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
    """Reads a list of image ids, one per line, plain or gzip.

    Raises:
      MetadataError: the list is empty or is not text.
      OSError: the file cannot be read.
    """
    lines = (line.strip(' \t\r\n,;"') for line in split_lines(decode_text(path)[0]))
    names = ImageNames(line for line in lines if line)
    if not names:
        raise MetadataError(f'{path}: the list of images is empty; expected one image id per line')
    return names


def read_text(path: str) -> str:
    """Reads a text file; see `records.sheet.decode_text`."""
    return decode_text(path)[0]


class _Reader:
    """Turns rows into entries and counts their problems."""

    def __init__(self, sheet: Sheet) -> None:
        self._sheet = sheet
        self._entries: dict[str, Entry] = {}
        self._problems: dict[tuple[str, str], RowProblem] = {}
        self._unknown: Counter[str] = Counter()
        self._contradictory: set[str] = set()

    def report(self, column: str, what: str, line: int, value: str = '') -> None:
        """Counts a problem; `value` is an example of it."""
        problem = self._problems.setdefault((column, what), RowProblem(column, what, 0, line))
        problem.rows += 1
        value = value if len(value) <= _MAX_EXAMPLE_LENGTH else value[:_MAX_EXAMPLE_LENGTH] + '…'
        if value and value not in problem.examples and len(problem.examples) < _MAX_EXAMPLES:
            problem.examples.append(value)

    def add(self, line: int, row: list[str]) -> None:
        """Adds one row."""
        if not self._sheet.fits(row):
            self.report(
                '',
                'not as many fields as the header: the row is left out',
                line,
                f'{len(row)} fields',
            )
            return
        cells = {column: row[place] for column, place in self._sheet.places.items()}
        image_id = cells['image_id']
        if _blank(image_id):
            self.report('image_id', 'empty: the row is left out', line)
            return
        entry = self._entry(line, image_id, cells)
        other = self._entries.setdefault(image_id, entry)
        if other is entry:
            return
        if other == entry:
            self.report('image_id', 'rows that repeat an earlier row', line, image_id)
        else:
            self._contradictory.add(image_id)
            self.report(
                'image_id',
                'rows that contradict an earlier row of the same image: the image is left out',
                line,
                image_id,
            )

    def table(self, path: str) -> Table:
        """The table of all rows.

        Raises:
          MetadataError: no row can be used.
        """
        for image_id in self._contradictory:
            del self._entries[image_id]
        problems = list(self._problems.values())
        if not self._entries:
            if problems:
                raise MetadataError(
                    f'{path}: the metadata table has no row that can be used: '
                    + '; '.join(map(str, problems[:3]))
                )
            raise MetadataError(f'{path}: the metadata table has a header but no rows')
        return Table(path, self._entries, problems, self._unknown)

    def _entry(self, line: int, image_id: str, cells: dict[str, str]) -> Entry:
        patient = '' if _blank(cells['patient_id']) else spelling.patient(cells['patient_id'])
        if not patient:
            self.report(
                'patient_id',
                'empty: the patient is taken from the name of the image if possible',
                line,
                image_id,
            )
        elif (nih_patient(image_id) or patient) != patient:
            self.report(
                'patient_id',
                'not the patient in the name of the image: the table counts',
                line,
                f'{image_id}: {patient}',
            )
        findings, unknown_findings = spelling.findings(cells['findings'])
        for name in unknown_findings:
            self.report('findings', 'names that are not labels', line, name)
        age = self._value('age', spelling.age, 'not an age from 0 to 120: unknown', line, cells)
        follow_up = self._value(
            'follow_up', spelling.study_number, 'not a follow-up number: unknown', line, cells
        )
        return Entry(
            patient_id=patient,
            age=UNKNOWN_NUMBER if age is None else age,
            sex=self._value(
                'sex', spelling.sex, f'neither {" nor ".join(SEXES)}: unknown', line, cells
            )
            or UNKNOWN,
            view_position=self._value(
                'view_position',
                spelling.view,
                f'neither {" nor ".join(VIEWS)}: unknown',
                line,
                cells,
            )
            or UNKNOWN,
            follow_up=UNKNOWN_NUMBER if follow_up is None else follow_up,
            findings=findings,
            unknown_findings=unknown_findings,
        )

    def _value(
        self,
        column: str,
        parse: Callable[[str], _Value | None],
        what: str,
        line: int,
        cells: dict[str, str],
    ) -> _Value | None:
        """The value of a cell; None if it is empty or `parse` does not understand it."""
        text = cells[column]
        value = None if _blank(text) else parse(text)
        if value is None:
            self._unknown[column] += 1
            if not _blank(text):
                self.report(column, what, line, text)
        return value


def _blank(text: str) -> bool:
    return text.casefold() in _BLANK
