"""What reports of every format say about an assessed study."""

from __future__ import annotations

from dataclasses import dataclass

import pipeline
from serving import studies
from serving.database.tables import NOT_ASSESSED, Answer, Image, Study
from serving.served_versions import Estimate, VersionInfo


@dataclass(frozen=True)
class StudyAnswer:
    """The answer about a whole study; `reason` says why it was not assessed."""

    probability: float | None
    flag: bool
    reason: str
    threshold: float | None


def images(study: Study) -> list[tuple[Image, Answer]]:
    """The images of a study with the answers that count, in their order."""
    return [
        (image, answer)
        for image in study.images
        for answer in image.answers
        if answer.role == studies.STABLE
    ]


def of_study(study: Study) -> StudyAnswer:
    """The answer about a study whose images and answers are loaded."""
    answers = [answer for _, answer in images(study)]
    reason = next((answer.reason for answer in answers if answer.reason), '')
    return StudyAnswer(
        study.probability,
        bool(study.flag),
        reason if study.state == NOT_ASSESSED else '',
        next((a.threshold for a in answers if a.threshold is not None), None),
    )


def software(version: int | None) -> str:
    """The versions of software and model."""
    return f'{pipeline.__version__}, model {version}'


def parameters(version: int | None, threshold: float | None, info: VersionInfo) -> list[str]:
    """Task and operating point of an answer, as sentences.

    Args:
      version: that answered.
      threshold: of the answer; None if the image was not assessed.
      info: what is on record about a version; its figures count only if it is the same one.
    """
    sentences = [f'task {info.task}'] if info.task else []
    if threshold is not None:
        sentences.append(f'operating point: flagged at a probability of {threshold:.6g} or more')
    if info.version == version:
        figures = (('sensitivity', info.sensitivity), ('specificity', info.specificity))
        sentences += [_figure(name, figure) for name, figure in figures if figure.value is not None]
    return sentences


def _figure(name: str, figure: Estimate) -> str:
    interval = ''
    if figure.lower is not None and figure.upper is not None:
        interval = f' (95 % interval {figure.lower:.3f} to {figure.upper:.3f})'
    return f'{name} at the operating point, on the test split: {figure.value:.3f}{interval}'
