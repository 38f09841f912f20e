"""The problems that the data audit looks for, and the unit in which each is counted. No TFX here.

`records.problems` has the title and the remedy of each problem.
"""

from __future__ import annotations

from dataclasses import dataclass

from records.problems import PROBLEMS, ProblemKind
from schemas import image_status
from schemas import problem_names as names

# What `count` counts and `share` divides by.
IMAGES = 'images'
PATIENTS = 'patients'
LABELS = 'labels compared'
STATISTICS = 'statistics compared'
SPLITS = 'splits'


@dataclass(frozen=True)
class Kind(ProblemKind):
    """A kind of problem that the audit counts.

    Attributes:
      unit: what `count` counts; `share` is the count over all of this unit.
    """

    unit: str


# In the order of audit.json and its page.
_UNITS: dict[str, str] = {
    image_status.UNDECODABLE: IMAGES,
    image_status.TRUNCATED: IMAGES,
    image_status.TOO_LARGE: IMAGES,
    image_status.TOO_SMALL: IMAGES,
    image_status.UNSUPPORTED: IMAGES,
    image_status.BLANK: IMAGES,
    names.WRONG_SIZE: IMAGES,
    names.WRONG_CHANNELS: IMAGES,
    names.WRONG_FORMAT: IMAGES,
    names.SATURATED: IMAGES,
    names.LOW_CONTRAST: IMAGES,
    names.INVERTED_POLARITY: IMAGES,
    names.DUPLICATE: IMAGES,
    names.CROSS_SPLIT_DUPLICATE: IMAGES,
    names.DUPLICATE_ACROSS_PATIENTS: IMAGES,
    names.NEAR_DUPLICATE: IMAGES,
    names.NEAR_DUPLICATE_ACROSS_SPLITS: IMAGES,
    names.NEAR_DUPLICATE_ACROSS_PATIENTS: IMAGES,
    names.DUPLICATE_LABEL_CONFLICT: IMAGES,
    names.PATIENT_IN_TWO_SPLITS: PATIENTS,
    names.CONTRADICTORY_LABELS: IMAGES,
    names.NO_LABEL_SET: IMAGES,
    names.MISSING_IMAGE_ID: IMAGES,
    names.MISSING_PATIENT: IMAGES,
    names.MISSING_METADATA: IMAGES,
    names.EMPTY_SPLIT: SPLITS,
    names.SINGLE_CLASS_SPLIT: SPLITS,
    names.PREVALENCE_SHIFT: LABELS,
    names.SOURCE_PREDICTS_LABEL: STATISTICS,
    names.SOURCE_PREVALENCE: STATISTICS,
}

KINDS: dict[str, Kind] = {
    name: Kind(**vars(PROBLEMS[name]), unit=unit) for name, unit in _UNITS.items()
}

# Kind of issue -> the audit's keys that decide what counts as one.
FOUND_BY: dict[str, tuple[str, ...]] = {
    'too_large': ('max_pixels',),
    'wrong_size': ('width', 'height'),
    'wrong_channels': ('channels',),
    'wrong_format': ('format',),
    'saturated': ('black_share', 'white_share'),
    'low_contrast': ('low_contrast_range',),
    'inverted_polarity': ('polarity_score',),
    'near_duplicate': ('near_duplicate_correlation',),
    'near_duplicate_across_splits': ('near_duplicate_correlation',),
    'near_duplicate_across_patients': ('near_duplicate_correlation',),
    'prevalence_shift': ('prevalence_difference', 'prevalence_p_value'),
    'source_prevalence': ('prevalence_difference', 'prevalence_p_value'),
    'source_predicts_label': ('source_auc',),
}


def limit_key(kind: str) -> str:
    """The configuration key with the limit of the data gate on a kind of issue."""
    return f'gate.max_share.{kind}'


def keys(kind: str) -> list[str]:
    """The configuration keys that decide what counts as an issue, and how much of it is allowed.

    >>> keys('source_predicts_label')
    ['gate.max_share.source_predicts_label', 'audit.source_auc']
    """
    return [limit_key(kind), *(f'audit.{name}' for name in FOUND_BY.get(kind, ()))]
