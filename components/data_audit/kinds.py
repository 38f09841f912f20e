"""The kinds of issue the data audit knows: name, severity, what one count is a share of, what it
means, what to do. No TFX here.
"""

from __future__ import annotations

from dataclasses import dataclass

from schemas import image_status

ERROR = 'error'
WARNING = 'warning'

# What `count` counts and `share` divides by.
IMAGES = 'images'
PATIENTS = 'patients'
LABELS = 'labels compared'
STATISTICS = 'statistics compared'
SPLITS = 'splits'


@dataclass(frozen=True)
class Kind:
    """One kind of issue.

    Attributes:
      name: the name in audit.json and in the gate's limits.
      severity: ERROR when training on such data misleads or fails, WARNING when a person should
        look.
      unit: what `count` counts; `share` is the count over all of this unit.
      title: a heading for people.
      action: what to do about it.
    """

    name: str
    severity: str
    unit: str
    title: str
    action: str


_ALL = (
    Kind(
        image_status.UNDECODABLE,
        ERROR,
        IMAGES,
        'Images that do not decode',
        'Get these images again and convert them, or remove their records.',
    ),
    Kind(
        image_status.TRUNCATED,
        ERROR,
        IMAGES,
        'Images of which a part is missing',
        'Get these images again and convert them, or remove their records: decoders fill the gap '
        'with grey.',
    ),
    Kind(
        image_status.TOO_LARGE,
        ERROR,
        IMAGES,
        'Images too large to decode',
        'Scale these images down with `cxr-triage convert`, or raise audit.max_pixels.',
    ),
    Kind(
        image_status.TOO_SMALL,
        WARNING,
        IMAGES,
        'Images too small to show a film',
        'Use the original images.',
    ),
    Kind(
        image_status.UNSUPPORTED,
        ERROR,
        IMAGES,
        'Images whose pixels differ from what a viewer shows',
        'Convert the original images with `cxr-triage convert`: 16-bit, turned or transparent '
        'films would be read as other pictures.',
    ),
    Kind(
        image_status.BLANK,
        ERROR,
        IMAGES,
        'Images that show nothing',
        'Export them again with a window that uses the grey levels, or remove them.',
    ),
    Kind(
        'wrong_size',
        WARNING,
        IMAGES,
        'Images of another size',
        'Convert them to the expected size; the model sees a stretched film otherwise.',
    ),
    Kind(
        'wrong_channels',
        WARNING,
        IMAGES,
        'Images with other channels',
        'Convert them to one 8-bit grey channel.',
    ),
    Kind(
        'wrong_format',
        WARNING,
        IMAGES,
        'Images of another file format',
        'Convert them to the expected format.',
    ),
    Kind(
        'saturated',
        WARNING,
        IMAGES,
        'Images with clipped grey levels',
        'Export them again with a window that keeps black and white apart.',
    ),
    Kind(
        'low_contrast',
        WARNING,
        IMAGES,
        'Images of low contrast',
        'Export them again with a window that uses the grey levels.',
    ),
    Kind(
        'inverted_polarity',
        ERROR,
        IMAGES,
        'Images that look inverted',
        'Invert them (255 - pixel): MONOCHROME1 was taken for MONOCHROME2.',
    ),
    Kind(
        'duplicate',
        WARNING,
        IMAGES,
        'Exact copies inside a split',
        'Keep one record of each image.',
    ),
    Kind(
        'cross_split_duplicate',
        ERROR,
        IMAGES,
        'Exact copies in different splits',
        'Keep one record of each image: a copy in two splits leaks.',
    ),
    Kind(
        'duplicate_across_patients',
        ERROR,
        IMAGES,
        'Exact copies under different patients',
        'Find out whose film it is; a patient split cannot hold.',
    ),
    Kind(
        'near_duplicate',
        WARNING,
        IMAGES,
        'Near copies inside a split',
        'Keep one version of each film.',
    ),
    Kind(
        'near_duplicate_across_splits',
        ERROR,
        IMAGES,
        'Near copies in different splits',
        'Keep one version of each film: a copy leaks.',
    ),
    Kind(
        'near_duplicate_across_patients',
        WARNING,
        IMAGES,
        'Near copies under different patients',
        'Find out whose film it is.',
    ),
    Kind(
        'duplicate_label_conflict',
        WARNING,
        IMAGES,
        'Copies with different labels',
        'Decide which label is right and keep one record.',
    ),
    Kind(
        'patient_in_two_splits',
        ERROR,
        PATIENTS,
        'Patients in more than one split',
        'Split by patient; delete stale examples.',
    ),
    Kind(
        'contradictory_labels',
        WARNING,
        IMAGES,
        'No Finding together with a finding',
        'Correct the labels at their source.',
    ),
    Kind(
        'no_label_set',
        WARNING,
        IMAGES,
        'Images with no label set',
        'Set No Finding or a finding; unlabelled images are not normal ones.',
    ),
    Kind(
        'missing_image_id',
        WARNING,
        IMAGES,
        'Images without image_id',
        'Add image_id: without it the patient is not known and splits can leak.',
    ),
    Kind(
        'missing_patient',
        WARNING,
        IMAGES,
        'Images without a patient',
        'Add patient_id or an NIH image_id: splits cannot be kept apart without it.',
    ),
    Kind(
        'missing_metadata',
        WARNING,
        IMAGES,
        'Images without age, sex or view',
        'Give the metadata table; slices by age, sex and view stay empty.',
    ),
    Kind(
        'empty_split',
        ERROR,
        SPLITS,
        'Splits without images',
        'Give more patients, or a larger share to this split.',
    ),
    Kind(
        'single_class_split',
        ERROR,
        SPLITS,
        'Splits with one class only',
        'Nothing can be learned or measured there; give more patients.',
    ),
    Kind(
        'prevalence_shift',
        WARNING,
        LABELS,
        'Labels whose prevalence differs between splits',
        'Look at how the splits were made.',
    ),
    Kind(
        'source_predicts_label',
        WARNING,
        STATISTICS,
        'Image statistics that predict the label by themselves',
        'A model can learn the source in place of the disease: report results within each source '
        'and view.',
    ),
    Kind(
        'source_prevalence',
        WARNING,
        STATISTICS,
        'Sources or views whose prevalence differs',
        'Report results within each source and view; balance them in training.',
    ),
)

KINDS: dict[str, Kind] = {kind.name: kind for kind in _ALL}
