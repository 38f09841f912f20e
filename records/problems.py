"""The catalogue of data problems: what each one is, how bad it is, and what to do about it.

`check`, ingestion, `convert` and the data audit all report problems under these names, so a problem
reads the same wherever it shows. `schemas.problem_names` has the names.

Example:
    >>> PROBLEMS['not_in_metadata'].title
    'The metadata table does not name the image'
"""

from __future__ import annotations

from dataclasses import dataclass

from schemas import image_status
from schemas import problem_names as names

# Training on such data fails or misleads; `check` exits with 1.
ERROR = 'error'
# A person should look at it.
WARNING = 'warning'


@dataclass(frozen=True)
class ProblemKind:
    """One kind of problem.

    Attributes:
      name: a name of `schemas.problem_names`, or one of `schemas.image_status.PROBLEMS`.
      severity: ERROR or WARNING.
      title: one sentence that says what is wrong, without a full stop.
      remedy: one sentence that says what to do.
    """

    name: str
    severity: str
    title: str
    remedy: str


_FILES = (
    ProblemKind(
        names.UNREADABLE_FILE,
        ERROR,
        'The file cannot be read',
        'Check its permissions and the disk.',
    ),
    ProblemKind(
        names.UNSUPPORTED_FILE,
        ERROR,
        'The file is of a type that is not read',
        'Export the image as PNG, JPEG, TIFF or BMP.',
    ),
    ProblemKind(
        names.UNUSABLE_NAME,
        ERROR,
        'The name of the file cannot be used',
        'Rename the file or its folder.',
    ),
    ProblemKind(
        names.IGNORED_FILES,
        WARNING,
        'Files that are not read may hold images',
        'Convert the images, rename the record files, or move them away.',
    ),
    ProblemKind(
        names.WRONG_RECORD_COUNT,
        ERROR,
        'The file holds another number of records than its name says',
        'Get the file again, or rename it if the number is right.',
    ),
)

_RECORDS = (
    ProblemKind(
        names.DAMAGED_RECORD,
        ERROR,
        'A part of the file is damaged',
        'Get the file again; a run quarantines the damaged part.',
    ),
    ProblemKind(
        names.INVALID_RECORD,
        ERROR,
        'The record does not have the NIH layout',
        'Write the record again with all 16 features; a run quarantines it.',
    ),
    ProblemKind(
        names.EXCLUDED,
        WARNING,
        'The image is on the list of excluded images',
        'Remove it from the list (data.exclude) to use it.',
    ),
    ProblemKind(
        names.MISSING_IMAGE_ID,
        WARNING,
        'The image has no image_id',
        'Add an image_id: without it the patient is unknown, and splits can leak.',
    ),
    ProblemKind(
        names.DUPLICATE_IMAGE_ID,
        ERROR,
        'Two records have the same image_id',
        'Remove one of them.',
    ),
)

_IMAGES = (
    ProblemKind(
        image_status.UNDECODABLE,
        ERROR,
        'The image is damaged, or is not a JPEG or PNG',
        'Get the image again and convert it, or remove the record.',
    ),
    ProblemKind(
        image_status.TRUNCATED,
        ERROR,
        'A part of the image is missing',
        'Get the image again and convert it, or remove the record: decoders fill the gap with '
        'grey.',
    ),
    ProblemKind(
        image_status.TOO_LARGE,
        ERROR,
        'The image is too large',
        'Scale it down with `cxr-triage convert`, or raise the limit (data.max_side, '
        'audit.max_pixels).',
    ),
    ProblemKind(
        image_status.TOO_SMALL,
        ERROR,
        'The image is too small',
        'Use the original image, or lower the limit (data.min_side).',
    ),
    ProblemKind(
        image_status.UNSUPPORTED,
        ERROR,
        'The stored pixels differ from what a viewer shows',
        'Convert the original image with `cxr-triage convert`: 16-bit, rotated or transparent '
        'images would be misread.',
    ),
    ProblemKind(
        image_status.BLANK,
        ERROR,
        'The image shows nothing',
        'Export it again with a window that uses the grey levels, or remove it.',
    ),
    ProblemKind(
        names.WRONG_SIZE,
        WARNING,
        'The image does not have the expected size',
        'Convert it to the expected size; otherwise the model sees it stretched.',
    ),
    ProblemKind(
        names.WRONG_CHANNELS,
        WARNING,
        'The image does not have the expected number of channels',
        'Convert it to one 8-bit grey channel; otherwise its colours are reduced to grey.',
    ),
    ProblemKind(
        names.WRONG_FORMAT,
        WARNING,
        'The image does not have the expected file format',
        'Convert it to the expected format; PNGs are decoded too.',
    ),
    ProblemKind(
        names.SATURATED,
        WARNING,
        'The grey levels of the image are clipped',
        'Export it again with a window that does not clip black or white.',
    ),
    ProblemKind(
        names.LOW_CONTRAST,
        WARNING,
        'The image has low contrast',
        'Export it again with a window that uses the grey levels.',
    ),
    ProblemKind(
        names.INVERTED_POLARITY,
        ERROR,
        'The image looks inverted',
        'Invert it (255 - pixel): MONOCHROME1 was read as MONOCHROME2.',
    ),
)

_COPIES = (
    ProblemKind(
        names.DUPLICATE,
        WARNING,
        'The image is stored more than once',
        'Keep one record of each image; copies in one split do not leak.',
    ),
    ProblemKind(
        names.CROSS_SPLIT_DUPLICATE,
        ERROR,
        'Different splits hold exact copies of an image',
        'Keep one record of each image: a copy in two splits leaks.',
    ),
    ProblemKind(
        names.DUPLICATE_ACROSS_PATIENTS,
        ERROR,
        'Different patients have exact copies of an image',
        'Find out whose image it is and remove the other record: it can leak into the test split.',
    ),
    ProblemKind(
        names.NEAR_DUPLICATE,
        WARNING,
        'A split holds near copies of an image',
        'Keep one version of each image.',
    ),
    ProblemKind(
        names.NEAR_DUPLICATE_ACROSS_SPLITS,
        ERROR,
        'Different splits hold near copies of an image',
        'Keep one version of each image: a copy in two splits leaks.',
    ),
    ProblemKind(
        names.NEAR_DUPLICATE_ACROSS_PATIENTS,
        WARNING,
        'Different patients have near copies of an image',
        'Find out whose image it is.',
    ),
    ProblemKind(
        names.DUPLICATE_LABEL_CONFLICT,
        WARNING,
        'Copies of an image have different labels',
        'Decide which label is right and keep one record.',
    ),
)

_PATIENTS = (
    ProblemKind(
        names.PATIENT_IN_TWO_SPLITS,
        ERROR,
        'The patient is in more than one split',
        'Split by patient; delete stale examples.',
    ),
    ProblemKind(
        names.MISSING_PATIENT,
        ERROR,
        'The patient is unknown',
        'Provide a metadata table, or a pattern that finds the patient in the image_id '
        '(data.patient_id_pattern, --patient-id-pattern).',
    ),
    ProblemKind(
        names.NO_METADATA_TABLE,
        WARNING,
        'There is no metadata table',
        'Provide one (data.metadata, --metadata): without it there are no slices by age, sex and '
        'view.',
    ),
    ProblemKind(
        names.NOT_IN_METADATA,
        ERROR,
        'The metadata table does not name the image',
        'Complete the table, or keep such images without age, sex and view '
        '(data.missing_metadata: keep, --missing-metadata keep).',
    ),
    ProblemKind(
        names.MISSING_METADATA,
        WARNING,
        'Age, sex or view of the image is unknown',
        'Provide or complete the metadata table; the image is missing from slices by age, sex and '
        'view.',
    ),
    ProblemKind(
        names.UNCLEAR_METADATA,
        WARNING,
        'The metadata table has values that are not understood',
        'They count as unknown: correct the table where it matters.',
    ),
)

_LABELS = (
    ProblemKind(
        names.CONTRADICTORY_LABELS,
        ERROR,
        'No Finding is set together with a finding',
        'Correct the labels at their source.',
    ),
    ProblemKind(
        names.NO_LABEL_SET,
        ERROR,
        'The image has no label',
        'Set No Finding or a finding; an image without a label is not a normal one.',
    ),
    ProblemKind(
        names.UNKNOWN_LABEL,
        ERROR,
        'Finding Labels in the metadata table has names that are not labels',
        'Correct the table.',
    ),
    ProblemKind(
        names.LABELS_DIFFER_FROM_METADATA,
        ERROR,
        'The labels differ from Finding Labels in the metadata table',
        'Find out which is right and correct the other.',
    ),
    ProblemKind(
        names.PREPROCESSED_CSV_DIFFERS,
        ERROR,
        'preprocessed_data.csv differs from the records',
        'Write the file again, or remove it: no pipeline reads it.',
    ),
    ProblemKind(
        names.LABEL_WITHOUT_POSITIVES,
        WARNING,
        'No image has the label',
        'Add images with it: without them nothing can be learned or measured for it.',
    ),
    ProblemKind(
        names.SINGLE_CLASS,
        ERROR,
        'All images are of one class',
        'Provide a data set with normal and abnormal images.',
    ),
)

_SPLITS = (
    ProblemKind(
        names.NOT_IN_SPLIT_LISTS,
        WARNING,
        'Neither official split list names the image',
        'Complete the lists, or split by patient hash (data.split.method: patient_hash).',
    ),
    ProblemKind(
        names.CONTRADICTORY_SPLIT_LISTS,
        ERROR,
        'The official split lists contradict each other',
        'Use the lists of the NIH release, or split by patient hash.',
    ),
    ProblemKind(
        names.EMPTY_SPLIT,
        ERROR,
        'The split has no images',
        'Provide more patients, or give this split a larger share (data.split.fractions).',
    ),
    ProblemKind(
        names.SINGLE_CLASS_SPLIT,
        ERROR,
        'The split has one class only',
        'Provide more patients: nothing can be learned or measured in this split.',
    ),
    ProblemKind(
        names.PREVALENCE_SHIFT,
        WARNING,
        'The prevalence of the label differs between splits',
        'Look at how the splits were made.',
    ),
    ProblemKind(
        names.SOURCE_PREDICTS_LABEL,
        WARNING,
        'A simple image statistic predicts the label by itself',
        'Report results within each source and view: a model can learn the source instead of the '
        'disease.',
    ),
    ProblemKind(
        names.SOURCE_PREVALENCE,
        WARNING,
        'The prevalence differs between sources or views',
        'Report results within each source and view; balance them in training.',
    ),
)

PROBLEMS: dict[str, ProblemKind] = {
    kind.name: kind
    for kind in (*_FILES, *_RECORDS, *_IMAGES, *_COPIES, *_PATIENTS, *_LABELS, *_SPLITS)
}
