"""The tasks that a model can be trained for. A new task does not re-run ingestion."""

from __future__ import annotations

from dataclasses import dataclass

from schemas.labels import ABNORMAL, FINDINGS


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
