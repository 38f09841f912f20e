"""The 15 labels of NIH ChestX-ray14 and the tasks that are learned from them. No TensorFlow
here.
"""

from __future__ import annotations

from collections.abc import Mapping
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


# Derived from the others at ingestion, for every task.
ABNORMAL = 'abnormal'


@dataclass(frozen=True)
class Task:
    """What a model predicts.

    Attributes:
      name: the name used in configurations.
      label: the feature, int64 0/1, that `probability` and `flag` answer to, and that the gate is
        about.
      positive: what label 1 means, for people.
      negative: what label 0 means, for people.
      findings: labels that the model answers to beside it, each with an output of its name.
    """

    name: str
    label: str
    positive: str
    negative: str
    findings: tuple[str, ...] = ()

    @property
    def outputs(self) -> tuple[str, ...]:
        """All labels that the exported model answers to, `label` first."""
        return (self.label, *self.findings)


TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task('nih_triage', ABNORMAL, 'abnormal', 'normal'),
        Task('findings14', ABNORMAL, 'abnormal', 'normal', FINDINGS),
        Task('cardiomegaly', 'Cardiomegaly', 'cardiomegaly', 'no cardiomegaly'),
        Task('pneumonia_pediatric', 'Pneumonia', 'pneumonia', 'no pneumonia'),
    )
}


def derived(labels: Mapping[str, int]) -> dict[str, int]:
    """The labels that ingestion adds to the 15 raw ones (name -> 0/1)."""
    return {ABNORMAL: 1 - labels[NO_FINDING]}
