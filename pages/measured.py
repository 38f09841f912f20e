"""Reads an evaluation together with the thresholds and interval level that its run recorded."""

from __future__ import annotations

import dataclasses
import functools
import os
from typing import TYPE_CHECKING

from components.evaluator import expert_results, gallery, predictions, results
from components.evaluator.results import EvaluationError
from pipeline import evaluation as evaluation_config
from pipeline.evaluation_parameters import Threshold

if TYPE_CHECKING:
    import pandas as pd


@dataclasses.dataclass(frozen=True)
class Evaluation(results.Evaluation):
    """An evaluation with the settings of its run, see `results.Evaluation`.

    Attributes:
      thresholds: the thresholds of the quality gate.
      level: the level of the intervals, e.g. 0.95.
    """

    thresholds: tuple[Threshold, ...]
    level: float

    # Several pages show these; each is read once, and None where an earlier version of the pipeline
    # did not write it.

    @functools.cached_property
    def predictions(self) -> pd.DataFrame | None:
        """The predictions for each test image, see `predictions.read`."""
        return predictions.read(self.folder) if predictions.paths(self.folder) else None

    @functools.cached_property
    def gallery(self) -> pd.DataFrame | None:
        """The images of the gallery, see `gallery.read`."""
        return gallery.read(self.folder)

    @functools.cached_property
    def label_sources(self) -> expert_results.LabelSources | None:
        """The comparison with labels of experts; None also for a run without such labels."""
        return expert_results.read(self.folder)


def read(folder: str, eval_config: str) -> Evaluation:
    """Reads an `evaluation` artifact.

    Args:
      folder: the folder of the artifact.
      eval_config: TFMA's EvalConfig as JSON, a parameter of the Evaluator.

    Raises:
      EvaluationError: the folder does not exist or has no metrics over all images.
    """
    if not os.path.isdir(folder):
        raise EvaluationError(
            f'{folder} no longer exists. It had the results of the Evaluator: run the pipeline '
            'again to restore them'
        )
    evaluation = results.read(folder)
    return Evaluation(
        evaluation.folder,
        evaluation.slices,
        evaluation_config.thresholds(eval_config),
        evaluation_config.interval_level(eval_config),
    )
