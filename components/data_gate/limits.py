"""The limits of DataGate: the `gate` part of a configuration. No TFX or TensorFlow here."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from components.data_audit.kinds import KINDS
from schemas import image_status
from schemas import problem_names as names
from trainer.strict_parameters import StrictParameters

DEFAULT_MAX_SHARE: dict[str, float | None] = {
    image_status.UNDECODABLE: 0.0,
    image_status.TRUNCATED: 0.0,
    image_status.TOO_LARGE: 0.0,
    image_status.UNSUPPORTED: 0.0,
    image_status.BLANK: 0.0,
    names.LOW_CONTRAST: 0.1,
    names.INVERTED_POLARITY: 0.01,
    names.CROSS_SPLIT_DUPLICATE: 0.0,
    names.NEAR_DUPLICATE_ACROSS_SPLITS: 0.001,
    names.PATIENT_IN_TWO_SPLITS: 0.0,
    names.CONTRADICTORY_LABELS: 0.005,
    names.NO_LABEL_SET: 0.005,
    names.EMPTY_SPLIT: 0.0,
    names.SINGLE_CLASS_SPLIT: 0.0,
}


class GateLimits(StrictParameters):
    """Limits above which DataGate stops the run."""

    anomaly_level: Literal['error', 'warning', 'none'] = 'error'
    """Lowest severity of a TFDV anomaly that stops the run; with `none`, anomalies are only
    listed."""
    max_share: dict[str, float | None] = Field(default_factory=lambda: dict(DEFAULT_MAX_SHARE))
    """Largest allowed share for each kind of issue (`components.data_audit.kinds`), from 0 to 1.
    Kinds that you leave out keep their default; null removes a default limit. A kind without a
    limit only gives a warning."""

    @field_validator('max_share', mode='before')
    @classmethod
    def _over_defaults(cls, configured: Any) -> Any:
        if not isinstance(configured, dict):
            return configured
        unknown = sorted(str(name) for name in configured if name not in KINDS)
        if unknown:
            raise ValueError(
                f'no such kind of issue: {", ".join(unknown)}. Known: {", ".join(KINDS)}'
            )
        return {**DEFAULT_MAX_SHARE, **configured}

    @field_validator('max_share')
    @classmethod
    def _shares(cls, limits: dict[str, float | None]) -> dict[str, float | None]:
        for name, share in limits.items():
            if share is not None and not 0 <= share <= 1:
                raise ValueError(
                    f'{name} is {share}: expected a share from 0 to 1, or null for no limit'
                )
        return limits
