"""What XrayExampleGen can be told: the `data` part of a configuration. No TFX here."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from records.data_root import DEFAULT_PATTERNS
from records.intake import DEFAULT_MAX_SIDE, DEFAULT_MIN_SIDE
from records.side_files import AUTO
from schemas.features import SPLITS


class _Strict(BaseModel):
    model_config = ConfigDict(extra='forbid', frozen=True, allow_inf_nan=False)


class SplitParameters(_Strict):
    """How patients are shared out.

    Attributes:
      method: patient_hash: by a hash of the patient and `seed`; official: the test split is the
        official test list, and the images of `train_val_list` are shared out by hash in the
        proportions of the other `fractions`.
      fractions: share of the patients in each split, summing to 1.
      seed: another seed gives another assignment.
      train_val_list: list of image ids, one a line, plain or gzip; read for method official. auto:
        train_val_list.txt or train_val_list.txt.gz in `metadata/`, in the root, or beside the
        records.
      test_list: likewise; auto: test_list.txt or test_list.txt.gz.
    """

    method: Literal['patient_hash', 'official'] = 'patient_hash'
    fractions: dict[str, float] = Field(
        default_factory=lambda: {'train': 0.7, 'val': 0.1, 'calibration': 0.1, 'test': 0.1}
    )
    seed: int = 0
    train_val_list: str = AUTO
    test_list: str = AUTO

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


class DataParameters(_Strict):
    """The data root and how its records become examples; file names are relative to the root unless
    absolute.

    Attributes:
      root: the folder with the TFRecord files; `--data-root`.
      patterns: which files of it are read; `**` stands for any depth, and the case of letters does
        not matter.
      spans: all, latest, or a list of numbers; files under `span-N/` are of span N, all others of
        span 0.
      metadata: a table like Data_Entry_2017_v2020.csv, plain or gzip; auto: Data_Entry*.csv or
        Data_Entry*.csv.gz in `metadata/`, in the root, or beside the records; null for none.
      missing_metadata: what becomes of a record that the table does not name: quarantine, or keep
        (age, sex and view unknown).
      patient_id_pattern: regular expression whose one group finds the patient in an image_id that
        is not of the NIH form.
      min_side: pixels; smaller images go to quarantine.
      max_side: pixels; larger images go to quarantine.
      exclude: a list of image ids to leave out, one a line.
      max_quarantine_share: share of records in quarantine above which the run stops.
    """

    root: str | None = None
    patterns: tuple[str, ...] = DEFAULT_PATTERNS
    spans: Literal['all', 'latest'] | list[Annotated[int, Field(ge=0)]] = 'all'
    metadata: str | None = None
    missing_metadata: Literal['quarantine', 'keep'] = 'quarantine'
    patient_id_pattern: str | None = None
    min_side: int = Field(DEFAULT_MIN_SIDE, ge=1)
    max_side: int = Field(DEFAULT_MAX_SIDE, ge=1)
    exclude: str | None = None
    max_quarantine_share: float = Field(0.01, ge=0, le=1)
    split: SplitParameters = SplitParameters()

    @field_validator('patient_id_pattern')
    @classmethod
    def _one_group(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                groups = re.compile(value).groups
            except (re.error, RecursionError, OverflowError) as error:
                raise ValueError(f'not a regular expression: {error}') from None
            if groups != 1:
                raise ValueError(f'expected one group that holds the patient, found {groups}')
        return value

    @model_validator(mode='after')
    def _sides(self) -> DataParameters:
        if self.min_side > self.max_side:
            raise ValueError(f'min_side {self.min_side} is above max_side {self.max_side}')
        return self
