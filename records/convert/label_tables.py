"""Reads the labels of images from a table in one of `records.convert.label_formats`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from records.convert.label_formats import NOTHING, OTHER, UNUSABLE, LabelFormat, key_of
from records.convert.sources import SourceError
from records.sheet import named_rows
from records.terminal import printable
from schemas import labels as labels_lib
from schemas.labels import NO_FINDING

POSITIVE, NEGATIVE, LEAVE_OUT = 'positive', 'negative', 'leave-out'
# Why an image with a row is left out.
NOT_FRONTAL = 'images left out: not frontal, says the table'
UNCERTAIN = 'images left out: a finding is uncertain'
NOT_USABLE = 'images left out: the table says that they cannot be used'
NO_LABEL = 'images left out: neither a finding nor No Finding'


@dataclass(frozen=True)
class Row:
    """What a table says about an image; '' where it says nothing.

    Attributes:
      labels: its positive labels; empty if it is left out.
      left_out: why it is left out, or ''.
      patient, age, sex, view: texts of the table.
    """

    labels: tuple[str, ...]
    left_out: str = ''
    patient: str = ''
    age: str = ''
    sex: str = ''
    view: str = ''


@dataclass
class _Votes:
    """The rows of an image: how many, and how many of them have each finding."""

    cells: dict[str, str]
    readers: int = 0
    present: Counter[str] = field(default_factory=Counter)
    uncertain: Counter[str] = field(default_factory=Counter)


def read(path: Path, form: LabelFormat, uncertain: str = POSITIVE) -> dict[str, Row]:
    """Reads a table: name of the image, as `key_of` makes it -> Row.

    Args:
      path: a CSV file, plain or gzip.
      form: where the table has what.
      uncertain: whether an uncertain finding counts as POSITIVE, as NEGATIVE, or leaves the image
        out (LEAVE_OUT): U-Ones, U-Zeros and U-Ignore of Irvin et al., AAAI 2019.

    Raises:
      SourceError: it lacks a column, repeats an image, or has another value than expected.
      MetadataError, OSError: it cannot be read.
    """
    images: dict[str, _Votes] = {}
    for line, cells in _rows(path, form):
        key = key_of(cells[form.image], form.match)
        votes = images.setdefault(key, _Votes(cells))
        votes.readers += 1
        if votes.readers > 1 and not form.several_readers and not _agrees(form, votes.cells, cells):
            raise SourceError(
                f'{path}, line {line}: a second row of the same image with other labels. Set '
                'several_readers in a mapping file if each reader has a row'
            )
        try:
            _count(form, cells, votes)
        except ValueError as error:
            raise SourceError(f'{path}, line {line}: {error}') from None
    return {key: _row(form, votes, uncertain) for key, votes in images.items()}


def _rows(path: Path, form: LabelFormat) -> Iterator[tuple[int, dict[str, str]]]:
    names, rows = named_rows(str(path))
    missing = [name for name in _columns(form) if name not in names]
    if missing:
        raise SourceError(
            f'{path}: column {missing[0]!r} is missing; the header has '
            f'{printable(", ".join(names))[:300]}. Choose another --label-format'
        )
    return rows


def _columns(form: LabelFormat) -> Sequence[str]:
    single = (form.image, form.column, form.patient, form.age, form.sex, form.view)
    return [*(name for name in single if name), *form.findings, *form.lateral]


def _agrees(form: LabelFormat, first: dict[str, str], other: dict[str, str]) -> bool:
    return all(first[name] == other[name] for name in (*form.findings, form.column) if name)


def _count(form: LabelFormat, cells: dict[str, str], votes: _Votes) -> None:
    if form.column:
        votes.present.update({_named(form, name) for name in _names(cells[form.column])})
        return
    present, uncertain = set(), set()
    for column, label in form.findings.items():
        text = cells[column]
        try:
            value = float(text) if text else 0.0
        except ValueError:
            value = float('nan')
        if value == 1:
            present.add(label)
        elif value == -1:
            uncertain.add(label)
        elif value != 0:
            raise ValueError(f'{column} is {printable(text)[:40]!r}: expected 1, 0, -1 or nothing')
    votes.present.update(present)
    votes.uncertain.update(uncertain - present)


def _names(cell: str) -> list[str]:
    """The names in a cell: 'a, b', or "['a', 'b']" as Python writes a list."""
    parts = re.split(r'[,|;]', cell.strip('[]')) if cell.startswith('[') else [cell]
    return [name for part in parts if (name := part.strip(' \'"'))]


def _named(form: LabelFormat, name: str) -> str:
    return form.names.get(name, OTHER)


def _row(form: LabelFormat, votes: _Votes, uncertain: str) -> Row:
    majority = votes.readers // 2
    present = {label for label, count in votes.present.items() if count > majority}
    doubtful = {label for label, count in votes.uncertain.items() if count > majority} - present
    doubtful.discard(NO_FINDING)
    if uncertain == POSITIVE:
        present |= doubtful
    findings = present - {NO_FINDING, NOTHING, UNUSABLE, OTHER}
    if OTHER in present:
        findings.add(labels_lib.OTHER)
    left_out, labels = '', tuple(sorted(findings))
    if any(votes.cells[name] in texts for name, texts in form.lateral.items()):
        left_out = NOT_FRONTAL
    elif UNUSABLE in present:
        left_out = NOT_USABLE
    elif uncertain == LEAVE_OUT and doubtful - {NOTHING}:
        left_out = UNCERTAIN
    elif not findings and NO_FINDING in present:
        labels = (NO_FINDING,)
    elif not findings:
        left_out = NO_LABEL
    cells = votes.cells
    pattern = re.search(form.patient_pattern or r'(?!)', cells[form.image])
    return Row(
        () if left_out else labels,
        left_out,
        pattern[1] if pattern else cells.get(form.patient or '', ''),
        *(cells.get(name or '', '') for name in (form.age, form.sex, form.view)),
    )
