"""The fixed texts of a model card, about tasks and about origins of data.

The texts about data depend on the origin that ingestion recorded (`records.origin`), never on the
task.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from records.origin import CHILDREN, NIH, OTHER, SYNTHETIC

RESEARCH_ONLY = 'Research use only, not for clinical use.'
LICENCE_CODE = 'The code of this pipeline: Apache-2.0'
LICENCE_MODEL = 'The model: {terms}'
# What a person has to state; {key} is a key of the configuration.
NOT_STATED = 'not stated (configuration key card.{key})'
_STATED = 'As stated by the owner: {text}'
SPLIT_RULE = (
    'All images of a patient are in the same split. Training stops on val, calibration sets the '
    'temperature and the operating point, and only the quality gate uses test.'
)
LICENCE_WEIGHTS = (
    'Training started from pretrained weights{file}; their licence applies. The weights of Keras '
    'Applications were trained on ImageNet.'
)
NO_WEIGHTS = 'No pretrained weights: the backbone was trained from scratch.'
NO_ORIGIN = (
    'Not recorded: an earlier version of the pipeline read the data and did not record their '
    'origin.'
)


@dataclasses.dataclass(frozen=True)
class TaskText:
    """The texts about a task, for any data: purpose, labels and limitations."""

    primary: str
    labels: str
    limits: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class DataText:
    """The texts about images of one origin."""

    population: str
    label_noise: str
    licence: str
    limits: tuple[str, ...] = ()


_DATA = {
    NIH: DataText(
        'NIH ChestX-ray14: frontal chest X-rays (PA and AP) from one hospital in the United '
        'States, of children and adults, 1992 to 2015, as 8-bit images. The images of this run are '
        'among its 112,120 images of 30,805 patients.',
        'NIH ChestX-ray14: a program derived the labels; they were mined from radiology reports, '
        'not from the images. The authors expect more than 90 % of the labels to be correct; '
        'radiologists who read samples again found lower rates for many findings (Oakden-Rayner, '
        'Academic Radiology 2020). "No Finding" means that the report names none of 14 findings, '
        'not that the image is normal. Metrics are measured against these labels, so some of the '
        'apparent errors are errors of the labels.',
        'NIH ChestX-ray14: NIH Clinical Center, no restrictions on use; cite Wang et al., '
        'ChestX-ray8, CVPR 2017, and link to the NIH download site',
        (
            'NIH ChestX-ray14: portable (AP) images come from sicker patients. Read the metrics '
            'within PA and within AP, not only the pooled ones.',
            'NIH ChestX-ray14: many positive images show drains and other signs of treatment; the '
            'model may detect these instead of the disease.',
        ),
    ),
    CHILDREN: DataText(
        'The data set of Kermany et al. (Cell 2018): AP chest X-rays of children aged one to five '
        'years from one hospital in China.',
        'The data set of Kermany et al.: two physicians graded the images, and a third graded the '
        'evaluation set too. Normal and pneumonia images differ in ways that have nothing to do '
        'with the lungs (size, exposure), which a model can learn. Metrics are measured against '
        'these labels.',
        'Kermany et al., Mendeley Data: CC BY 4.0; cite Kermany et al., Cell 2018',
        (
            'The data set of Kermany et al. has no adults, no older children and no other diseases '
            'of the chest.',
        ),
    ),
    SYNTHETIC: DataText(
        'Images drawn by "cxr-triage synth": there are no patients. Metrics on these images say '
        'nothing about real chest X-rays.',
        'Drawn images: {mislabelled}.',
        'Images drawn by "cxr-triage synth": made by this program, without data of other people',
        ('A program drew the images: the model has not seen any real chest X-ray.',),
    ),
    OTHER: DataText(
        'Images of another source. There is no record of who the patients are, or of where and '
        'when the images were taken. "Data and labels" has the known counts.',
        'Images of another source: there is no record of how their labels were made and how many '
        'are wrong. Metrics are measured against these labels, so some of the apparent errors may '
        'be errors of the labels.',
        'Images of another source: there is no record of their terms of use; ask the provider of '
        'the data',
        (
            'There is no record of whom the images show: find out before you use the model on '
            'other images.',
        ),
    ),
}
_SOURCES = {
    NIH: 'of NIH ChestX-ray14',
    CHILDREN: 'of the data set of Kermany et al.',
    SYNTHETIC: 'drawn by "cxr-triage synth": synthetic, not of patients',
    OTHER: 'of another source',
}
_FRONTAL_LIMITS = (
    'The model does not recognise lateral images, other body parts, photographs of X-rays, and '
    'MONOCHROME1 images that were not inverted; it scores them like any other image.',
    'The model sees a single image, without earlier images or clinical history.',
    'The model was not tested on images from other hospitals or other makes of detector than those '
    'in the test split.',
)
_ONLY_THE_14 = (
    'The model was neither trained nor tested on findings other than the 14 of the labels, such as '
    'fractures, lines and tubes, and tuberculosis.'
)
_OTHER_FINDINGS = (
    'The model was not trained on other findings: an image that it does not flag may show any of '
    'them.'
)
_TRIAGE = (
    'To study the order of a reading list: the model flags images with a probability at or above '
    'the operating point, to be read earlier. It never drops, hides or postpones an image.'
)
_TASKS = {
    'nih_triage': TaskText(
        _TRIAGE,
        'abnormal: the record names any of the 14 findings or Other; "No Finding" is not set.',
        (_ONLY_THE_14, *_FRONTAL_LIMITS),
    ),
    'findings14': TaskText(
        _TRIAGE + ' It also returns a probability for each of 14 findings, to be studied '
        'separately.',
        'abnormal: any of the 14 findings or Other; and each of the 14 findings as in the data.',
        (
            _ONLY_THE_14,
            *_FRONTAL_LIMITS,
            'The probability of a finding is not calibrated if the calibration split has only one '
            'class of it.',
        ),
    ),
    'cardiomegaly': TaskText(
        'To study the detection of cardiomegaly on single frontal images. ' + _TRIAGE,
        'Cardiomegaly as in the data.',
        (
            'The heart looks larger on an AP image. Reports take this into account; an image alone '
            'does not show it.',
            _OTHER_FINDINGS,
            *_FRONTAL_LIMITS,
        ),
    ),
    'pneumonia_pediatric': TaskText(
        'To study the detection of pneumonia on single frontal images. ' + _TRIAGE,
        'Pneumonia as in the data.',
        (_OTHER_FINDINGS, *_FRONTAL_LIMITS),
    ),
}
OUT_OF_SCOPE = (
    'Decisions about a patient: this pipeline makes models for research, not medical devices.',
    'Reading images without a person: an image that is not flagged is not necessarily normal.',
    'Lateral images, CT, other body parts, and species or ages that the data do not include.',
    'Legal, insurance or employment questions, or identifying a person.',
)


def task_text(name: str) -> TaskText | None:
    """The texts about a task; None for an unknown task."""
    return _TASKS.get(name)


def source_text(origins: Mapping[str, int]) -> str:
    """Which data sets the images come from, with counts; see `data_text`."""
    parts = (f'{count:,} images {_SOURCES[name]}' for name, count in origins.items())
    return '; '.join(parts) or NO_ORIGIN


def data_text(
    origins: Mapping[str, int],
    mislabelled: int,
    population: str | None = None,
    licence: str | None = None,
) -> DataText:
    """The texts about the images of a run, one after the other for several origins.

    Args:
      origins: origin -> number of images, from `records.origin.summarise`; empty if ingestion did
        not record it.
      mislabelled: number of synthetic images whose label is deliberately wrong.
      population: the owner's statement about the patients; it replaces "no record".
      licence: the owner's statement about the terms of use; it replaces "no record".
    """
    text = _origin_text(origins, mislabelled)
    known = {name: count for name, count in origins.items() if name != OTHER}
    # What is known about a public data set stays beside the owner's statement.
    rest = _origin_text(known, mislabelled) if known else None
    if population:
        text = dataclasses.replace(
            text,
            population=_stated(population, rest.population if rest else ''),
            limits=rest.limits if rest else (),
        )
    if licence:
        text = dataclasses.replace(text, licence=_stated(licence, rest.licence if rest else ''))
    return text


def _stated(statement: str, known: str) -> str:
    stated = _STATED.format(text=statement)
    return f'{stated}; {known}' if known else stated


def _origin_text(origins: Mapping[str, int], mislabelled: int) -> DataText:
    parts = [(_DATA[name], count) for name, count in origins.items()]
    if not parts:
        return DataText(NO_ORIGIN, NO_ORIGIN, NO_ORIGIN)

    def joined(texts: list[str]) -> str:
        counted = [
            f'{count:,} images: {text}' for text, (_, count) in zip(texts, parts, strict=True)
        ]
        return ' '.join(counted) if len(parts) > 1 else texts[0]

    wrong = (
        f'{mislabelled:,} of {origins.get(SYNTHETIC, 0):,} labels are deliberately wrong; the '
        'others match the drawing'
    )
    return DataText(
        joined([text.population for text, _ in parts]),
        joined([text.label_noise.replace('{mislabelled}', wrong) for text, _ in parts]),
        '; '.join(text.licence for text, _ in parts),
        tuple(limit for text, _ in parts for limit in text.limits),
    )
