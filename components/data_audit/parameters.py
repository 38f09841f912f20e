"""Parameters of the data audit: the `audit` part of a configuration. No TFX or TensorFlow here."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from records.parallel import default_workers
from schemas.image_status import MAX_PIXELS
from trainer.strict_parameters import StrictParameters


class AuditParameters(StrictParameters):
    """The images that DataAudit expects, and the bounds from which on it reports an issue.

    A change here decodes all images again. The limits that stop a run are in DataGate. With the
    defaults, the audit reports two of 1,948 NIH images; both really are inverted.
    """

    task_label: str = Field('abnormal', min_length=1)
    """Label that the model learns, an int64 feature with 0 or 1. It follows from `task`: leave it
    out."""

    width: int = Field(600, gt=0)
    """Expected width of an image, in pixels; images of another width are reported."""
    height: int = Field(600, gt=0)
    """Expected height of an image, in pixels; images of another height are reported."""
    channels: Literal[1, 3] = 1
    """Expected channels of an image: 1 for grey, 3 for colour; other images are reported."""
    format: Literal['JPEG', 'PNG'] = 'JPEG'
    """Expected file format of an image; images in another format are reported."""
    max_pixels: int = Field(MAX_PIXELS, gt=0)
    """Pixels above which an image is not decoded but reported as `too_large`."""

    black_share: float = Field(0.6, gt=0, le=1)
    """Share of pixels with grey level 0 from which on an image is reported as clipped."""
    white_share: float = Field(0.2, gt=0, le=1)
    """Share of pixels with grey level 255 from which on an image is reported as clipped."""
    low_contrast_range: float = Field(60, ge=0, le=255)
    """Grey levels (0 to 255) between the 1st and the 99th percentile below which an image is
    reported as `low_contrast`."""
    polarity_score: float = Field(0.0, ge=-1, le=1)
    """Similarity to a chest X-ray below which an image is reported as `inverted_polarity`."""

    near_duplicate_correlation: float = Field(0.95, gt=0, le=1)
    """Correlation of the fine detail of two aligned images from which on they are reported as near
    duplicates."""

    prevalence_difference: float = Field(0.10, gt=0, le=1)
    """Difference between the prevalences of two groups from which on it is reported, if it is also
    significant (`prevalence_p_value`)."""
    prevalence_p_value: float = Field(0.001, gt=0, lt=1)
    """Probability of a difference by chance, tested by patient, below which the difference counts
    as significant."""
    source_auc: float = Field(0.70, gt=0.5, le=1)
    """AUC with which a simple image statistic predicts the label from which on it is reported."""
    min_group: int = Field(30, ge=2)
    """Patients that a group (split, source, view position, class) needs to be compared."""

    examples_per_kind: int = Field(6, ge=0, le=50)
    """Thumbnails on the page for each kind of issue."""
    listed_per_kind: int = Field(100, ge=1, le=10_000)
    """Images listed in audit.json for each kind of issue."""
    threads: int = Field(0, ge=0, le=64)
    """Threads of each Beam worker; 0 takes one per core, at most 4."""

    def thread_count(self) -> int:
        """Threads of a Beam worker. Call it on the worker, whose cores count."""
        return self.threads or min(default_workers(), 4)
