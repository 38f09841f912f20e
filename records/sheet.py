"""Reads the text and the rows of a metadata table, in any usual encoding and delimiter."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Iterable, Iterator

from records import spelling
from records.terminal import printable
from records.tfrecord import open_binary

# Columns by their headings; the first one is that of the NIH release. Case, spaces and punctuation
# do not matter.
COLUMNS: dict[str, tuple[str, ...]] = {
    'image_id': ('Image Index', 'Image ID', 'Image', 'File name'),
    'findings': ('Finding Labels', 'Findings', 'Labels'),
    'follow_up': ('Follow-up #', 'Follow-up number'),
    'patient_id': ('Patient ID', 'Patient'),
    'age': ('Patient Age', 'Age'),
    'sex': ('Patient Sex', 'Patient Gender', 'Sex', 'Gender'),
    'view_position': ('View Position', 'View'),
}
_DELIMITERS = (',', ';', '\t')
# Ten times the NIH table. A gzip file of 3 MB can hold 3 GB.
_MAX_TEXT_BYTES = 1 << 27


class MetadataError(ValueError):
    """A metadata table or split list that cannot be used.

    The text names the file, the line and what was expected.
    """


def decode_text(path: str) -> tuple[str, str]:
    """Reads a text file, plain or gzip: UTF-8, UTF-16, or Windows-1252 as spreadsheets write it.

    Returns:
      The text, and a warning about its encoding, or ''.

    Raises:
      MetadataError: it is not text, or longer than 128 MiB (unzipped).
      OSError: the file cannot be read.
    """
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
        text = data.decode('cp1252', errors='replace')
        return text, 'the file is not UTF-8 and was read as Windows-1252'


def named_rows(path: str) -> tuple[tuple[str, ...], Iterator[tuple[int, dict[str, str]]]]:
    """Reads a table whose columns are known by their headings.

    Args:
      path: a CSV file with commas, semicolons or tabs, plain or gzip.

    Returns:
      The headings; and for each row its line number, and heading -> cell ('' where it has none).

    Raises:
      MetadataError, OSError: see `decode_text`; iterating raises MetadataError for a broken row.
    """
    text, _ = decode_text(path)
    header = text.partition('\n')[0]
    delimiter = max(_DELIMITERS, key=header.count)
    reader = csv.DictReader(io.StringIO(text, newline=''), delimiter=delimiter)
    names = [name.strip() for name in reader.fieldnames or ()]
    reader.fieldnames = names

    def rows() -> Iterator[tuple[int, dict[str, str]]]:
        try:
            for cells in reader:
                yield reader.line_num, {name: (cells.get(name) or '').strip() for name in names}
        except csv.Error as error:
            raise MetadataError(
                f'{path}, line {reader.line_num}: not a CSV file ({error})'
            ) from None

    return tuple(names), rows()


def split_lines(text: str) -> Iterable[str]:
    """The lines of a text, whatever their ends."""
    return io.StringIO(text, newline=None)


class Sheet:
    """The rows of a table, and the position of each column.

    Attributes:
      places: key of COLUMNS -> position in a row.
    """

    def __init__(self, path: str, text: str) -> None:
        """Reads the header.

        Raises:
          MetadataError: there is no header, or a column is missing.
        """
        self._lines = enumerate(split_lines(text), 1)
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
        self._headings = [spelling.letters(name) for name in names]
        self.places: dict[str, int] = {}
        for column, spellings in COLUMNS.items():
            place = self.place_of(spellings)
            if place is None:
                raise MetadataError(
                    f'{path}: column {spellings[0]!r} is missing; the header has '
                    f'{printable(", ".join(names))[:300]}'
                )
            self.places[column] = place
        self._least = max(self.places.values()) + 1

    def place_of(self, spellings: Iterable[str]) -> int | None:
        """The position of the column with one of these headings; None without one."""
        keys = map(spelling.letters, spellings)
        return next((self._headings.index(key) for key in keys if key in self._headings), None)

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """Yields the line number and the cells of each row that is not blank.

        Each line is parsed by itself, so that a stray quote costs one row and not all that follow.
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
            while len(row) > len(self._headings) and not row[-1]:
                row.pop()
            if any(row):
                yield line, row

    def fits(self, row: list[str]) -> bool:
        """Whether a row has a field for each column that is used, and not more than the header."""
        return self._least <= len(row) <= len(self._headings)


def _header(path: str, content: str) -> tuple[str, list[str]]:
    """The delimiter, and the headings."""
    best: tuple[str, list[str]] = (',', [])
    try:
        for delimiter in _DELIMITERS:
            cells = next(csv.reader([content], delimiter=delimiter))
            # Two headings of the release contain a comma. Mirrors quote them; the release does not,
            # and its rows have a field for each half.
            names = [part.strip() for cell in cells for part in cell.split(',')]
            if not best[1] or _count_columns(names) > _count_columns(best[1]):
                best = delimiter, names
    except csv.Error as error:
        raise MetadataError(f'{path}, line 1: not the header of a CSV file ({error})') from None
    return best


def _count_columns(header: list[str]) -> int:
    """How many of COLUMNS a header has."""
    headings = {spelling.letters(name) for name in header}
    return sum(
        not headings.isdisjoint(map(spelling.letters, spellings)) for spellings in COLUMNS.values()
    )
