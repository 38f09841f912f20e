"""The fields of a model card, all required. `card_build` fills them in.

Based on Mitchell et al., "Model cards for model reporting" (FAT* 2019), and on the "Model Facts"
label of Sendak et al. (npj Digital Medicine 2020).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

# Field -> the source of its value, for the message about a missing field.
_SOURCES = {
    'details': 'Trainer (model, triage.json)',
    'intended_use': 'pages/card_text.py, for the task, and XrayExampleGen (ingest.json)',
    'data': 'XrayExampleGen (ingest.json) and DataAudit (audit.json)',
    'training': 'Trainer (model, triage.json)',
    'evaluation': 'Evaluator (evaluation)',
    'calibration': 'Trainer (model, triage.json) and Evaluator (evaluation)',
    'operating_point': 'Trainer (model, triage.json) and Evaluator (evaluation)',
    'shortcuts': 'Evaluator (evaluation) and DataAudit (audit.json)',
    'history': 'Pusher (manifest.json)',
    'decisions': 'DataGate (gate.json), Evaluator (evaluation), ServingCheck (serving_check.json)',
    'limits': 'pages/card_text.py, for the task, and XrayExampleGen (ingest.json)',
    'licences': 'pages/card_text.py, for the data that XrayExampleGen read (ingest.json)',
}


class CardError(ValueError):
    """A model card lacks fields; the text names them and the artifacts that should have them."""


@dataclasses.dataclass(frozen=True)
class MetricField:
    """Annotates a field of a card that has a metric over all test images."""

    name: str


class _Part(BaseModel):
    model_config = ConfigDict(
        extra='forbid', frozen=True, str_min_length=1, protected_namespaces=(), allow_inf_nan=False
    )


class Interval(_Part):
    """A metric with its interval by patient; a `value` of None is not defined for a `reason`."""

    value: float | None
    lower: float | None
    upper: float | None
    reason: str | None


class Gap(Interval):
    """A gap between groups: the lowest sensitivity, and the groups compared and left out."""

    lowest: str
    compared: str
    left_out: str


class Measured(Interval):
    """A metric that must be defined."""

    value: float


class Details(_Part):
    """What the model is."""

    name: str
    run: str
    version: str
    served_as: str
    owner: str
    contact: str
    made: str
    task: str
    positive: str
    negative: str
    outputs: list[str] = Field(min_length=1)
    network: str
    input: str
    code_digest: str
    packages: dict[str, str] = Field(min_length=1)


class IntendedUse(_Part):
    """What the model is for and what it is not for."""

    statement: str
    primary: str
    users: str
    population: str
    out_of_scope: list[str] = Field(min_length=1)


class SplitCounts(_Part):
    """Counts of a split."""

    images: int = Field(gt=0)
    patients: int = Field(gt=0)
    positives: int = Field(gt=0)


class Data(_Part):
    """The data of training and evaluation."""

    records: int = Field(gt=0)
    quarantined: int = Field(ge=0)
    patients: int = Field(gt=0)
    source: str
    sites: str
    splits: dict[str, SplitCounts] = Field(min_length=1)
    split_rule: str
    labels: str
    label_noise: str
    audit: list[str] = Field(min_length=1)
    groups: dict[str, dict[str, int]] = Field(min_length=1)


class Training(_Part):
    """How the model was trained."""

    backbone: str
    started_from: str
    epochs: int = Field(ge=0)
    seed: int
    parameters: dict[str, Any] = Field(min_length=1)


class SourcePair(_Part):
    """A metric by labels from reports and by labels of experts, on the same images."""

    images: int = Field(gt=0)
    reports: Interval
    experts: Interval
    difference: Interval


class EvaluationPart(_Part):
    """What the Evaluator measured on the test split.

    Attributes:
      images: number of images in the test split.
      not_assessed: how many of them the model did not assess; None if not recorded.
      intervals: level and kind of the intervals.
      overall: title of a metric -> metric.
      subgroups: feature -> group -> metrics by name, or why there are none.
      gaps: title of a gap -> gap.
      baseline: a sentence about the baseline.
      expert_labels: the source of experts' labels, or that the run had none.
      label_sources: title of a metric -> the metric by both sources of labels.
    """

    images: int = Field(gt=0)
    not_assessed: int | None = Field(ge=0)
    intervals: str
    overall: dict[str, Interval] = Field(min_length=3)
    subgroups: dict[str, dict[str, dict[str, Interval]] | str] = Field(min_length=3)
    gaps: dict[str, Gap] = Field(min_length=1)
    baseline: str
    expert_labels: str
    label_sources: dict[str, SourcePair]


class CalibrationPart(_Part):
    """How well the probabilities are calibrated."""

    method: str
    temperature: float = Field(gt=0)
    offset: float
    expected_calibration_error: Annotated[Measured, MetricField('calibration_error')]
    calibration_ratio: Annotated[Measured, MetricField('calibration_ratio')]
    brier_score: Annotated[Measured, MetricField('brier_score')]


class OperatingPointPart(_Part):
    """The threshold above which the model flags images."""

    threshold: float = Field(ge=0, le=1)
    target_sensitivity: float = Field(gt=0, le=1)
    chosen_on: str
    sensitivity: Annotated[Measured, MetricField('sensitivity')]
    specificity: Annotated[Measured, MetricField('specificity')]
    precision: Annotated[Interval, MetricField('precision')]
    flagged: str


class Shortcuts(_Part):
    """Metrics of what predicts the label without the lungs."""

    metadata_only_auc: Annotated[Interval, MetricField('metadata_auc')]
    metadata_and_follow_up_auc: Annotated[Interval, MetricField('metadata_follow_up_auc')]
    auc_over_metadata: Annotated[Interval, MetricField('auc_over_metadata')]
    within_views: dict[str, Interval] | str
    image_statistics: list[str] = Field(min_length=1)


class Decisions(_Part):
    """The verdicts of the gates and checks."""

    data_gate: str
    evaluator: list[str] = Field(min_length=1)
    serving_check: str
    pushed: str


class VersionFacts(_Part):
    """A version that was served: when, from which run, what was new, and its metrics."""

    pushed: str
    run: str
    changed: str
    auc: Annotated[Interval, MetricField('auc')]
    sensitivity: Annotated[Interval, MetricField('sensitivity')]
    specificity: Annotated[Interval, MetricField('specificity')]


class History(_Part):
    """The versions that runs of the root have served up to this run, newest first."""

    note: str
    versions: dict[str, VersionFacts]


class ModelCard(_Part):
    """The card of the model of one run.

    Format 2 counts `images` where format 1 counted `films`, and has `evaluation.not_assessed`.
    Format 3 has what the owner states (`card` in a configuration) and `history`. Format 4 has
    `details.run`, with the name and the note of the run. Format 5 has
    `evaluation.expert_labels` and `evaluation.label_sources`. Format 6 has `training.started_from`.
    """

    format: int = 6
    details: Details
    intended_use: IntendedUse
    data: Data
    training: Training
    evaluation: EvaluationPart
    calibration: CalibrationPart
    operating_point: OperatingPointPart
    shortcuts: Shortcuts
    decisions: Decisions
    history: History
    limits: list[str] = Field(min_length=1)
    licences: list[str] = Field(min_length=1)


def complete(title: str, parts: dict[str, Any]) -> ModelCard:
    """Builds the card from its parts.

    Args:
      title: title of the run, for the message.
      parts: field of `ModelCard` -> values.

    Raises:
      CardError: a field is missing or empty.
    """
    try:
        return ModelCard.model_validate(parts)
    except ValidationError as error:
        raise CardError(
            '\n'.join([f'the model card of the run of {title} is not complete:', *_problems(error)])
        ) from None


def _problems(error: ValidationError) -> Iterator[str]:
    for problem in error.errors():
        keys = problem['loc']
        is_missing = problem.get('input') is None or problem['type'] == 'missing'
        reason = 'missing' if is_missing else f'{problem["msg"][0].lower()}{problem["msg"][1:]}'
        yield (
            f'  {".".join(map(str, keys))}: {reason}; it comes from '
            f'{_SOURCES.get(str(keys[0]), "the run")}'
        )


def metric_fields(part: type[BaseModel]) -> dict[str, str]:
    """Field -> metric, for the fields of a part that have a metric."""
    return {
        field: annotation.name
        for field, info in part.model_fields.items()
        for annotation in info.metadata
        if isinstance(annotation, MetricField)
    }
