"""What a recalibrated version says about images that the trained version answered."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import special

from components.pusher import target as push_target
from pipeline.run_root import RunRoot
from schemas import image_status
from schemas.signatures import FLAG, PROBABILITY, STATUS
from trainer.calibration import Calibration
from trainer.tasks import TASKS

_SMALLEST = 1e-7


@dataclass(frozen=True)
class Origin:
    """Where the network of a version comes from.

    Attributes:
      version: the number of the trained version.
      before: its calibration.
      after: that of the recalibrated version.
      threshold: its operating point, a probability; None for a trained version.
    """

    version: str
    before: Calibration
    after: Calibration
    threshold: float | None

    def of(self, answers: pd.DataFrame) -> pd.DataFrame:
        """The answers of the version, from those of the trained one.

        Args:
          answers: with the columns PROBABILITY, FLAG and STATUS of the trained version.
        """
        if self.threshold is None:
            return answers
        probability = answers[PROBABILITY].to_numpy(np.float64).clip(_SMALLEST, 1 - _SMALLEST)
        logits = special.logit(probability) * self.before.temperature + self.before.offset
        new = self.after.apply(logits)
        is_ok = answers[STATUS] == image_status.OK
        return answers.assign(
            **{
                PROBABILITY: np.where(is_ok, new, answers[PROBABILITY]),
                FLAG: np.where(is_ok, new >= self.threshold, answers[FLAG]).astype(int),
            }
        )


def origin(root: Path, version: int) -> Origin:
    """The origin of a version; a version without a manifest counts as trained.

    Args:
      root: the run root.
      version: in its push directory.
    """
    same = Calibration(0.0, 1.0)
    found, first = Origin(str(version), same, same, None), True
    while True:
        try:
            manifest = push_target.read_manifest(str(RunRoot(root).serving / found.version))
        except push_target.TargetError:
            return found
        about = manifest.recalibration
        if about is None:
            return found
        label = TASKS[manifest.config['task']].label
        before, after = Calibration(**about.before[label]), Calibration(**about.after[label])
        threshold = about.threshold_after if first else found.threshold
        found = Origin(about.of_version, before, after if first else found.after, threshold)
        first = False
