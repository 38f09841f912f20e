"""Reads an evaluation together with the thresholds and interval level that its run recorded."""

from __future__ import annotations

import dataclasses
import os

from components.evaluator import results
from components.evaluator.results import EvaluationError
from pipeline import evaluation as evaluation_config
from pipeline.evaluation_parameters import Threshold


@dataclasses.dataclass(frozen=True)
class Evaluation(results.Evaluation):
    """An evaluation with the settings of its run, see `results.Evaluation`.

    Attributes:
      thresholds: the thresholds of the quality gate.
      level: the level of the intervals, e.g. 0.95.
    """

    thresholds: tuple[Threshold, ...]
    level: float


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
