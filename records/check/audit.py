"""Combines the scans of all files and finds the problems that show only across records.

It also compares the records with the metadata table, the official split lists and
preprocessed_data.csv.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field

from records import walking
from records.check.problems import Problem
from records.check.scan import FileScan, Row, label_fault, positive
from records.intake import Intake, Rejected
from records.metadata import Entry, Table, read_text
from records.problems import PROBLEMS, WARNING
from schemas import problem_names as names
from schemas.features import age_band
from schemas.labels import LABELS, NO_FINDING

# Types of files that may hold images of the data set.
_MAY_HOLD_IMAGES = (
    '.dcm',
    '.dicom',
    '.png',
    '.jpg',
    '.jpeg',
    '.tif',
    '.tiff',
    '.bmp',
    'not regular files',
)


@dataclass
class FileResult:
    """One row of the table of files."""

    name: str
    promised: int | None
    records: int
    damaged: int
    rejected: int


@dataclass
class _Place:
    """The file, row and patient of a record, to compare later records with it."""

    file: str
    row: Row
    patient: str


@dataclass
class Audit:
    """Everything about a data root: call `add` with the scan of each file, then `finish`."""

    intake: Intake
    metadata: Table | None = None
    files: list[FileResult] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    labels: Counter[str] = field(default_factory=Counter)
    abnormal: int = 0
    other: int = 0
    accepted: int = 0
    joined: int = 0
    notes: Counter[str] = field(default_factory=Counter)
    patients: Counter[str] = field(default_factory=Counter)
    patient_sources: Counter[str] = field(default_factory=Counter)
    ages: Counter[str] = field(default_factory=Counter)  # by band
    sexes: Counter[str] = field(default_factory=Counter)
    views: Counter[str] = field(default_factory=Counter)
    listed: dict[str, int] = field(default_factory=dict)
    ignored: Counter[str] = field(default_factory=Counter)  # type of file -> number
    labels_of: dict[str, int] = field(default_factory=dict)  # image_id -> bits
    _rejected: set[str] = field(default_factory=set)  # image ids
    _by_digest: dict[str, _Place] = field(default_factory=dict)
    _by_id: dict[str, tuple[str, int]] = field(default_factory=dict)  # image_id -> file, record

    @property
    def errors(self) -> list[Problem]:
        """The problems that make the data root unclean."""
        return [problem for problem in self.problems if problem.is_error]

    def add(self, scan: FileScan) -> None:
        """Adds the scan of one file."""
        damaged = [fault for fault in scan.faults if fault.kind == names.DAMAGED_RECORD]
        unusable = len(scan.faults) - len(damaged)
        if scan.error:
            self._report(names.UNREADABLE_FILE, scan.error, scan.name)
        for fault in scan.faults:
            self._report(
                fault.kind, fault.reason, scan.name, fault.index, fault.offset, fault.image_id or ''
            )
            if fault.image_id:
                self._rejected.add(fault.image_id)
        if scan.promised is not None and scan.promised != scan.records and not scan.error:
            self._report(
                names.WRONG_RECORD_COUNT,
                f'its name says {scan.promised} records, and it holds {scan.records} undamaged '
                'ones',
                scan.name,
            )
        rejected = unusable + sum(not self._add_row(scan.name, row) for row in scan.rows)
        self.files.append(
            FileResult(scan.name, scan.promised, scan.records, len(damaged), rejected)
        )

    def _add_row(self, file: str, row: Row) -> bool:
        """Adds one record; False if it would be rejected."""
        patient = self.intake.patient_of(row.image_id, lambda: row.digest)
        key = row.image_id or ''
        if isinstance(patient, Rejected):
            self._report(patient.kind, patient.reason, file, row.index, row.offset, key)
            self._rejected.add(key)
            return False
        self.accepted += 1
        self.patients[patient.patient_id] += 1
        self.patient_sources[patient.source] += 1
        self.notes.update((*row.notes, *patient.notes))
        labels = positive(row.labels)
        self.labels.update(labels)
        self.abnormal += NO_FINDING not in labels
        self.other += row.other
        self._check_labels(file, row, labels, patient.entry)
        if row.pixels:
            kind, reason = row.pixels
            self._report(kind, reason, file, row.index, row.offset, key)
        self._find_copies(_Place(file, row, patient.patient_id))
        return True

    def _check_labels(
        self, file: str, row: Row, labels: tuple[str, ...], entry: Entry | None
    ) -> None:
        key = row.image_id or ''
        if fault := label_fault(labels, row.other):
            self._report(*fault, file, row.index, row.offset, key)
        if entry is None:
            return
        self.joined += 1
        self.ages[age_band(entry.age)] += 1
        self.sexes[entry.sex] += 1
        self.views[entry.view_position] += 1
        # Names that are not labels are reported with the table.
        if entry.findings and not entry.unknown_findings and set(entry.findings) != set(labels):
            what = (
                f'the record says {"|".join(labels) or "nothing"}, the table '
                f'{"|".join(entry.findings)}'
            )
            self._report(names.LABELS_DIFFER_FROM_METADATA, what, file, row.index, row.offset, key)

    def _find_copies(self, place: _Place) -> None:
        row = place.row
        if row.image_id:
            other = self._by_id.setdefault(row.image_id, (place.file, row.index))
            if other != (place.file, row.index):
                what = f'record {other[1]} of {other[0]} has the same image_id'
                self._report(
                    names.DUPLICATE_IMAGE_ID, what, place.file, row.index, row.offset, row.image_id
                )
            self.labels_of[row.image_id] = row.labels
        first = self._by_digest.setdefault(row.digest, place)
        if first is not place:
            same_patient = first.patient == place.patient
            kind = names.DUPLICATE if same_patient else names.DUPLICATE_ACROSS_PATIENTS
            image = first.row.image_id or 'the image'
            what = f'the same bytes as {image} in record {first.row.index} of {first.file}'
            whose = '' if same_patient else f' (patients {first.patient} and {place.patient})'
            self._report(kind, what + whose, place.file, row.index, row.offset, row.image_id or '')

    def finish(self) -> None:
        """Adds the problems of the data set as a whole; call it once, after the last file."""
        for note, count in sorted(self.notes.items()):
            self._report(note, f'{count:,} of {self.accepted:,} records', severity=WARNING)
        if self.metadata is None:
            self._report(
                names.NO_METADATA_TABLE, 'there is none in the data root, and --metadata names none'
            )
        else:
            for problem in self.metadata.problems:
                self._report(
                    names.UNCLEAR_METADATA,
                    str(problem),
                    self.metadata.path,
                    key=f'line {problem.line}',
                )
        if self.accepted:
            missing = [label for label in LABELS if not self.labels[label]]
            for label in missing:
                self._report(names.LABEL_WITHOUT_POSITIVES, f'no record has {label}', key=label)
            if self.abnormal in (0, self.accepted):
                self._report(
                    names.SINGLE_CLASS,
                    f'{self.abnormal:,} of {self.accepted:,} records are abnormal',
                )

    def add_ignored(self, ignored: Counter[str]) -> None:
        """Adds the files in the data root that are not read, by type."""
        self.ignored = ignored
        images = Counter(
            {
                kind: count
                for kind, count in ignored.items()
                if kind in _MAY_HOLD_IMAGES or 'tfrec' in kind
            }
        )
        if images:
            self._report(names.IGNORED_FILES, walking.format_counts(images))

    def compare_lists(self, lists: Mapping[str, Set[str]]) -> None:
        """Compares the official lists (name -> image ids) with the records and with each other."""
        of_records = {
            name: {image_id for image_id in self.labels_of if image_id in image_ids}
            for name, image_ids in lists.items()
        }
        self.listed = {name: len(image_ids) for name, image_ids in of_records.items()}
        if len(lists) < 2:
            return
        (one, ones), (two, twos) = lists.items()
        for image_id in sorted(ones & twos):
            self._report(
                names.CONTRADICTORY_SPLIT_LISTS,
                f'the image is in {one} and in {two}',
                key=image_id,
            )
        listed_ones, listed_twos = of_records.values()
        neither = self.labels_of.keys() - listed_ones - listed_twos
        if neither:
            self._report(
                names.NOT_IN_SPLIT_LISTS,
                f'{len(neither):,} of {len(self.labels_of):,} images; the first is {min(neither)}',
            )
        shared = self._patients_of(listed_ones) & self._patients_of(listed_twos)
        for patient in sorted(shared):
            self._report(
                names.CONTRADICTORY_SPLIT_LISTS,
                f'a patient with images in {one} and in {two}',
                key=patient,
            )

    def _patients_of(self, image_ids: Iterable[str]) -> set[str]:
        patients = (self.intake.patient_of(image_id, str) for image_id in image_ids)
        return {patient.patient_id for patient in patients if not isinstance(patient, Rejected)}

    def compare_preprocessed(self, name: str, rows: Mapping[str, int]) -> None:
        """Compares preprocessed_data.csv (image id -> label bits) with the records."""
        if not self.labels_of:
            return
        image_ids = self._by_id.keys() | self._rejected
        for title, ids in (
            ('in it but in no record', rows.keys() - image_ids),
            ('not in it', image_ids - rows.keys()),
        ):
            if ids:
                self._report(
                    names.PREPROCESSED_CSV_DIFFERS,
                    f'{len(ids):,} images are {title}; the first is {min(ids)}',
                    name,
                    key=min(ids),
                )
        for image_id in sorted(rows.keys() & self.labels_of.keys()):
            if rows[image_id] != self.labels_of[image_id]:
                listed, recorded = (
                    '|'.join(positive(bits)) or 'nothing'
                    for bits in (rows[image_id], self.labels_of[image_id])
                )
                self._report(
                    names.PREPROCESSED_CSV_DIFFERS,
                    f'it says {listed}, the record says {recorded}',
                    name,
                    key=image_id,
                )

    def by_kind(self) -> dict[str, list[Problem]]:
        """Problems by kind, errors first, each in the order of the files."""
        by_kind: dict[str, list[Problem]] = {kind: [] for kind in PROBLEMS}
        for problem in sorted(self.problems, key=lambda problem: not problem.is_error):
            by_kind[problem.kind].append(problem)
        present = [(kind, problems) for kind, problems in by_kind.items() if problems]
        return dict(sorted(present, key=lambda item: not item[1][0].is_error))

    def as_dict(self) -> dict[str, object]:
        """All of it, for a report."""
        return {
            'clean': not self.errors,
            'files': [vars(file) for file in self.files],
            'records': sum(file.records for file in self.files),
            'accepted': self.accepted,
            'patients': len(self.patients),
            'patient_sources': dict(sorted(self.patient_sources.items())),
            'labels': {label: self.labels[label] for label in LABELS},
            'abnormal': self.abnormal,
            'other': self.other,
            'metadata_joined': self.joined,
            'age_band': dict(sorted(self.ages.items())),
            'sex': dict(sorted(self.sexes.items())),
            'view_position': dict(sorted(self.views.items())),
            'official_lists': self.listed,
            'ignored_files': dict(self.ignored),
            'table_unknown': dict(self.metadata.unknown) if self.metadata is not None else {},
            'problems': [
                problem.as_dict() for problems in self.by_kind().values() for problem in problems
            ],
        }

    def _report(
        self,
        kind: str,
        what: str,
        file: str = '',
        record: int | None = None,
        offset: int | None = None,
        key: str = '',
        severity: str = '',
    ) -> None:
        self.problems.append(Problem(kind, what, file, record, offset, key, severity))


def read_preprocessed(path: str) -> dict[str, int]:
    """Reads preprocessed_data.csv: image id -> label bits.

    Raises:
      ValueError: it does not have the form of the Kaggle file.
      OSError: it cannot be read.
    """
    rows = csv.reader(io.StringIO(read_text(path)))
    try:
        header = next(rows, [])
        if sorted(header[1:]) != sorted(LABELS):
            raise ValueError(
                f'{path}: expected an unnamed first column and then {", ".join(LABELS)}'
            )
        places = [LABELS.index(name) for name in header[1:]]
        labels = {}
        for row in rows:
            if row and len(row) != len(header):
                raise ValueError(
                    f'{path}, line {rows.line_num}: {len(row)} fields, expected {len(header)}'
                )
            if row:
                bits = sum(
                    (value in ('True', '1')) << place
                    for value, place in zip(row[1:], places, strict=True)
                )
                labels[row[0].rsplit('/', 1)[-1]] = bits
    except csv.Error as error:
        raise ValueError(f'{path}, line {rows.line_num}: not a CSV file ({error})') from None
    return labels
