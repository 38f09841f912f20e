"""The checks of images, copies, patients and labels, each from the table to issues."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np

from components.data_audit import duplicates
from components.data_audit.issues import Example, Issue, by_split, locate, of_groups, of_images
from components.data_audit.parameters import AuditParameters
from components.data_audit.table import Table
from schemas import image_status
from schemas import problem_names as names
from schemas.features import UNKNOWN
from schemas.labels import FINDINGS, LABELS, NO_FINDING, OTHER

_MODES = {1: ('L',), 3: ('RGB',)}
# Standard deviation in grey levels up to which an image has no detail to compare.
_FLAT = 2.0
# The statuses of images that are not decoded.
_NOT_DECODED = (
    image_status.UNDECODABLE,
    image_status.TRUNCATED,
    image_status.TOO_LARGE,
    image_status.UNSUPPORTED,
)


def image_issues(table: Table, parameters: AuditParameters) -> list[Issue]:
    """Issues of single images; a blank image is not also clipped, low-contrast or inverted."""
    number, decoded = table.number, table.decoded
    blank = decoded & (number['span'] < image_status.BLANK_RANGE)
    content = decoded & ~blank
    clipped = content & (
        (number['black'] >= parameters.black_share) | (number['white'] >= parameters.white_share)
    )
    spread = number['high'] - number['low']

    def issue(kind: str, mask: np.ndarray, detail: Callable[[int], str]) -> Issue:
        rows = np.flatnonzero(mask)
        return of_images(
            table, kind, rows, (detail(int(row)) for row in rows), parameters.listed_per_kind
        )

    expected = f'{parameters.width} x {parameters.height} expected'
    return [
        *(
            issue(kind, table.problem == kind, lambda row: table.detail[row])
            for kind in _NOT_DECODED
        ),
        issue(
            image_status.TOO_SMALL,
            decoded & (np.fmin(number['width'], number['height']) < image_status.MIN_SIDE),
            lambda row: (
                f'{number["width"][row]:.0f} x {number["height"][row]:.0f}, at least '
                f'{image_status.MIN_SIDE} expected'
            ),
        ),
        issue(
            image_status.BLANK,
            blank,
            lambda row: f'its grey levels span {number["span"][row]:.0f} of 255',
        ),
        issue(
            names.WRONG_SIZE,
            decoded
            & ((number['width'] != parameters.width) | (number['height'] != parameters.height)),
            lambda row: f'{number["width"][row]:.0f} x {number["height"][row]:.0f}, {expected}',
        ),
        issue(
            names.WRONG_CHANNELS,
            decoded & ~np.isin(table.mode.astype(str), _MODES[parameters.channels]),
            lambda row: (
                f'{number["channels"][row]:.0f} channels (mode {table.mode[row]}), '
                f'{parameters.channels} of 8 bits expected'
            ),
        ),
        issue(
            names.WRONG_FORMAT,
            decoded & (table.format != parameters.format),
            lambda row: f'{table.format[row]}, {parameters.format} expected',
        ),
        issue(
            names.SATURATED,
            clipped,
            lambda row: (
                f'{number["black"][row]:.0%} of the pixels at 0, {number["white"][row]:.0%} at 255'
            ),
        ),
        issue(
            names.LOW_CONTRAST,
            content & (spread < parameters.low_contrast_range),
            lambda row: f'{spread[row]:.0f} grey levels between 1st and 99th percentile',
        ),
        issue(
            names.INVERTED_POLARITY,
            content & (number['polarity'] < parameters.polarity_score),
            lambda row: f'polarity score {number["polarity"][row]:.2f}',
        ),
    ]


def duplicate_issues(table: Table, parameters: AuditParameters) -> list[Issue]:
    """Exact and near copies.

    The search for near copies takes one image of each group of exact copies. Neither search takes
    images without detail.
    """
    content = table.decoded & (table.number['std'] > _FLAT)
    exact = duplicates.exact_groups(np.where(content, table.pixel_hash, b''), table.thumbnails)
    copies = np.zeros(len(table), dtype=bool)
    for members in exact:
        copies[members[1:]] = True
    rows, least = np.flatnonzero(content & ~copies), parameters.near_duplicate_correlation
    pairs = duplicates.near_pairs(rows, table.thumbnails, least, parameters.thread_count())
    exact_copies = [(members, _exact_detail(table, members)) for members in exact]
    near_copies = [
        ((pair.first, pair.second), f'correlation of detail {pair.correlation:.3f}')
        for pair in pairs
    ]
    listed = parameters.listed_per_kind

    def issue(
        kind: str,
        groups: Sequence[tuple[Sequence[int], str]],
        applies: Callable[[Sequence[int]], bool],
    ) -> Issue:
        return of_groups(table, kind, [group for group in groups if applies(group[0])], listed)

    def across_splits(members: Sequence[int]) -> bool:
        return len(set(table.split[list(members)])) > 1

    def across_patients(members: Sequence[int]) -> bool:
        return len(set(table.patient[list(members)]) - {''}) > 1

    def labels_differ(members: Sequence[int]) -> bool:
        return (
            len(np.unique(table.labels[list(members)], axis=0)) > 1
            or len(set(table.task[list(members)])) > 1
        )

    return [
        issue(names.DUPLICATE, exact_copies, lambda members: not across_splits(members)),
        issue(names.CROSS_SPLIT_DUPLICATE, exact_copies, across_splits),
        issue(names.DUPLICATE_ACROSS_PATIENTS, exact_copies, across_patients),
        issue(names.NEAR_DUPLICATE, near_copies, lambda members: not across_splits(members)),
        issue(names.NEAR_DUPLICATE_ACROSS_SPLITS, near_copies, across_splits),
        issue(names.NEAR_DUPLICATE_ACROSS_PATIENTS, near_copies, across_patients),
        issue(names.DUPLICATE_LABEL_CONFLICT, [*exact_copies, *near_copies], labels_differ),
    ]


def patient_issues(table: Table, listed: int) -> list[Issue]:
    """Patients in several splits, and images without a patient, an id or metadata.

    Args:
      table: of all images.
      listed: largest number of examples in an issue.
    """
    rows_by_patient: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for row, (patient, split) in enumerate(zip(table.patient, table.split, strict=True)):
        if patient:
            rows_by_patient[patient][split].append(row)
    shared = {
        patient: splits for patient, splits in sorted(rows_by_patient.items()) if len(splits) > 1
    }
    examples = []
    for patient, splits in list(shared.items())[:listed]:
        rows = tuple(members[0] for members in splits.values())
        detail = 'images: ' + ', '.join(
            f'{len(members)} in {split}' for split, members in splits.items()
        )
        examples.append(
            Example(
                rows,
                {
                    'patient': patient,
                    'images': [locate(table, row) for row in rows],
                    'detail': detail,
                },
            )
        )
    shared_rows = [
        row for splits in shared.values() for members in splits.values() for row in members
    ]
    in_two_splits = Issue(
        names.PATIENT_IN_TWO_SPLITS,
        len(shared),
        len(rows_by_patient),
        by_split(table, shared_rows),
        examples,
    )

    missing = [
        (table.age < 0, 'age'),
        (table.sex == UNKNOWN, 'sex'),
        (table.view == UNKNOWN, 'view'),
    ]
    readable = table.problem != image_status.UNDECODABLE
    unknown = readable & np.logical_or.reduce([mask for mask, _ in missing])
    no_metadata = np.flatnonzero(unknown)
    details = (
        'unknown: ' + ', '.join(name for mask, name in missing if mask[row]) for row in no_metadata
    )
    no_id, no_patient = np.flatnonzero(table.image_id == ''), np.flatnonzero(table.patient == '')
    return [
        in_two_splits,
        of_images(table, names.MISSING_IMAGE_ID, no_id, ['no image_id'] * len(no_id), listed),
        of_images(
            table,
            names.MISSING_PATIENT,
            no_patient,
            ['no patient_id, and no image_id of the NIH form'] * len(no_patient),
            listed,
        ),
        of_images(table, names.MISSING_METADATA, no_metadata, details, listed),
    ]


def label_issues(table: Table, listed: int) -> list[Issue]:
    """Images with `No Finding` and a finding, and images without any label or mark of another.

    Args:
      table: of all images.
      listed: largest number of examples in an issue.
    """
    findings = table.labels[:, [LABELS.index(name) for name in FINDINGS]] == 1
    normal = table.labels[:, LABELS.index(NO_FINDING)] == 1
    abnormal = findings.any(axis=1) | table.other
    contradictory = np.flatnonzero(normal & abnormal)
    unlabelled = np.flatnonzero(~normal & ~abnormal)
    details = (
        NO_FINDING
        + ' with '
        + ', '.join(
            name
            for name, present in zip(
                (*FINDINGS, OTHER), (*findings[row], table.other[row]), strict=True
            )
            if present
        )
        for row in contradictory
    )
    return [
        of_images(table, names.CONTRADICTORY_LABELS, contradictory, details, listed),
        of_images(
            table,
            names.NO_LABEL_SET,
            unlabelled,
            ['none of the 15 labels is 1'] * len(unlabelled),
            listed,
        ),
    ]


def _exact_detail(table: Table, members: Sequence[int]) -> str:
    same_bytes = len({(table.byte_hash[row], int(table.size[row])) for row in members}) == 1
    return (
        f'{len(members)} records with the same '
        f'{"bytes" if same_bytes else "pixels in different files"}'
    )
