"""An evaluation with the thresholds and the level of the intervals that its run recorded."""

from __future__ import annotations

import dataclasses
import os

from components.evaluator import results
from components.evaluator.results import EvaluationError
from pipeline import evaluation as evaluation_config
from pipeline.evaluation_parameters import Threshold


@dataclasses.dataclass(frozen=True)
class Evaluation(results.Evaluation):
    """See `results.Evaluation`.

    Attributes:
      thresholds: of the quality gate.
      level: of the intervals, e.g. 0.95.
    """

    thresholds: tuple[Threshold, ...]
    level: float


def read(folder: str, eval_config: str) -> Evaluation:
    """Reads an `evaluation` artifact.

    Args:
      folder: of the artifact.
      eval_config: TFMA's EvalConfig as JSON, the parameter of the Evaluator.

    Raises:
      EvaluationError: the folder does not exist, or holds no metrics over all images.
    """
    if not os.path.isdir(folder):
        raise EvaluationError(
            f'{folder} no longer exists. It holds what the Evaluator measured: run the pipeline '
            'again to restore it'
        )
    evaluation = results.read(folder)
    return Evaluation(
        evaluation.folder,
        evaluation.slices,
        evaluation_config.thresholds(eval_config),
        evaluation_config.interval_level(eval_config),
    )
