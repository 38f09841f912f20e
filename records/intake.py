"""Decides whether a record can be used for training, and why not.

XrayExampleGen and `cxr-triage check` both use it, so a record that `check` calls clean is not
quarantined. It judges one record at a time and decodes no pixels (see `records.images`); problems
that show only across records, such as duplicates, are not its task.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass

from records import spelling
from records.examples import RecordError, XrayRecord, parse
from records.image_header import JPEG, ImageHeader
from records.images import MAX_SIDE, ImageError, ImageLimits, check
from records.metadata import Entry, nih_patient
from schemas.image_status import MIN_SIDE
from schemas.problem_names import (
    EXCLUDED,
    INVALID_RECORD,
    MISSING_IMAGE_ID,
    MISSING_PATIENT,
    NOT_IN_METADATA,
    WRONG_CHANNELS,
    WRONG_FORMAT,
    WRONG_SIZE,
)

KEEP = 'keep'
QUARANTINE = 'quarantine'

DEFAULT_MIN_SIDE = MIN_SIDE
DEFAULT_MAX_SIDE = MAX_SIDE

_LAYOUT_SIDE = 600


@dataclass(frozen=True)
class Accepted:
    """A record that can be used.

    Attributes:
      record: its content.
      header: the header of its image.
      patient_id: never empty; `sha256:` and a hash of the image for a record without image_id.
      entry: its row in the metadata table; None without a table or row.
      patient_source: what the patient was taken from: 'metadata', 'pattern', 'image_id' or 'image'.
      notes: problems that do not keep the record from being used, names of `schemas.problem_names`.
    """

    record: XrayRecord
    header: ImageHeader
    patient_id: str
    entry: Entry | None
    patient_source: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Examined:
    """A record with valid content and a valid image header; attributes as in Accepted."""

    record: XrayRecord
    header: ImageHeader
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Patient:
    """The patient of an image; attributes as in Accepted."""

    patient_id: str
    source: str
    entry: Entry | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rejected:
    """A record that cannot be used.

    Attributes:
      reason: why, and what to do about it.
      kind: the name of the problem, in `schemas.problem_names` or `schemas.image_status`.
      image_id: None where it could not be read.
    """

    reason: str
    kind: str
    image_id: str | None = None


class Intake:
    """Judges records, one at a time. It can be pickled.

    Example:
        >>> Intake().judge(b'no Example')
        Rejected(reason='not a tf.train.Example', kind='invalid_record', image_id=None)
    """

    def __init__(
        self,
        metadata: Mapping[str, Entry] | None = None,
        *,
        missing_metadata: str = QUARANTINE,
        patient_id_pattern: str | None = None,
        min_side: int = DEFAULT_MIN_SIDE,
        max_side: int = DEFAULT_MAX_SIDE,
        exclude: Set[str] = frozenset(),
    ) -> None:
        """Sets the rules.

        Args:
          metadata: image id -> Entry; None without a table.
          missing_metadata: QUARANTINE or KEEP an image that the table does not name.
          patient_id_pattern: regular expression that is searched for in the image id; its one group
            is the patient.
          min_side: least width and height in pixels.
          max_side: greatest width and height in pixels.
          exclude: image ids to leave out.

        Raises:
          ValueError: an argument is not as described.
        """
        if missing_metadata not in (KEEP, QUARANTINE):
            raise ValueError(
                f'missing_metadata is {missing_metadata!r}: expected {KEEP!r} or {QUARANTINE!r}'
            )
        if not 1 <= min_side <= max_side:
            raise ValueError(
                f'min_side is {min_side} and max_side is {max_side}: expected 1 <= min_side <= '
                'max_side'
            )
        self._metadata = metadata
        self._missing_metadata = missing_metadata
        self._pattern = patient_pattern(patient_id_pattern) if patient_id_pattern else None
        self._limits = ImageLimits(min_side, max_side)
        self._exclude = exclude

    def judge(self, payload: bytes) -> Accepted | Rejected:
        """Judges one record, the bytes of a tf.train.Example. No content makes it raise."""
        examined = self.examine(payload)
        if isinstance(examined, Rejected):
            return examined
        record = examined.record
        patient = self.patient_of(record.image_id, lambda: image_digest(record.image))
        if isinstance(patient, Rejected):
            return patient
        notes = (*examined.notes, *patient.notes)
        return Accepted(
            record, examined.header, patient.patient_id, patient.entry, patient.source, notes
        )

    def examine(self, payload: bytes) -> Examined | Rejected:
        """The part of `judge` that needs only the record."""
        try:
            record = parse(payload)
        except RecordError as error:
            return Rejected(str(error), INVALID_RECORD)
        image_id = record.image_id or None
        if image_id in self._exclude:
            return Rejected(
                f'image {image_id!r} is on the list of excluded images', EXCLUDED, image_id
            )
        try:
            header = check(record.image, self._limits)
        except ImageError as error:
            return Rejected(f'the image cannot be used: {error}', error.kind, image_id)
        return Examined(record, header, _notes(header))

    def patient_of(self, image_id: str | None, digest: Callable[[], str]) -> Patient | Rejected:
        """Finds the patient of an image, and its row in the metadata table.

        Args:
          image_id: as in the record; None without one.
          digest: returns `image_digest` of the image; called only for a record without image_id.
        """
        if not image_id:
            return Patient(f'sha256:{digest()}', 'image', None, (MISSING_IMAGE_ID,))
        entry = self._metadata.get(image_id) if self._metadata is not None else None
        if entry is not None and entry.patient_id:
            return Patient(entry.patient_id, 'metadata', entry)
        notes: tuple[str, ...] = ()
        if self._metadata is not None and entry is None:
            if self._missing_metadata == QUARANTINE:
                return Rejected(
                    f'the metadata table has no row for image {image_id!r}: complete the table, '
                    f'or set missing_metadata to {KEEP!r}',
                    NOT_IN_METADATA,
                    image_id,
                )
            notes = (NOT_IN_METADATA,)
        match = self._pattern.search(image_id) if self._pattern else None
        if match and match.group(1):
            return Patient(spelling.patient(match.group(1)), 'pattern', entry, notes)
        patient = nih_patient(image_id)
        if patient:
            return Patient(patient, 'image_id', entry, notes)
        return Rejected(self._no_patient(image_id, entry), MISSING_PATIENT, image_id)

    def _no_patient(self, image_id: str, entry: Entry | None) -> str:
        reason = 'it is not of the NIH form PPPPPPPP_FFF.png'
        if self._pattern:
            reason += f', patient_id_pattern {self._pattern.pattern!r} does not match it'
        if self._metadata is not None:
            reason += (
                ', the metadata table does not name it'
                if entry is None
                else ', the metadata table has no patient for it'
            )
        return (
            f'the patient of image {image_id!r} is unknown ({reason}): provide a metadata table '
            'with its Patient ID, or a patient_id_pattern whose one group finds the patient in the '
            'image_id'
        )


def image_digest(image: bytes) -> str:
    """SHA-256 of an encoded image in hexadecimal: equal for byte-equal images."""
    return hashlib.sha256(image).hexdigest()


def patient_pattern(pattern: str) -> re.Pattern[str]:
    """Compiles a regular expression that finds a patient in a name.

    Raises:
      ValueError: it is not a regular expression, or does not have exactly one group.
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ValueError(
            f'patient pattern {pattern!r} is not a regular expression: {error}'
        ) from None
    if compiled.groups != 1:
        raise ValueError(
            f'patient pattern {pattern!r} has {compiled.groups} groups: expected exactly one, as '
            "in '^(person[0-9]+)_'"
        )
    return compiled


def _notes(header: ImageHeader) -> tuple[str, ...]:
    problems = {
        WRONG_FORMAT: header.format != JPEG,
        WRONG_CHANNELS: header.channels != 1,
        WRONG_SIZE: (header.width, header.height) != (_LAYOUT_SIDE, _LAYOUT_SIDE),
    }
    return tuple(name for name, is_present in problems.items() if is_present)
