"""The model card: every field is required, so a card that lacks one is no card.

After Mitchell et al., "Model cards for model reporting" (FAT* 2019), and the "Model Facts" label of
Sendak et al. (npj Digital Medicine 2020). `card_build` fills it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

# Field -> the step whose artifact has it: what the message about a missing field says.
_SOURCES = {
    'details': 'Trainer (model, triage.json)',
    'intended_use': 'pages/card_text.py, for the task, and XrayExampleGen (ingest.json)',
    'data': 'XrayExampleGen (ingest.json) and DataAudit (audit.json)',
    'training': 'Trainer (model, triage.json)',
    'evaluation': 'Evaluator (evaluation)',
    'calibration': 'Trainer (model, triage.json) and Evaluator (evaluation)',
    'operating_point': 'Trainer (model, triage.json) and Evaluator (evaluation)',
    'shortcuts': 'Evaluator (evaluation) and DataAudit (audit.json)',
    'decisions': 'DataGate (gate.json), Evaluator (evaluation), ServingCheck (serving_check.json)',
    'limits': 'pages/card_text.py, for the task, and XrayExampleGen (ingest.json)',
    'licences': 'pages/card_text.py, for the data that XrayExampleGen found (ingest.json)',
}


class CardError(ValueError):
    """A model card that lacks fields; the text names each, and where it should have come from."""


class _Part(BaseModel):
    model_config = ConfigDict(
        extra='forbid', frozen=True, str_min_length=1, protected_namespaces=(), allow_inf_nan=False
    )


class Interval(_Part):
    """A figure with its interval by patient. `value` is None where the films do not define it,
    which the card says.
    """

    value: float | None
    lower: float | None
    upper: float | None


class Gap(Interval):
    """A gap between groups, with the worst group, compared or not, and the groups that it leaves
    out.
    """

    lowest: str
    left_out: str


class Measured(_Part):
    """A figure that has to have a value."""

    value: float
    lower: float | None
    upper: float | None


class Details(_Part):
    """What it is."""

    name: str
    version: str
    served_as: str
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
    """What it is for and what it is not for."""

    statement: str
    primary: str
    population: str
    out_of_scope: list[str] = Field(min_length=1)


class SplitCounts(_Part):
    """A split of the data."""

    films: int = Field(gt=0)
    patients: int = Field(gt=0)
    positives: int = Field(gt=0)


class Data(_Part):
    """What it was made and judged on."""

    records: int = Field(gt=0)
    quarantined: int = Field(ge=0)
    patients: int = Field(gt=0)
    splits: dict[str, SplitCounts] = Field(min_length=1)
    split_rule: str
    labels: str
    label_noise: str
    audit: list[str] = Field(min_length=1)
    groups: dict[str, dict[str, int]] = Field(min_length=1)


class Training(_Part):
    """How it was trained."""

    backbone: str
    epochs: int = Field(ge=0)
    seed: int
    parameters: dict[str, Any] = Field(min_length=1)


class EvaluationPart(_Part):
    """What was measured on the test split. `subgroups`: by -> group -> figures, or why there is
    none.
    """

    films: int = Field(gt=0)
    intervals: str
    overall: dict[str, Interval] = Field(min_length=3)
    subgroups: dict[str, dict[str, dict[str, Interval]] | str] = Field(min_length=3)
    gaps: dict[str, Gap] = Field(min_length=1)
    baseline: str


class CalibrationPart(_Part):
    """Whether probabilities mean what they say."""

    method: str
    temperature: float = Field(gt=0)
    offset: float
    expected_calibration_error: Measured
    calibration_ratio: Measured
    brier_score: Measured


class OperatingPointPart(_Part):
    """Where films are flagged."""

    threshold: float = Field(ge=0, le=1)
    target_sensitivity: float = Field(gt=0, le=1)
    chosen_on: str
    sensitivity: Measured
    specificity: Measured
    precision: Interval
    flagged: str


class Shortcuts(_Part):
    """What predicts the label without the lung."""

    metadata_only_auc: Interval
    metadata_and_follow_up_auc: Interval
    auc_over_metadata: Interval
    within_views: dict[str, Interval] | str
    image_statistics: list[str] = Field(min_length=1)


class Decisions(_Part):
    """Who let it pass."""

    data_gate: str
    evaluator: list[str] = Field(min_length=1)
    serving_check: str
    pushed: str


class ModelCard(_Part):
    """The card of the model that one run made."""

    format: int = 1
    details: Details
    intended_use: IntendedUse
    data: Data
    training: Training
    evaluation: EvaluationPart
    calibration: CalibrationPart
    operating_point: OperatingPointPart
    shortcuts: Shortcuts
    decisions: Decisions
    limits: list[str] = Field(min_length=1)
    licences: list[str] = Field(min_length=1)


def complete(title: str, parts: dict[str, Any]) -> ModelCard:
    """The card of these parts.

    Raises:
      CardError: one is missing or empty.
    """
    try:
        return ModelCard.model_validate(parts)
    except ValidationError as error:
        raise CardError(
            '\n'.join([f'the model card of the run of {title} is not complete:', *_problems(error)])
        ) from None


def _problems(error: ValidationError) -> Iterator[str]:
    for problem in error.errors():
        place = problem['loc']
        missing = problem.get('input') is None or problem['type'] == 'missing'
        what = 'missing' if missing else f'{problem["msg"][0].lower()}{problem["msg"][1:]}'
        yield (
            f'  {".".join(map(str, place))}: {what}; it comes from '
            f'{_SOURCES.get(str(place[0]), "the run")}'
        )
