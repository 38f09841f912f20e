"""The 15 labels of NIH ChestX-ray14 and the tasks that are learned from them. No TensorFlow here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

NO_FINDING = 'No Finding'

# In the order of the Kaggle TFRecords and of `preprocessed_data.csv`.
FINDINGS: tuple[str, ...] = (
    'Atelectasis',
    'Consolidation',
    'Infiltration',
    'Pneumothorax',
    'Edema',
    'Emphysema',
    'Fibrosis',
    'Effusion',
    'Pneumonia',
    'Pleural_Thickening',
    'Cardiomegaly',
    'Nodule',
    'Mass',
    'Hernia',
)
LABELS: tuple[str, ...] = (NO_FINDING, *FINDINGS)


@dataclass(frozen=True)
class Task:
    """What a model predicts.

    Attributes:
      name: the name used in configurations.
      label: the feature that XrayExampleGen adds to each example, int64 0/1.
      positive: what label 1 means, for people.
      negative: what label 0 means, for people.
      derive: the 15 raw labels (name -> 0/1) to the value of `label`.
    """

    name: str
    label: str
    positive: str
    negative: str
    derive: Callable[[Mapping[str, int]], int]


def _abnormal(labels: Mapping[str, int]) -> int:
    return 1 - labels[NO_FINDING]


TASKS: dict[str, Task] = {
    'nih_triage': Task('nih_triage', 'abnormal', 'abnormal', 'normal', _abnormal),
}
