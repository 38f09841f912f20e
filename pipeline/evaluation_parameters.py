"""What is measured, on which slices, and what a model has to reach: the `evaluation` part of a
configuration. No TFMA here.
"""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from components.evaluator import registry
from components.evaluator.registry import ENDS, GROUPS, Better, Metric
from schemas.features import AGE_BAND, AGE_BANDS, SEX, SEXES, UNKNOWN, VIEW, VIEWS
from schemas.labels import ABNORMAL, FINDINGS
from trainer.tasks import Task

# Metric that a threshold can be set on, each with an interval by patient -> which way it improves.
WITH_INTERVAL: dict[str, Better] = {
    name: metric.better for name, metric in registry.METRICS.items() if metric.gate
}
# Shown beside them, without a bound of their own: what is known without the image, and of single
# findings.
SHOWN: tuple[str, ...] = tuple(
    f'{name}{end}'
    for name, metric in registry.METRICS.items()
    if not metric.gate
    for end in ('', '_lower', '_upper')
)
METRICS: dict[str, Better] = {
    **WITH_INTERVAL,
    **{f'{name}_{end}': better for name, better in WITH_INTERVAL.items() for end in ENDS},
}
# Slices by name in a configuration.
FINDINGS_SLICE = 'findings'
SLICES: tuple[str, ...] = (SEX, AGE_BAND, VIEW, FINDINGS_SLICE)
# Feature -> the values that ingestion writes. A slice of any other value holds no film.
SLICE_VALUES: dict[str, tuple[str, ...]] = {
    SEX: (*SEXES, UNKNOWN),
    AGE_BAND: AGE_BANDS,
    VIEW: (*VIEWS, UNKNOWN),
    **dict.fromkeys(FINDINGS, ('0', '1')),
}


class _Strict(BaseModel):
    model_config = ConfigDict(extra='forbid', frozen=True, allow_inf_nan=False)


class Threshold(_Strict):
    """One condition of the gate.

    Attributes:
      metric: a name of METRICS.
      slice: feature -> value, e.g. {view_position: PA} or {Effusion: 1}; empty for all examples.
      min: the metric may not be below.
      max: the metric may not be above.
      max_worse: how much worse than the served model the metric may be; not looked at while nothing
        is served.
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
        unknown = [str(key) for key in value if key not in SLICE_VALUES]
        if unknown:
            raise ValueError(f'no slices by {", ".join(unknown)}. Known: {", ".join(SLICE_VALUES)}')
        values = {key: str(content) for key, content in value.items()}
        for key, content in values.items():
            if content not in SLICE_VALUES[key]:
                raise ValueError(
                    f'no film has {key} {content!r}. Allowed: {", ".join(SLICE_VALUES[key])}'
                )
        return values

    @model_validator(mode='after')
    def _some_bound(self) -> Threshold:
        if self.min is None and self.max is None and self.max_worse is None:
            raise ValueError('a threshold needs at least one of min, max, max_worse')
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f'min {self.min} is above max {self.max}')
        if self.max_worse is not None and METRICS[self.metric] == 'one':
            raise ValueError(
                f'max_worse cannot be asked of {self.metric}: neither more nor less of it is better'
            )
        return self

    @model_validator(mode='after')
    def _within_range(self) -> Threshold:
        metric = self.registered
        for key, bound in (('min', self.min), ('max', self.max)):
            if bound is not None and not metric.low <= bound <= metric.high:
                raise ValueError(
                    f'{key} {bound:g} is outside the range of {self.metric}: {metric.range}'
                )
        if self.max_worse is not None and self.max_worse > metric.high - metric.low:
            raise ValueError(
                f'max_worse {self.max_worse:g} allows any change of {self.metric}, whose range is '
                f'{metric.range}'
            )
        return self

    @model_validator(mode='after')
    def _groups_to_compare(self) -> Threshold:
        group = self.registered.group
        if group in self.slice:
            raise ValueError(
                f'{self.metric} compares values of {group}, but all films of the slice '
                f'{self.name()} have the same one: '
                f'leave {group} out of the slice'
            )
        return self

    @property
    def registered(self) -> Metric:
        """What the registry says of the metric."""
        metric = registry.find(self.metric)
        assert metric is not None
        return metric

    def problems(self, task: Task, has_metadata: bool) -> Iterator[str]:
        """Why no model of a task can ever meet this threshold; nothing where one can.

        Args:
          task: what is learned.
          has_metadata: whether a metadata table is read; without one, sex, age and view of all
            films are unknown.
        """
        metric = self.registered
        if not metric.emitted(task.findings):
            known = ', '.join(
                name for name in WITH_INTERVAL if registry.METRICS[name].emitted(task.findings)
            )
            yield (
                f'{self.metric} does not exist for task {task.name!r}. Its metrics: {known}; each '
                'also with _lower or _upper'
            )
        label = _label_in(self.slice, task)
        if (metric.negatives and label == 1) or (metric.positives and label == 0):
            kind = task.positive if label else task.negative
            known = ', '.join(
                name for name in WITH_INTERVAL if _defined(registry.METRICS[name], label, task)
            )
            yield (
                f'{self.metric} is not defined in the slice {self.name()}, whose films are all '
                f'{kind} for task {task.name!r}. '
                f'Defined there: {known}'
            )
        if has_metadata:
            return
        if metric.metadata:
            yield (
                f'{self.metric} needs sex, age and view of the films: give their table as '
                'data.metadata'
            )
        for key in GROUPS:
            if self.slice.get(key, UNKNOWN) != UNKNOWN:
                yield (
                    f'the slice {self.name()} is empty without a metadata table: give one as '
                    'data.metadata'
                )

    def name(self) -> str:
        """The slice for people."""
        return ', '.join(f'{key}={value}' for key, value in self.slice.items()) or 'all'


def _label_in(values: dict[str, str], task: Task) -> int | None:
    """The label that all films of a slice have, None where they can differ."""
    if task.label in values:
        return int(values[task.label])
    if task.label == ABNORMAL and any(values.get(finding) == '1' for finding in FINDINGS):
        return 1
    return None


def _defined(metric: Metric, label: int, task: Task) -> bool:
    missing = metric.negatives if label else metric.positives
    return not missing and metric.emitted(task.findings)


class EvaluationParameters(_Strict):
    """Slices beside the whole test split, and the thresholds that a model has to meet to be
    blessed.

    Attributes:
      slices: of sex, age_band, view_position, findings.
      thresholds: each with `metric`, maybe `slice` (e.g. {view_position: PA} or {Effusion: 1}), and
        at least one of `min`, `max`, `max_worse` (than the served model). Metrics: auc, pr_auc,
        sensitivity, specificity, precision, calibration_ratio, calibration_error, brier_score,
        auc_over_metadata (what the image adds to age, sex and view), macro_auc (the mean over
        findings, of task findings14), sensitivity_gap_sex, sensitivity_gap_age_band,
        sensitivity_gap_view_position (the largest difference between groups); each also with _lower
        or _upper, for an end of its interval by patient.
    """

    slices: tuple[str, ...] = SLICES
    thresholds: tuple[Threshold, ...] = (Threshold(metric='auc', min=0.7),)
    replicates: int = Field(1000, ge=100, le=100_000, description='of the bootstrap over patients')
    interval: float = Field(0.95, gt=0.5, lt=1, description='level of the intervals')
    min_group_positives: int = Field(
        20, ge=1, description='abnormal films that a group needs to count for a sensitivity gap'
    )

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
            raise ValueError(
                'at least one threshold is needed: without any, TFX never blesses a model'
            )
        if all(threshold.min is None and threshold.max is None for threshold in value):
            raise ValueError(
                'at least one threshold needs min or max: while nothing is served, max_worse '
                'alone bounds nothing'
            )
        return value

    @field_validator('thresholds')
    @classmethod
    def _consistent(cls, value: tuple[Threshold, ...]) -> tuple[Threshold, ...]:
        bounds: dict[tuple, list[Threshold]] = {}
        for threshold in value:
            bounds.setdefault((threshold.metric, *sorted(threshold.slice.items())), []).append(
                threshold
            )
        for thresholds in bounds.values():
            least = max((each.min for each in thresholds if each.min is not None), default=None)
            most = min((each.max for each in thresholds if each.max is not None), default=None)
            if least is not None and most is not None and least > most:
                first = thresholds[0]
                raise ValueError(
                    f'{first.metric} on {first.name()} has a min of {least:g} and a max of '
                    f'{most:g}: no model meets both'
                )
        return value
