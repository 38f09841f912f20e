"""The words of a model card that no run can measure: what a task is for, where its labels come from, what is known to be wrong."""

from __future__ import annotations

import dataclasses

RESEARCH_ONLY = 'Research use only, not for clinical use.'
LICENCE_CODE = 'Apache-2.0 (this pipeline and what it exports)'
LICENCE_NIH = (
    'NIH ChestX-ray14: NIH Clinical Center, no use restriction; cite Wang et al., ChestX-ray8, CVPR 2017, and link the NIH download site'
)
SPLIT_RULE = (
    'All films of a patient are in one split. val ends the training, calibration sets temperature and operating point, test is seen by '
    'the gate alone.'
)
LICENCE_WEIGHTS = 'ImageNet weights: those of Keras Applications; MobileNetV2: Google, Apache-2.0'
NO_WEIGHTS = 'no pretrained weights: the network was trained from scratch'


@dataclasses.dataclass(frozen=True)
class TaskText:
    """What is said of a task."""

    primary: str
    population: str
    labels: str
    label_noise: str
    data_licence: str
    limits: tuple[str, ...]


_NIH_POPULATION = (
    'Frontal chest X-rays (PA and AP) of the kind in NIH ChestX-ray14: 112,120 films of 30,805 patients of one hospital in the United '
    'States, children and adults, 1992 to 2015, as 8-bit images.'
)
_NIH_NOISE = (
    'In NIH ChestX-ray14 labels were not read from films but mined from radiology reports by a program. Its authors expect more than 90 % '
    'of them to be right; radiologists who read samples again found less for many findings (Oakden-Rayner, Academic Radiology 2020). "No '
    'Finding" means that the report names none of 14 findings, not that the film is normal. Metrics are measured against such labels: part '
    'of what counts as a mistake here is a mistake of the label.'
)
_NIH_LIMITS = (
    'Findings beside the 14 of NIH ChestX-ray14 are neither learned nor measured: fractures, lines and tubes, tuberculosis among them.',
    'Portable (AP) films come from sicker patients: read the figures within PA and within AP, not the pooled one alone.',
    'Drains and other treatment are on many positive films; the model may see these and not the disease.',
)
_FRONTAL_LIMITS = (
    'Lateral films, other body parts, photographs of films and MONOCHROME1 images that were not inverted are not recognised as such; the '
    'model answers to them as to a film.',
    'One image is judged alone: no earlier film, no clinical history.',
    'Nothing was measured on films of another hospital or another make of detector than those of the test split.',
)
_TRIAGE = (
    'To study the ordering of a reading list: films with a probability at or above the operating point are flagged to be read earlier. '
    'It never drops, hides or postpones a film.'
)
_TASKS = {
    'nih_triage': TaskText(
        _TRIAGE,
        _NIH_POPULATION,
        'abnormal: any of the 14 findings, i.e. "No Finding" is not set.',
        _NIH_NOISE,
        LICENCE_NIH,
        (*_NIH_LIMITS, *_FRONTAL_LIMITS),
    ),
    'findings14': TaskText(
        _TRIAGE + ' Beside it a probability for each of 14 findings, to be studied by itself.',
        _NIH_POPULATION,
        'abnormal: any of the 14 findings; and each of these as in the data.',
        _NIH_NOISE,
        LICENCE_NIH,
        (
            *_NIH_LIMITS,
            *_FRONTAL_LIMITS,
            'A finding that the calibration split holds in one class only keeps the uncalibrated probability.',
        ),
    ),
    'cardiomegaly': TaskText(
        'To study the detection of cardiomegaly on single frontal films. ' + _TRIAGE,
        _NIH_POPULATION,
        'Cardiomegaly as in the data.',
        _NIH_NOISE + ' An AP film enlarges the heart, which reports take into account and a film alone does not show.',
        LICENCE_NIH,
        (*_NIH_LIMITS, *_FRONTAL_LIMITS),
    ),
    'pneumonia_pediatric': TaskText(
        'To study the detection of pneumonia on single frontal films of young children. ' + _TRIAGE,
        'Frontal chest X-rays of children as in the set of Kermany et al. (Cell 2018): AP films of patients of one to five years of one '
        'hospital in China.',
        'Pneumonia: films of the folder of that name against those of the folder of normal ones.',
        'In the set of Kermany et al. films were graded by two physicians, the evaluation set by a third. Normal and pneumonia films '
        'differ in ways that have nothing to do with the lung (size, exposure), which a model can learn. Metrics are measured against '
        'such labels.',
        'Kermany et al., Mendeley Data: CC BY 4.0; cite Kermany et al., Cell 2018',
        ('Adults and older children were not in the data.', 'Other diseases of the chest were not in the data.', *_FRONTAL_LIMITS),
    ),
}
OUT_OF_SCOPE = (
    'Any decision about a patient: it is no medical device, and nobody has approved it as one.',
    'Reading films without a person: a film that is not flagged is not thereby normal.',
    'Lateral films, CT, other body parts, films of species or ages that the data do not hold.',
    'Legal, insurance or employment questions, or telling who a person is.',
)
SYNTHETIC = 'Films drawn by `cxr-triage synth` have exact labels, and figures on them say nothing about real films.'


def of_task(name: str) -> TaskText | None:
    """What is said of a task; None for one that nobody has described."""
    return _TASKS.get(name)
