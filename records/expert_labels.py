"""Reads a table of experts' labels: what radiologists who saw the images say of them.

Such as the labels that Google published for NIH images (docs/dicom.md has the source).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from records import spelling
from records.sheet import COLUMNS, MetadataError, named_rows
from records.terminal import printable
from schemas.labels import ABNORMAL, FINDINGS

LABELS = (ABNORMAL, *FINDINGS)
_ANSWERS = {
    **dict.fromkeys(('yes', 'y', 'true', 'present', 'positive', '1', '1.0'), 1),
    **dict.fromkeys(('no', 'n', 'false', 'absent', 'negative', '0', '0.0'), 0),
    **dict.fromkeys(('', 'hedge', 'uncertain', 'nan', 'na', '-1', '-1.0'), None),
}


@dataclass(frozen=True)
class ExpertLabels:
    """The content of a table.

    Attributes:
      path: of the table.
      rows: number of rows.
      images: the image ids, as the table spells them first.
      columns: label -> the columns that it comes from.
      labels: label -> image id -> 0 or 1; an image is missing where most of its rows say neither.
    """

    path: str
    rows: int
    images: tuple[str, ...]
    columns: dict[str, tuple[str, ...]]
    labels: dict[str, dict[str, int]]


@dataclass
class _Image:
    """An image, its number of rows, and how many of them say (label, answer)."""

    name: str
    rows: int = 0
    answers: Counter[tuple[str, int]] = field(default_factory=Counter)

    def label(self, name: str) -> int | None:
        """What more than half of the rows say of a label."""
        majority = self.rows / 2
        return next((value for value in (1, 0) if self.answers[name, value] > majority), None)


def read(
    path: str, image: str | None = None, columns: Mapping[str, Iterable[str]] | None = None
) -> ExpertLabels:
    """Reads a table with a row for each image, or for each image and reader: the majority decides.

    Args:
      path: a CSV file, plain or gzip, local or in an object store.
      image: the column with the image id; None looks for the usual names.
      columns: label -> its columns: 1 where one says YES, 0 where all say NO. Without any, the
        columns that have the name of a label.

    Example:
        >>> read('test_labels.csv').labels['abnormal']['00000013_005.png']
        1

    Raises:
      MetadataError: it is missing, or lacks a column, or a cell is not understood. The text names
        the file, line and column.
    """
    try:
        names, rows = named_rows(path)
    except FileNotFoundError:
        raise MetadataError(
            f'{path}: no such file. It is data.expert_labels.file, relative to the data root'
        ) from None
    image_column = _image_column(path, names, image)
    by_label = {label: tuple(of) for label, of in (columns or {}).items()} or _named(path, names)
    for column in [column for of in by_label.values() for column in of]:
        _require(path, names, column, 'data.expert_labels.columns')
    images: dict[str, _Image] = {}
    count = 0
    for line, cells in rows:
        if not any(cells.values()):
            continue
        name = cells[image_column]
        if not name:
            raise MetadataError(f'{path}, line {line}: column {image_column!r} is empty')
        count += 1
        seen = images.setdefault(spelling.image_key(name), _Image(name))
        seen.rows += 1
        for label, of in by_label.items():
            answer = _any([_answer(path, line, column, cells[column]) for column in of])
            if answer is not None:
                seen.answers[label, answer] += 1
    if not images:
        raise MetadataError(f'{path}: it has a header and no rows')
    labels: dict[str, dict[str, int]] = defaultdict(dict)
    for seen in images.values():
        for label in by_label:
            if (value := seen.label(label)) is not None:
                labels[label][seen.name] = value
    return ExpertLabels(
        path, count, tuple(seen.name for seen in images.values()), by_label, dict(labels)
    )


def _image_column(path: str, names: tuple[str, ...], image: str | None) -> str:
    if image is not None:
        return _require(path, names, image, 'data.expert_labels.image')
    usual = {spelling.letters(name) for name in COLUMNS['image_id']}
    for name in names:
        if spelling.letters(name) in usual:
            return name
    raise MetadataError(
        f'{path}: no column is named {", ".join(COLUMNS["image_id"])}; the header has '
        f'{_shown(names)}. Name the column with data.expert_labels.image'
    )


def _named(path: str, names: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """The columns that have the name of a label."""
    letters = {name: spelling.letters(name) for name in names}
    by_label = {
        label: of
        for label in LABELS
        if (of := tuple(name for name in names if letters[name] == spelling.letters(label)))
    }
    if not by_label:
        raise MetadataError(
            f'{path}: no column has the name of a label ({", ".join(LABELS)}); the header has '
            f'{_shown(names)}. Name the columns of each label with data.expert_labels.columns'
        )
    return by_label


def _require(path: str, names: tuple[str, ...], column: str, key: str) -> str:
    if column not in names:
        raise MetadataError(
            f'{path}: column {column!r}, which {key} names, is missing; the header has '
            f'{_shown(names)}'
        )
    return column


def _answer(path: str, line: int, column: str, text: str) -> int | None:
    key = text.lower()
    if key not in _ANSWERS:
        raise MetadataError(
            f'{path}, line {line}: column {column!r} is {printable(text)[:40]!r}: expected YES or '
            'NO, 1 or 0, or nothing, HEDGE or -1 where the reader is not sure'
        )
    return _ANSWERS[key]


def _any(answers: list[int | None]) -> int | None:
    """1 if one answer is, 0 if all are, else None."""
    if 1 in answers:
        return 1
    return None if None in answers else 0


def _shown(names: tuple[str, ...]) -> str:
    return printable(', '.join(names))[:300]
