"""TFX's Evaluator, with a baseline that may be empty."""

from __future__ import annotations

from typing import Any

from tfx.components.evaluator import component as tfx_component
from tfx.dsl.components.base import executor_spec

from components.evaluator import executor


class Evaluator(tfx_component.Evaluator):
    """Same interface as `tfx.components.Evaluator`; a `baseline_model` artifact without a model
    counts as no baseline.

    Args:
      code_digest: of what evaluates; another one is another evaluation, and no earlier one is taken
        from the cache.
      given: see `tfx.components.Evaluator`.
    """

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(executor.Executor)

    def __init__(self, code_digest: str, **given: Any) -> None:
        super().__init__(**given)
        self.spec.exec_properties['code_digest'] = code_digest
