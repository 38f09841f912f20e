"""The tasks that a model can learn. A change of the task does not re-run ingestion."""

from __future__ import annotations

from dataclasses import dataclass

from schemas.labels import ABNORMAL, FINDINGS


@dataclass(frozen=True)
class Task:
    """What a model predicts.

    Attributes:
      name: the name in configurations.
      label: the feature, int64 0/1, that `probability` and `flag` predict and that the quality gate
        judges.
      positive: what label 1 means, in words for people.
      negative: what label 0 means, in words for people.
      findings: further labels that the model predicts, each with an output of the same name.
    """

    name: str
    label: str
    positive: str
    negative: str
    findings: tuple[str, ...] = ()

    @property
    def outputs(self) -> tuple[str, ...]:
        """All labels that the exported model predicts, `label` first."""
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
