"""What the data audit expects of an image and from where on it calls something an issue. No TFX or
TensorFlow here.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from records.parallel import default_workers
from schemas.image_status import MAX_PIXELS


class AuditParameters(BaseModel):
    """Parameters of DataAudit. A change here decodes all pixels again; what *stops* a run is a
    limit of DataGate.

    Grey levels are 0..255. Defaults were set on 1,948 NIH films, among which they report two, which
    really are negatives.
    """

    model_config = ConfigDict(extra='forbid', frozen=True)

    task_label: str = Field(
        'abnormal', min_length=1, description='int64 0/1 feature that the model learns'
    )

    width: int = Field(600, gt=0, description='expected width in pixels')
    height: int = Field(600, gt=0, description='expected height in pixels')
    channels: Literal[1, 3] = Field(1, description='expected channels')
    format: Literal['JPEG', 'PNG'] = Field('JPEG', description='expected file format')
    max_pixels: int = Field(
        MAX_PIXELS, gt=0, description='larger images are not decoded but reported as too_large'
    )

    black_share: float = Field(
        0.6, gt=0, le=1, description='share of pixels at 0 from which on an image is clipped'
    )
    white_share: float = Field(
        0.2, gt=0, le=1, description='share of pixels at 255 from which on an image is clipped'
    )
    low_contrast_range: float = Field(
        60,
        ge=0,
        le=255,
        description='grey levels between 1st and 99th percentile; less is low contrast',
    )
    polarity_score: float = Field(
        0.0,
        ge=-1,
        le=1,
        description='likeness to a chest film, -1..1; below this the image looks inverted',
    )

    near_duplicate_correlation: float = Field(
        0.95,
        gt=0,
        le=1,
        description='least correlation of the detail of near copies, after alignment',
    )

    prevalence_difference: float = Field(
        0.10, gt=0, le=1, description='difference of two prevalences from which on it is an issue'
    )
    prevalence_p_value: float = Field(
        0.001, gt=0, lt=1, description='and the chance of it, by patient, is below this'
    )
    source_auc: float = Field(
        0.70,
        gt=0.5,
        le=1,
        description='AUC from which on a simple statistic predicts the label by itself',
    )
    min_group: int = Field(
        30,
        ge=2,
        description='groups (split, source, view, class) with fewer patients are not compared',
    )

    examples_per_kind: int = Field(
        6, ge=0, le=50, description='thumbnails per kind of issue on the page'
    )
    listed_per_kind: int = Field(
        100, ge=1, le=10_000, description='examples per kind of issue in audit.json'
    )
    threads: int = Field(
        0, ge=0, le=64, description='threads of a Beam worker; 0: one a core, at most 4'
    )

    def thread_count(self) -> int:
        """How many threads a Beam worker takes; where it runs, as its cores count."""
        return self.threads or min(default_workers(), 4)
