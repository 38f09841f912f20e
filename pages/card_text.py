"""The words of a model card that no run can measure: what a task is for, and what is known of the
data that a run was made on.

What is said of a data set goes by the origin that ingestion found (`records.origin`), never by the
task.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from records.origin import CHILDREN, NIH, OTHER, SYNTHETIC

RESEARCH_ONLY = 'Research use only, not for clinical use.'
LICENCE_CODE = 'Apache-2.0 (this pipeline and what it exports)'
SPLIT_RULE = (
    'All films of a patient are in one split. val ends the training, calibration sets temperature '
    'and operating point, test is seen by '
    'the gate alone.'
)
LICENCE_WEIGHTS = (
    'The network started from pretrained weights{file}: their licence applies. Those of Keras '
    'Applications were trained on ImageNet.'
)
NO_WEIGHTS = 'no pretrained weights: the network was trained from scratch'
NO_ORIGIN = (
    'Not on record: the data were read by an earlier version of the pipeline, which did not look '
    'at where they come from.'
)


@dataclasses.dataclass(frozen=True)
class TaskText:
    """What is said of a task, whatever the data: its purpose, its label, and its limits."""

    primary: str
    labels: str
    limits: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class DataText:
    """What is said of images of one origin."""

    population: str
    label_noise: str
    licence: str
    limits: tuple[str, ...] = ()


_DATA = {
    NIH: DataText(
        'NIH ChestX-ray14: frontal chest X-rays (PA and AP) of one hospital in the United States, '
        'children and adults, 1992 to 2015, as '
        '8-bit images; these films are of its 112,120 films of 30,805 patients.',
        'NIH ChestX-ray14: labels were not read from films but mined from radiology reports by a '
        'program. Its authors expect more than '
        '90 % of them to be right; radiologists who read samples again found less for many '
        'findings (Oakden-Rayner, Academic Radiology '
        '2020). "No Finding" means that the report names none of 14 findings, not that the film '
        'is normal. Metrics are measured against '
        'such labels: part of what counts as a mistake here is a mistake of the label.',
        'NIH ChestX-ray14: NIH Clinical Center, no use restriction; cite Wang et al., '
        'ChestX-ray8, CVPR 2017, and link the NIH download '
        'site',
        (
            'NIH ChestX-ray14: portable (AP) films come from sicker patients. Read the figures '
            'within PA and within AP, not the pooled one '
            'alone.',
            'NIH ChestX-ray14: drains and other treatment are on many positive films; the model '
            'may see these and not the disease.',
        ),
    ),
    CHILDREN: DataText(
        'The set of Kermany et al. (Cell 2018): AP chest X-rays of children of one to five years '
        'of one hospital in China.',
        'The set of Kermany et al.: films were graded by two physicians, the evaluation set by a '
        'third. Normal and pneumonia films '
        'differ in ways that have nothing to do with the lung (size, exposure), which a model can '
        'learn. Metrics are measured against '
        'such labels.',
        'Kermany et al., Mendeley Data: CC BY 4.0; cite Kermany et al., Cell 2018',
        (
            'The set of Kermany et al. holds no adults and no older children, and no other '
            'diseases of the chest.',
        ),
    ),
    SYNTHETIC: DataText(
        'Films drawn by `cxr-triage synth`: no patients. Figures on them say nothing about real '
        'films.',
        'Drawn films: {mislabelled}.',
        'Films drawn by `cxr-triage synth`: made by this program, no data of other people',
        ('The films were drawn by a program: the model knows nothing of real ones.',),
    ),
    OTHER: DataText(
        'Films of another source, which is not on record: who the patients are, where and when '
        'the films were taken. What is known is '
        'counted under "Data and labels".',
        'Films of another source: how their labels were made and how many are wrong is not on '
        'record. Metrics are measured against these '
        'labels: part of what counts as a mistake may be a mistake of the label.',
        'Films of another source: their terms of use are not on record; ask whoever the data came '
        'from',
        (
            'It is not on record whom the films are of: find out before the model is used on any '
            'others.',
        ),
    ),
}
_FRONTAL_LIMITS = (
    'Lateral films, other body parts, photographs of films and MONOCHROME1 images that were not '
    'inverted are not recognised as such; the '
    'model answers to them as to a film.',
    'One image is judged alone: no earlier film, no clinical history.',
    'Nothing was measured on films of another hospital or another make of detector than those of '
    'the test split.',
)
_ONLY_THE_14 = (
    'Findings beside the 14 of the labels are neither learned nor measured: fractures, lines and '
    'tubes, tuberculosis among them.'
)
_TRIAGE = (
    'To study the ordering of a reading list: films with a probability at or above the operating '
    'point are flagged to be read earlier. '
    'It never drops, hides or postpones a film.'
)
_TASKS = {
    'nih_triage': TaskText(
        _TRIAGE,
        'abnormal: any of the 14 findings, i.e. "No Finding" is not set.',
        (_ONLY_THE_14, *_FRONTAL_LIMITS),
    ),
    'findings14': TaskText(
        _TRIAGE + ' Beside it a probability for each of 14 findings, to be studied by itself.',
        'abnormal: any of the 14 findings; and each of these as in the data.',
        (
            _ONLY_THE_14,
            *_FRONTAL_LIMITS,
            'A finding that the calibration split holds in one class only keeps the uncalibrated '
            'probability.',
        ),
    ),
    'cardiomegaly': TaskText(
        'To study the detection of cardiomegaly on single frontal films. ' + _TRIAGE,
        'Cardiomegaly as in the data.',
        (
            'An AP film enlarges the heart, which reports take into account and a film alone does '
            'not show.',
            'Other findings are not learned: a film that is not flagged may show any of them.',
            *_FRONTAL_LIMITS,
        ),
    ),
    'pneumonia_pediatric': TaskText(
        'To study the detection of pneumonia on single frontal films. ' + _TRIAGE,
        'Pneumonia as in the data.',
        (
            'Other findings are not learned: a film that is not flagged may show any of them.',
            *_FRONTAL_LIMITS,
        ),
    ),
}
OUT_OF_SCOPE = (
    'Any decision about a patient: it is no medical device, and nobody has approved it as one.',
    'Reading films without a person: a film that is not flagged is not thereby normal.',
    'Lateral films, CT, other body parts, films of species or ages that the data do not hold.',
    'Legal, insurance or employment questions, or telling who a person is.',
)


def of_task(name: str) -> TaskText | None:
    """What is said of a task; None for one that nobody has described."""
    return _TASKS.get(name)


def of_data(origins: Mapping[str, int], mislabelled: int) -> DataText:
    """What is said of the images of a run, part by part where they are of several origins.

    Args:
      origins: images by origin, see `records.origin.summarise`; empty when ingestion did not look
        at it.
      mislabelled: of the synthetic images, how many have a label that is wrong on purpose.
    """
    parts = [(_DATA[name], count) for name, count in origins.items()]
    if not parts:
        return DataText(NO_ORIGIN, NO_ORIGIN, NO_ORIGIN)

    def joined(texts: list[str]) -> str:
        counted = [
            f'{count:,} images: {text}' for text, (_, count) in zip(texts, parts, strict=True)
        ]
        return ' '.join(counted) if len(parts) > 1 else texts[0]

    wrong = (
        f'{mislabelled:,} of {origins.get(SYNTHETIC, 0):,} labels are wrong on purpose, the '
        'others say what was drawn'
    )
    return DataText(
        joined([text.population for text, _ in parts]),
        joined([text.label_noise.replace('{mislabelled}', wrong) for text, _ in parts]),
        '; '.join(text.licence for text, _ in parts),
        tuple(limit for text, _ in parts for limit in text.limits),
    )
