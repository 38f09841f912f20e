"""The names of the problems of a data set, the same in every file and message.

`quarantine.jsonl`, `ingest.json`, `audit.json`, `convert_report.json`, the table of `check` and
`gate.max_share` use these names; those of images that cannot be used are in `schemas.image_status`.
`records.problems` says what each one means and what to do about it. The texts are in another
module, so that changing a text does not make TFX ingest and train again.
"""

from __future__ import annotations

# Files.
UNREADABLE_FILE = 'unreadable_file'
UNSUPPORTED_FILE = 'unsupported_file'
UNUSABLE_NAME = 'unusable_name'
IGNORED_FILES = 'ignored_files'
WRONG_RECORD_COUNT = 'wrong_record_count'

# Records.
DAMAGED_RECORD = 'damaged_record'
INVALID_RECORD = 'invalid_record'
EXCLUDED = 'excluded'
MISSING_IMAGE_ID = 'missing_image_id'
DUPLICATE_IMAGE_ID = 'duplicate_image_id'

# Images that are decoded, but differ from what is expected.
WRONG_SIZE = 'wrong_size'
WRONG_CHANNELS = 'wrong_channels'
WRONG_FORMAT = 'wrong_format'
SATURATED = 'saturated'
LOW_CONTRAST = 'low_contrast'
INVERTED_POLARITY = 'inverted_polarity'

# Copies.
DUPLICATE = 'duplicate'
CROSS_SPLIT_DUPLICATE = 'cross_split_duplicate'
DUPLICATE_ACROSS_PATIENTS = 'duplicate_across_patients'
NEAR_DUPLICATE = 'near_duplicate'
NEAR_DUPLICATE_ACROSS_SPLITS = 'near_duplicate_across_splits'
NEAR_DUPLICATE_ACROSS_PATIENTS = 'near_duplicate_across_patients'
DUPLICATE_LABEL_CONFLICT = 'duplicate_label_conflict'

# Patients and the metadata table.
MISSING_PATIENT = 'missing_patient'
PATIENT_IN_TWO_SPLITS = 'patient_in_two_splits'
NO_METADATA_TABLE = 'no_metadata_table'
NOT_IN_METADATA = 'not_in_metadata'
MISSING_METADATA = 'missing_metadata'
UNCLEAR_METADATA = 'unclear_metadata'

# Labels.
CONTRADICTORY_LABELS = 'contradictory_labels'
NO_LABEL_SET = 'no_label_set'
UNKNOWN_LABEL = 'unknown_label'
LABELS_DIFFER_FROM_METADATA = 'labels_differ_from_metadata'
PREPROCESSED_CSV_DIFFERS = 'preprocessed_csv_differs'
LABEL_WITHOUT_POSITIVES = 'label_without_positives'
SINGLE_CLASS = 'single_class'

# Splits.
NOT_IN_SPLIT_LISTS = 'not_in_split_lists'
CONTRADICTORY_SPLIT_LISTS = 'contradictory_split_lists'
EMPTY_SPLIT = 'empty_split'
SINGLE_CLASS_SPLIT = 'single_class_split'
PREVALENCE_SHIFT = 'prevalence_shift'
SOURCE_PREDICTS_LABEL = 'source_predicts_label'
SOURCE_PREVALENCE = 'source_prevalence'
