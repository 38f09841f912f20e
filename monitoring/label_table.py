"""Labels that become known later, such as diagnoses that another system exports as a table."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import InstrumentedAttribute, Session

from monitoring.late_labels import ABNORMAL, NORMAL
from monitoring.traffic import ReadStudy
from serving.database.tables import PENDING, Study
from serving.pacs import accession, origin

LABEL = 'label'
ACCESSION, UID, REFERENCE, STUDY = (
    'accession_number',
    'study_instance_uid',
    'reference',
    'study',
)
KEYS = (ACCESSION, UID, REFERENCE, STUDY)
_KEYS_PER_QUERY = 500


class LabelTableError(ValueError):
    """A table that cannot be used; the text names file and line, and says what was expected."""


@dataclass(frozen=True)
class LabelTable:
    """A table that was read.

    Attributes:
      path: the file.
      key: which of KEYS names the studies.
      labels: key -> NORMAL or ABNORMAL.
    """

    path: Path
    key: str
    labels: dict[str, str]


@dataclass(frozen=True)
class Labelled:
    """The studies of a version that a table has labels of.

    Attributes:
      name: of the table's file.
      studies: answered by the version, the oldest first; `reader` is the name of the table.
      rows: of the table.
      matched: rows whose study the version answered.
    """

    name: str
    studies: list[ReadStudy]
    rows: int
    matched: int


def read(path: Path) -> LabelTable:
    """Reads a CSV file with one column of KEYS and the column LABEL.

    Raises:
      LabelTableError: a column is missing or not clear, a label is neither NORMAL nor ABNORMAL, a
        key is empty, or has two labels.
      OSError: it cannot be read.
    """
    try:
        with path.open(encoding='utf-8-sig', newline='') as stream:
            reader = csv.DictReader(stream)
            key = _key(path, reader.fieldnames or [])
            labels: dict[str, str] = {}
            for row in reader:
                where = f'{path}, line {reader.line_num}'
                name, label = (row[key] or '').strip(), (row[LABEL] or '').strip().lower()
                if not name:
                    raise LabelTableError(f'{where}: {key} is empty')
                if label not in (NORMAL, ABNORMAL):
                    raise LabelTableError(
                        f'{where}: {LABEL} is {label!r}: expected {NORMAL} or {ABNORMAL}'
                    )
                if labels.setdefault(name, label) != label:
                    raise LabelTableError(f'{where}: a second, other label of the same {key}')
    except (UnicodeDecodeError, csv.Error) as error:
        raise LabelTableError(f'{path}: not a CSV file in UTF-8: {error}') from None
    if not labels:
        raise LabelTableError(f'{path}: has no rows')
    return LabelTable(path, key, labels)


def _key(path: Path, columns: Sequence[str]) -> str:
    found = [name for name in KEYS if name in columns]
    if len(found) != 1 or LABEL not in columns:
        raise LabelTableError(
            f'{path}: has the columns {", ".join(columns) or "none"}: expected {LABEL} and one of '
            f'{", ".join(KEYS)}'
        )
    return found[0]


def find(
    session: Session, table: LabelTable, version: int, folder: Path, site: str | None = None
) -> Labelled:
    """The studies of a version that a table has labels of.

    Args:
      session: of the gateway's database.
      table: from `read`.
      version: that answered.
      folder: of the service, which has the key of accession numbers.
      site: of the studies; None for all.

    Raises:
      OSError: the key cannot be read.
    """
    column, stored = _stored(table.key, folder)
    labels = {stored(name): label for name, label in table.labels.items()}
    names = [name for name in labels if name is not None]
    studies: list[tuple[int, ReadStudy]] = []
    matched: set[str] = set()
    for start in range(0, len(names), _KEYS_PER_QUERY):
        query = select(Study, column).where(
            column.in_(names[start : start + _KEYS_PER_QUERY]),
            Study.version == version,
            Study.state != PENDING,
        )
        if site is not None:
            query = query.where(Study.site == site)
        for study, name in session.execute(query):
            matched.add(name)
            studies.append((study.number, _read(study, labels[name], table.path.name)))
    studies.sort(key=lambda item: item[0])
    return Labelled(table.path.name, [study for _, study in studies], len(labels), len(matched))


def _stored(key: str, folder: Path) -> tuple[InstrumentedAttribute, Callable[[str], str | None]]:
    """The column of the database, and what it has instead of a key of the table."""
    if key == ACCESSION:
        secret = accession.load_key(folder)
        return Study.accession_key, lambda number: accession.keyed(secret, number)
    if key == UID:
        return Study.dicom_key, origin.key
    return (Study.reference if key == REFERENCE else Study.id), lambda name: name


def _read(study: Study, label: str, table: str) -> ReadStudy:
    return ReadStudy(
        study.id, study.arrived_at, study.probability, bool(study.flag), label, table, study.site
    )
