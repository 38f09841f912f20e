"""The JSON bodies of the gateway's API."""

from __future__ import annotations

import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from serving import studies
from serving.database import tables
from serving.notice import RESEARCH_USE
from serving.served_versions import Estimate, VersionInfo


def _without_nul(text: str) -> str:
    if '\0' in text:
        raise ValueError('the character NUL cannot be stored')
    return text


# PostgreSQL has no NUL in a text.
Text = Annotated[str, AfterValidator(_without_nul)]


class ProblemBody(BaseModel):
    """Why a request was refused."""

    model_config = ConfigDict(
        json_schema_extra={
            'examples': [{'detail': 'file 1: the file is not a PNG, JPEG or DICOM image'}]
        }
    )

    detail: str | list[dict[str, Any]] = Field(
        description='a sentence; a list of fields if the request has another form than described'
    )


class EstimateBody(BaseModel):
    """A figure of the test split, with its interval by patient."""

    value: float | None
    lower: float | None
    upper: float | None


class OperatingPointBody(BaseModel):
    """The threshold of a version, and how it did on the test split there."""

    threshold: float | None = Field(description='probability from which a study is flagged')
    sensitivity: EstimateBody
    specificity: EstimateBody


class AnswerBody(BaseModel):
    """What a version answered about an image."""

    probability: float | None = Field(description='calibrated, of "abnormal"; null: not assessed')
    flag: bool
    reason: str = Field(description='why the image was not assessed; empty if it was')
    version: int
    label: str = Field(description='stable or canary')
    answered_at: datetime.datetime
    findings: dict[str, float]


class ImageBody(BaseModel):
    """An image of a study."""

    id: str
    kind: Literal['png', 'jpeg', 'dicom']
    sha256: str
    width: int
    height: int
    is_deleted: bool = Field(description='its file was removed by the retention')
    notes: list[str] = Field(description='what to know about a DICOM file, e.g. a scanned film')
    answer: AnswerBody | None


class ReadingBody(BaseModel):
    """A reader's verdict."""

    verdict: str
    findings: list[str]
    text: str
    reader: str
    version: int | None = Field(description='the version whose answer the reader saw')
    read_at: datetime.datetime


class StudyRow(BaseModel):
    """A row of the work list."""

    id: str
    reference: str
    arrived_at: datetime.datetime
    state: Literal['pending', 'scored', 'not_assessed']
    probability: float | None
    flag: bool | None
    version: int | None
    scored_at: datetime.datetime | None
    is_read: bool
    site: str = Field(description='where it comes from; empty: the site without a name')


class StudyBody(StudyRow):
    """A study with everything that is known about it."""

    images: list[ImageBody]
    readings: list[ReadingBody]
    operating_point: OperatingPointBody | None
    canary: list[AnswerBody] | None = Field(
        default=None, description='answers of the canary version; only with ?canary=true'
    )
    notice: str = RESEARCH_USE


class WorkListBody(BaseModel):
    """A page of the work list."""

    studies: list[StudyRow]
    next_cursor: str = Field(description='cursor of the next page; empty on the last one')
    total: int = Field(description='studies that the filters select')
    notice: str = RESEARCH_USE


class NewReading(BaseModel):
    """A reader's verdict, as it is sent."""

    model_config = ConfigDict(
        extra='forbid',
        json_schema_extra={
            'examples': [{'verdict': 'abnormal', 'findings': ['Effusion'], 'text': 'left side'}]
        },
    )

    verdict: Literal['normal', 'abnormal', 'not_assessable']
    findings: list[Text] = Field(default_factory=list, max_length=20)
    text: Text = Field(default='', max_length=4000)


class ModelBody(BaseModel):
    """A version in the push directory."""

    version: int
    state: str = Field(description='on the model server, e.g. AVAILABLE; empty if it is unknown')
    labels: list[str]
    task: str
    pushed_at: str
    auc: EstimateBody
    operating_point: OperatingPointBody
    problem: str


def estimate(figure: Estimate) -> EstimateBody:
    """The body of an estimate."""
    return EstimateBody(value=figure.value, lower=figure.lower, upper=figure.upper)


def operating_point(info: VersionInfo) -> OperatingPointBody:
    """The body of a version's operating point."""
    return OperatingPointBody(
        threshold=info.threshold,
        sensitivity=estimate(info.sensitivity),
        specificity=estimate(info.specificity),
    )


def row(study: tables.Study) -> StudyRow:
    """The row of a study."""
    return StudyRow(**{name: getattr(study, name) for name in StudyRow.model_fields})


def study(study: tables.Study, info: VersionInfo | None, with_canary: bool) -> StudyBody:
    """The body of a study whose images, answers and readings are loaded."""
    canary = [
        _answer(answer)
        for image in study.images
        for answer in image.answers
        if answer.role == studies.CANARY
    ]
    return StudyBody(
        **row(study).model_dump(),
        images=[_image(image) for image in study.images],
        readings=[
            ReadingBody(**{name: getattr(reading, name) for name in ReadingBody.model_fields})
            for reading in study.readings
        ],
        operating_point=operating_point(info) if info else None,
        canary=canary if with_canary else None,
    )


def _image(image: tables.Image) -> ImageBody:
    stable = next((a for a in image.answers if a.role == studies.STABLE), None)
    return ImageBody(
        id=image.id,
        kind=image.kind,
        sha256=image.sha256,
        width=image.width,
        height=image.height,
        is_deleted=image.deleted_at is not None,
        notes=image.notes or [],
        answer=_answer(stable) if stable else None,
    )


def _answer(answer: tables.Answer) -> AnswerBody:
    return AnswerBody(
        probability=answer.probability,
        flag=answer.flag,
        reason=answer.reason,
        version=answer.version,
        label=answer.role,
        answered_at=answer.answered_at,
        findings=answer.findings,
    )
