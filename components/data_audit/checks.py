"""The checks of images, copies, patients and labels: table -> issues."""

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
from schemas.labels import FINDINGS, LABELS, NO_FINDING

_MODES = {1: ('L',), 3: ('RGB',)}
# Standard deviation in grey levels up to which an image has no detail that could be compared.
_FLAT = 2.0
# What keeps an image from being decoded.
_PROBLEMS = (
    image_status.UNDECODABLE,
    image_status.TRUNCATED,
    image_status.TOO_LARGE,
    image_status.UNSUPPORTED,
)


def image_issues(table: Table, parameters: AuditParameters) -> list[Issue]:
    """What is wrong with single images. A blank image is not called clipped, of low contrast or
    inverted as well.
    """
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
        *(issue(kind, table.problem == kind, lambda row: table.detail[row]) for kind in _PROBLEMS),
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
    """Exact and near copies. Near copies are looked for among one of each group of exact copies,
    and not among images without content.
    """
    content = table.decoded & (table.number['std'] > _FLAT)
    exact = duplicates.exact_groups(np.where(content, table.pixel_hash, b''), table.thumbnails)
    copies = np.zeros(len(table), dtype=bool)
    for members in exact:
        copies[members[1:]] = True
    rows, least = np.flatnonzero(content & ~copies), parameters.near_duplicate_correlation
    pairs = duplicates.near_pairs(rows, table.thumbnails, least, parameters.thread_count())
    exact_found = [(members, _exact_detail(table, members)) for members in exact]
    near_found = [
        ((pair.first, pair.second), f'correlation of detail {pair.correlation:.3f}')
        for pair in pairs
    ]
    listed = parameters.listed_per_kind

    def issue(
        kind: str,
        found: Sequence[tuple[Sequence[int], str]],
        wanted: Callable[[Sequence[int]], bool],
    ) -> Issue:
        return of_groups(table, kind, [group for group in found if wanted(group[0])], listed)

    def crosses(members: Sequence[int]) -> bool:
        return len(set(table.split[list(members)])) > 1

    def of_patients(members: Sequence[int]) -> bool:
        return len(set(table.patient[list(members)]) - {''}) > 1

    def conflicts(members: Sequence[int]) -> bool:
        return (
            len(np.unique(table.labels[list(members)], axis=0)) > 1
            or len(set(table.task[list(members)])) > 1
        )

    return [
        issue(names.DUPLICATE, exact_found, lambda members: not crosses(members)),
        issue(names.CROSS_SPLIT_DUPLICATE, exact_found, crosses),
        issue(names.DUPLICATE_ACROSS_PATIENTS, exact_found, of_patients),
        issue(names.NEAR_DUPLICATE, near_found, lambda members: not crosses(members)),
        issue(names.NEAR_DUPLICATE_ACROSS_SPLITS, near_found, crosses),
        issue(names.NEAR_DUPLICATE_ACROSS_PATIENTS, near_found, of_patients),
        issue(names.DUPLICATE_LABEL_CONFLICT, [*exact_found, *near_found], conflicts),
    ]


def patient_issues(table: Table, listed: int) -> list[Issue]:
    """Patients in several splits; images without a patient, an id or metadata."""
    homes: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for row, (patient, split) in enumerate(zip(table.patient, table.split, strict=True)):
        if patient:
            homes[patient][split].append(row)
    spread = {patient: splits for patient, splits in sorted(homes.items()) if len(splits) > 1}
    examples = []
    for patient, splits in list(spread.items())[:listed]:
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
    concerned = [
        row for splits in spread.values() for members in splits.values() for row in members
    ]
    across = Issue(
        names.PATIENT_IN_TWO_SPLITS, len(spread), len(homes), by_split(table, concerned), examples
    )

    missing = [
        (table.age < 0, 'age'),
        (table.sex == UNKNOWN, 'sex'),
        (table.view == UNKNOWN, 'view'),
    ]
    readable = table.problem != image_status.UNDECODABLE
    unknown = readable & np.logical_or.reduce([mask for mask, _ in missing])
    bare = np.flatnonzero(unknown)
    details = ('unknown: ' + ', '.join(name for mask, name in missing if mask[row]) for row in bare)
    no_id, no_patient = np.flatnonzero(table.image_id == ''), np.flatnonzero(table.patient == '')
    return [
        across,
        of_images(table, names.MISSING_IMAGE_ID, no_id, ['no image_id'] * len(no_id), listed),
        of_images(
            table,
            names.MISSING_PATIENT,
            no_patient,
            ['no patient_id, and no image_id of the NIH form'] * len(no_patient),
            listed,
        ),
        of_images(table, names.MISSING_METADATA, bare, details, listed),
    ]


def label_issues(table: Table, listed: int) -> list[Issue]:
    """Labels that contradict each other, and images without any."""
    findings = table.labels[:, [LABELS.index(name) for name in FINDINGS]] == 1
    normal = table.labels[:, LABELS.index(NO_FINDING)] == 1
    both = np.flatnonzero(normal & findings.any(axis=1))
    none = np.flatnonzero(~normal & ~findings.any(axis=1))
    details = (
        f'{NO_FINDING} with {", ".join(name for name, on in zip(FINDINGS, findings[row], strict=True) if on)}'
        for row in both
    )
    return [
        of_images(table, names.CONTRADICTORY_LABELS, both, details, listed),
        of_images(
            table, names.NO_LABEL_SET, none, ['none of the 15 labels is 1'] * len(none), listed
        ),
    ]


def _exact_detail(table: Table, members: Sequence[int]) -> str:
    same_bytes = len({(table.byte_hash[row], int(table.size[row])) for row in members}) == 1
    return (
        f'{len(members)} records with the same '
        f'{"bytes" if same_bytes else "pixels in different files"}'
    )
