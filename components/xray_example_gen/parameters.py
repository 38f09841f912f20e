"""Parameters of XrayExampleGen: the `data` part of a configuration. This module imports no TFX."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from records.data_root import DEFAULT_PATTERNS
from records.intake import DEFAULT_MAX_SIDE, DEFAULT_MIN_SIDE
from records.side_files import AUTO
from schemas.features import SPLITS
from schemas.labels import ABNORMAL, FINDINGS
from trainer.strict_parameters import StrictParameters


class SplitParameters(StrictParameters):
    """How patients are assigned to the splits; a patient is in one split only."""

    method: Literal['patient_hash', 'official'] = 'patient_hash'
    """`patient_hash` assigns each patient by a hash of the patient's id and `seed`. `official`
    takes the test split from `test_list` and assigns the patients of `train_val_list` to the other
    splits by hash, in the proportions of their `fractions`."""
    fractions: dict[str, float] = Field(
        default_factory=lambda: {'train': 0.7, 'val': 0.1, 'calibration': 0.1, 'test': 0.1}
    )
    """Share of the patients in each of the four splits; all are above 0 and sum to 1."""
    seed: int = 0
    """Seed of the hash; another seed gives another assignment."""
    train_val_list: str = AUTO
    """File with the image ids outside the official test split, one per line, plain or gzip. `auto`
    looks for train_val_list.txt or train_val_list.txt.gz in `metadata/`, in the data root and
    beside the records. Read with `method: official` only."""
    test_list: str = AUTO
    """File with the image ids of the official test split; `auto` looks for test_list.txt or
    test_list.txt.gz in the same places."""

    @field_validator('fractions')
    @classmethod
    def _complete(cls, value: dict[str, float]) -> dict[str, float]:
        if set(value) != set(SPLITS):
            raise ValueError(
                f'expected exactly the splits {", ".join(SPLITS)}, found '
                f'{", ".join(value) or "none"}'
            )
        if min(value.values()) <= 0 or abs(sum(value.values()) - 1) > 1e-6:
            raise ValueError(
                f'expected shares above 0 that sum to 1, found a sum of {sum(value.values()):g}'
            )
        return value


class ExpertLabelParameters(StrictParameters):
    """A table of labels from radiologists who saw the images. Only the Evaluator reads it."""

    file: str | None = None
    """Table (CSV, plain or gzip) of what radiologists say about test images. The evaluation
    compares it with the labels of the records. Training, calibration and gate never use it."""
    image: str | None = None
    """Column with the image id; null looks for `Image Index`, `Image ID`, `Image`, `File name`."""
    columns: dict[str, tuple[str, ...]] = {}
    """Columns of a label, e.g. {abnormal: [Fracture, Airspace opacity]}: 1 where one of them says
    YES, 0 where all say NO. Labels are `abnormal` and the findings. Empty: the columns that are
    named like a label."""

    @field_validator('columns')
    @classmethod
    def _labels(cls, value: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        labels = (ABNORMAL, *FINDINGS)
        for label, columns in value.items():
            if label not in labels:
                raise ValueError(f'no such label: {label!r}. Known: {", ".join(labels)}')
            if not columns:
                raise ValueError(f'{label} has no columns: name at least one, or leave it out')
        return value


class DataParameters(StrictParameters):
    """The data root and how its records become examples.

    File names are relative to the data root unless they are absolute.
    """

    root: str | None = None
    """The data root: the folder with the TFRecord files (`--data-root`)."""
    patterns: tuple[str, ...] = DEFAULT_PATTERNS
    """Patterns of the record files to read, relative to the data root; `**` matches any number of
    folders, and upper and lower case are the same."""
    spans: Literal['all', 'latest'] | list[Annotated[int, Field(ge=0)]] = 'all'
    """Spans to read: `all`, `latest`, or a list of numbers. Files under `span-N/` belong to span N,
    all others to span 0."""
    metadata: str | list[str] | None = None
    """The metadata table: a file like Data_Entry_2017_v2020.csv, plain or gzip, or a list of such
    files. `auto` looks for Data_Entry*.csv or Data_Entry*.csv.gz in `metadata/`, in the data root
    and beside the records, and adds the table of each span in `span-N/metadata/` or `span-N/`; null
    reads none, so age, sex and view position are unknown."""
    missing_metadata: Literal['quarantine', 'keep'] = 'quarantine'
    """What happens to a record that the metadata table does not list: `quarantine` sets it aside,
    `keep` uses it with unknown age, sex and view position."""
    patient_id_pattern: str | None = None
    """Regular expression with one group that matches the patient's id in an image id. Needed where
    image ids do not have NIH's form (00000013_005.png)."""
    min_side: int = Field(DEFAULT_MIN_SIDE, ge=1)
    """Shortest side in pixels; smaller images go to quarantine."""
    max_side: int = Field(DEFAULT_MAX_SIDE, ge=1)
    """Longest side in pixels; larger images go to quarantine."""
    exclude: str | None = None
    """File with image ids to leave out, one per line; null leaves out none."""
    max_quarantine_share: float = Field(0.01, ge=0, le=1)
    """Share of records in quarantine above which the run stops."""
    split: SplitParameters = SplitParameters()
    expert_labels: ExpertLabelParameters = ExpertLabelParameters()

    @property
    def tables(self) -> tuple[str, ...]:
        """The metadata tables."""
        return (self.metadata,) if isinstance(self.metadata, str) else tuple(self.metadata or ())

    @field_validator('patient_id_pattern')
    @classmethod
    def _one_group(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                groups = re.compile(value).groups
            except (re.error, RecursionError, OverflowError) as error:
                raise ValueError(f'not a regular expression: {error}') from None
            if groups != 1:
                raise ValueError(f'expected one group, which matches the patient, found {groups}')
        return value

    @model_validator(mode='after')
    def _sides(self) -> DataParameters:
        if self.min_side > self.max_side:
            raise ValueError(f'min_side {self.min_side} is above max_side {self.max_side}')
        return self
