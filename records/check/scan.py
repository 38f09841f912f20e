"""Reads one TFRecord file of a data root and keeps the facts about each record, not its image."""

from __future__ import annotations

from dataclasses import dataclass, field

from records import images, tfrecord
from records.image_header import ImageHeader
from records.intake import Intake, Rejected, image_digest
from schemas.image_status import BLANK
from schemas.labels import LABELS, NO_FINDING, OTHER
from schemas.problem_names import CONTRADICTORY_LABELS, DAMAGED_RECORD, NO_LABEL_SET


@dataclass(frozen=True)
class Row:
    """A record that can be used.

    Attributes:
      index, offset: its place in the file.
      image_id: None without one.
      labels: its positive labels as bits, in the order of LABELS.
      digest: of the encoded image.
      notes: names of problems that do not reject it.
      other: whether it has a finding that none of the labels names.
      pixels: name and reason of a problem of the decoded image; None without one, or if the image
        was not decoded.
    """

    index: int
    offset: int
    image_id: str | None
    labels: int
    digest: str
    notes: tuple[str, ...]
    pixels: tuple[str, str] | None = None
    other: bool = False


@dataclass(frozen=True)
class Fault:
    """A record or stretch of the file that cannot be used; `kind` is the name of a problem."""

    index: int
    offset: int
    image_id: str | None
    kind: str
    reason: str


@dataclass
class FileScan:
    """The content of one file. `error` says why it could not be read at all."""

    name: str
    promised: int | None
    rows: list[Row] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    records: int = 0
    error: str = ''


@dataclass(frozen=True)
class ScanRules:
    """What to check: the limits of a side in pixels, and whether to decode every image."""

    min_side: int
    max_side: int
    pixels: bool = False


def scan_file(place: tuple[str, str], rules: ScanRules) -> FileScan:
    """Reads the file at `place` (its path, and its name in the data root).

    No content of the file makes it raise.
    """
    path, name = place
    scan = FileScan(name, tfrecord.promised_count(path))
    intake = Intake(min_side=rules.min_side, max_side=rules.max_side)
    try:
        for item in tfrecord.read(path):
            if isinstance(item, tfrecord.Damage):
                scan.faults.append(
                    Fault(
                        item.index,
                        item.offset,
                        None,
                        DAMAGED_RECORD,
                        f'{item.length:,} bytes: {item.reason}',
                    )
                )
                continue
            scan.records += 1
            verdict = intake.examine(item.payload)
            if isinstance(verdict, Rejected):
                scan.faults.append(
                    Fault(item.index, item.offset, verdict.image_id, verdict.kind, verdict.reason)
                )
                continue
            record = verdict.record
            bits = sum(record.labels[label] << place for place, label in enumerate(LABELS))
            pixels = pixel_fault(record.image, verdict.header) if rules.pixels else None
            scan.rows.append(
                Row(
                    item.index,
                    item.offset,
                    record.image_id or None,
                    bits,
                    image_digest(record.image),
                    verdict.notes,
                    pixels,
                    bool(record.other),
                )
            )
    except OSError as error:
        scan.error = error.strerror or str(error)
    return scan


def positive(bits: int) -> tuple[str, ...]:
    """The labels that are 1 in the bits of a Row."""
    return tuple(label for place, label in enumerate(LABELS) if bits >> place & 1)


def label_fault(labels: tuple[str, ...], other: bool) -> tuple[str, str] | None:
    """What is wrong with a set of positive labels: the name of the problem and the reason.

    Args:
      labels: of LABELS.
      other: whether the record has a finding that none of them names.
    """
    if not labels and not other:
        return NO_LABEL_SET, f'no label is set: expected {NO_FINDING!r}, a finding, or {OTHER!r}'
    if NO_FINDING in labels and (len(labels) > 1 or other):
        names = (*labels, *([OTHER] if other else []))
        findings = ', '.join(label for label in names if label != NO_FINDING)
        return CONTRADICTORY_LABELS, f'{NO_FINDING!r} is set together with {findings}'
    return None


def pixel_fault(image: bytes, header: ImageHeader) -> tuple[str, str] | None:
    """Decodes an image that intake accepted: name and reason of a problem, None without one."""
    try:
        grey = images.decode(image, header)
    except images.ImageError as error:
        return error.kind, str(error)
    reason = images.blank(grey)
    return (BLANK, reason) if reason else None
