"""The result of the comparison of labels from reports with labels from experts, and its file.

`expert_labels` computes it. The pages and the gateway, which has neither TFMA nor Arrow, read it.
"""

from __future__ import annotations

from pydantic import BaseModel

import storage
from components.evaluator.figure import Figure

FILE = 'expert_labels.json'


class Row(BaseModel):
    """A metric of the candidate by each source of labels, on the same images.

    Attributes:
      metric: its name in the registry.
      images: that have a label of experts.
      report, expert: by the labels of the records, and by those of experts.
      difference: expert minus report, with a paired interval by patient.
    """

    metric: str
    images: int
    report: Figure
    expert: Figure
    difference: Figure


class Agreement(BaseModel):
    """How often the two sources agree about a label, in images of the test split.

    Attributes:
      label: a finding, or the label of the task.
      patients: of these images.
      both, report_only, expert_only, neither: images that are positive by these sources.
      undecided: images that experts saw, but without a clear answer; they count nowhere else.
    """

    label: str
    patients: int
    both: int
    report_only: int
    expert_only: int
    neither: int
    undecided: int

    @property
    def images(self) -> int:
        """Images with a label from both sources."""
        return self.both + self.report_only + self.expert_only + self.neither

    @property
    def kappa(self) -> float | None:
        """Cohen's kappa: 0 is chance, 1 is perfect; None if one source has one value only."""
        if not self.images:
            return None
        report, expert = self.both + self.report_only, self.both + self.expert_only
        chance = report * expert + (self.images - report) * (self.images - expert)
        chance_share = chance / self.images**2
        if chance_share == 1:
            return None
        return ((self.both + self.neither) / self.images - chance_share) / (1 - chance_share)


class LabelSources(BaseModel):
    """The comparison of both sources.

    Attributes:
      table: path of the table of experts.
      rows, images: in the table.
      tested: how many of its images are in the test split.
      columns: label -> the columns that it comes from.
      label: of the task.
      metrics: by both sources; empty if no image of the test split has an expert's label.
      agreement: of each label that both sources have.
    """

    table: str
    rows: int
    images: int
    tested: int
    columns: dict[str, tuple[str, ...]]
    label: str
    metrics: list[Row]
    agreement: list[Agreement]


def read(folder: str) -> LabelSources | None:
    """The comparison in an `evaluation` artifact; None without one.

    Raises:
      ValueError: it is damaged.
    """
    path = storage.join(folder, FILE)
    if not storage.exists(path):
        return None
    return LabelSources.model_validate_json(storage.read_text(path))
