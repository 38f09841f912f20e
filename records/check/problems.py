"""The kinds of problem an audit can find: how bad each is and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from schemas import image_status


class Severity(str, Enum):
    """An error makes a data root unclean; a warning is to be known."""

    ERROR = 'error'
    WARNING = 'warning'


@dataclass(frozen=True)
class Kind:
    """A kind of problem."""

    severity: Severity
    title: str
    remedy: str


_E, _W = Severity.ERROR, Severity.WARNING

KINDS: dict[str, Kind] = {
    'unreadable': Kind(_E, 'file cannot be read', 'check its permissions and the disk'),
    'damage': Kind(
        _E,
        'damaged stretch of a file',
        'fetch the file again; a pipeline run quarantines what is damaged',
    ),
    'count': Kind(
        _E,
        'file holds another number of records than its name says',
        'fetch the file again, or rename it if it is meant so',
    ),
    'record': Kind(
        _E,
        'record is not of the NIH layout',
        'write it again with all 16 features; a pipeline run quarantines it',
    ),
    image_status.UNDECODABLE: Kind(
        _E,
        'image is damaged, or not a JPEG or PNG',
        'get the image again and convert it, or remove the record',
    ),
    image_status.TRUNCATED: Kind(
        _E,
        'part of the image is missing',
        'get the image again and convert it, or remove the record',
    ),
    image_status.TOO_LARGE: Kind(
        _E, 'image is too large', 'convert the original image with `cxr-triage convert`'
    ),
    image_status.TOO_SMALL: Kind(
        _E, 'image is too small', 'use the original image, or lower --min-side and data.min_side'
    ),
    image_status.BLANK: Kind(_E, 'image shows nothing', 'export it again, or remove the record'),
    image_status.UNSUPPORTED: Kind(
        _E,
        'stored pixels differ from what a viewer shows',
        'convert the original image with `cxr-triage convert`',
    ),
    'patient': Kind(_E, 'patient is not known', 'give a metadata table, or --patient-id-pattern'),
    'metadata': Kind(
        _E,
        'image is missing from the metadata table',
        'complete the table, or say --missing-metadata keep',
    ),
    'duplicate_id': Kind(_E, 'image_id stands in two records', 'take one of the two out'),
    'duplicate_image': Kind(
        _E,
        'equal images of different patients',
        'find out whose it is and take the other out: it can leak into the test',
    ),
    'contradiction': Kind(_E, 'contradictory labels', 'correct the labels'),
    'findings': Kind(
        _E,
        'labels differ from Finding Labels in the metadata table',
        'find out which is right and correct the other',
    ),
    'preprocessed': Kind(
        _E,
        'preprocessed_data.csv differs from the records',
        'write the file again, or remove it: no pipeline reads it',
    ),
    'lists': Kind(
        _E,
        'official split lists contradict',
        'use the lists of the NIH release, or split by patient hash',
    ),
    'repeated_image': Kind(
        _W, 'equal images of one patient', 'take one out, or leave it: both fall into one split'
    ),
    'unlisted': Kind(
        _W, 'images in neither official list', 'the official split cannot be used for them'
    ),
    'empty_label': Kind(
        _W, 'label without a single positive', 'nothing can be learned or measured for it'
    ),
    'one_class': Kind(
        _E, 'all records are of one class', 'a data set of normal and abnormal images is needed'
    ),
    'without_image_id': Kind(
        _W,
        'records without image_id',
        'their patient is unknown: only byte-equal images are kept together',
    ),
    'not_in_metadata': Kind(
        _W, 'images missing from the metadata table', 'their age, sex and view stay unknown'
    ),
    'format': Kind(
        _W, 'images that are not JPEGs', 'PNGs are decoded too; convert them for the exact layout'
    ),
    'channels': Kind(_W, 'images with more than one channel', 'they are reduced to grey'),
    'size': Kind(_W, 'images that are not 600x600', 'they are resized'),
    'table': Kind(
        _W,
        'values of the metadata table are not understood',
        'they count as unknown: correct the table where it matters',
    ),
    'ignored': Kind(
        _W,
        'files that are not read and may hold films',
        'convert images, rename record files, or move them away',
    ),
    'no_metadata': Kind(
        _W,
        'no metadata table',
        'give one with --metadata: without it there is no age, sex and view to slice by',
    ),
}


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: `record` counts from 0 in `file`, `offset` is in bytes (after
    unzipping), `key` names image or label.
    """

    kind: str
    what: str
    file: str = ''
    record: int | None = None
    offset: int | None = None
    key: str = ''

    @property
    def severity(self) -> Severity:
        """How bad it is."""
        return KINDS[self.kind].severity

    def as_dict(self) -> dict[str, object]:
        """All of it, for a report."""
        kind = KINDS[self.kind]
        return {
            'kind': self.kind,
            'severity': kind.severity.value,
            'file': self.file,
            'record': self.record,
            'offset': self.offset,
            'key': self.key,
            'what': self.what,
            'do': kind.remedy,
        }
