"""What is measured, on which slices, and what a model has to reach: the `evaluation` part of a configuration. No TFMA here."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from trainer.features import AGE_BAND, SEX, VIEW
from trainer.labels import FINDINGS

GROUPS: tuple[str, ...] = (SEX, AGE_BAND, VIEW)
Better = Literal['higher', 'lower', 'one']
# Metric, each with an interval by patient -> whether more is better. `calibration_ratio` is mean prediction over mean label: 1 is best,
# so it has both bounds.
WITH_INTERVAL: dict[str, Better] = {
    'auc': 'higher',
    'pr_auc': 'higher',
    'sensitivity': 'higher',
    'specificity': 'higher',
    'precision': 'higher',
    'calibration_ratio': 'one',
    'calibration_error': 'lower',
    'brier_score': 'lower',
    'auc_over_metadata': 'higher',
    'macro_auc': 'higher',
    **{f'sensitivity_gap_{group}': 'lower' for group in GROUPS},
}
# Shown beside them, without a bound of their own: what is known without the image, and of single findings.
SHOWN: tuple[str, ...] = tuple(
    f'{name}{end}'
    for name in ('metadata_auc', 'metadata_follow_up_auc', *(f'{finding}_auc' for finding in FINDINGS))
    for end in ('', '_lower', '_upper')
)
METRICS: dict[str, Better] = {
    **WITH_INTERVAL,
    **{f'{name}_{end}': better for name, better in WITH_INTERVAL.items() for end in ('lower', 'upper')},
}
# Slices by name in a configuration.
FINDINGS_SLICE = 'findings'
SLICES: tuple[str, ...] = (SEX, AGE_BAND, VIEW, FINDINGS_SLICE)
_SLICE_KEYS: tuple[str, ...] = (SEX, AGE_BAND, VIEW, *FINDINGS)


class _Strict(BaseModel):
    model_config = ConfigDict(extra='forbid', frozen=True, allow_inf_nan=False)


class Threshold(_Strict):
    """One condition of the gate.

    Attributes:
      metric: a name of METRICS.
      slice: feature -> value, e.g. {view_position: PA} or {Effusion: 1}; empty for all examples.
      min: the metric may not be below.
      max: the metric may not be above.
      max_worse: how much worse than the served model the metric may be; not looked at while nothing is served.
    """

    metric: str
    slice: dict[str, str] = Field(default_factory=dict)
    min: float | None = None
    max: float | None = None
    max_worse: float | None = Field(None, ge=0)

    @field_validator('metric')
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in METRICS:
            raise ValueError(f'no such metric: {value!r}. Known: {", ".join(METRICS)}')
        return value

    @field_validator('slice', mode='before')
    @classmethod
    def _slice(cls, value):
        if not isinstance(value, dict):
            return value
        unknown = [str(key) for key in value if key not in _SLICE_KEYS]
        if unknown:
            raise ValueError(f'no slices by {", ".join(unknown)}. Known: {", ".join(_SLICE_KEYS)}')
        return {key: str(content) for key, content in value.items()}

    @model_validator(mode='after')
    def _some_bound(self) -> Threshold:
        if self.min is None and self.max is None and self.max_worse is None:
            raise ValueError('a threshold needs at least one of min, max, max_worse')
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f'min {self.min} is above max {self.max}')
        if self.max_worse is not None and METRICS[self.metric] == 'one':
            raise ValueError(f'max_worse cannot be asked of {self.metric}: neither more nor less of it is better')
        return self

    def name(self) -> str:
        """The slice for people."""
        return ', '.join(f'{key}={value}' for key, value in self.slice.items()) or 'all'


class EvaluationParameters(_Strict):
    """Slices beside the whole test split, and the thresholds that a model has to meet to be blessed.

    Attributes:
      slices: of sex, age_band, view_position, findings.
      thresholds: each with `metric`, maybe `slice` (e.g. {view_position: PA} or {Effusion: 1}), and at least one of `min`, `max`,
        `max_worse` (than the served model). Metrics: auc, pr_auc, sensitivity, specificity, precision, calibration_ratio,
        calibration_error, brier_score, auc_over_metadata (what the image adds to age, sex and view), macro_auc (the mean over findings,
        of task findings14), sensitivity_gap_sex, sensitivity_gap_age_band, sensitivity_gap_view_position (the largest difference
        between groups); each also with _lower or _upper, for an end of its interval by patient.
    """

    slices: tuple[str, ...] = SLICES
    thresholds: tuple[Threshold, ...] = (Threshold(metric='auc', min=0.7),)
    replicates: int = Field(1000, ge=100, le=100_000, description='of the bootstrap over patients')
    interval: float = Field(0.95, gt=0.5, lt=1, description='level of the intervals')
    min_group_positives: int = Field(20, ge=1, description='abnormal films that a group needs to count for a sensitivity gap')

    @field_validator('slices')
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [name for name in value if name not in SLICES]
        if unknown:
            raise ValueError(f'no such slice: {", ".join(unknown)}. Known: {", ".join(SLICES)}')
        return value

    @field_validator('thresholds')
    @classmethod
    def _some(cls, value: tuple[Threshold, ...]) -> tuple[Threshold, ...]:
        if not value:
            raise ValueError('at least one threshold is needed: without any, TFX never blesses a model')
        if all(threshold.min is None and threshold.max is None for threshold in value):
            raise ValueError('at least one threshold needs min or max: while nothing is served, max_worse alone bounds nothing')
        return value
