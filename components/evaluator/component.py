"""TFX's Evaluator, with a baseline that may be empty."""

from __future__ import annotations

from typing import Any

from tfx.components.evaluator import component as tfx_component
from tfx.dsl.components.base import executor_spec

from components.evaluator import executor


class Evaluator(tfx_component.Evaluator):
    """TFX's Evaluator; a `baseline_model` artifact without a model counts as no baseline.

    Args:
      code_digest: of the evaluating code; a change of it invalidates cached evaluations.
      settings: see `tfx.components.Evaluator`.

    >>> Evaluator(  # doctest: +SKIP
    ...     code_digest=digest('components.evaluator.executor'),
    ...     examples=ingestion.outputs['examples'],
    ...     model=trainer.outputs['model'],
    ...     eval_config=evaluation.eval_config(config.evaluation, task),
    ... )
    """

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(executor.Executor)

    def __init__(self, code_digest: str, **settings: Any) -> None:
        super().__init__(**settings)
        self.spec.exec_properties['code_digest'] = code_digest
