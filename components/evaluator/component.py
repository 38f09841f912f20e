"""TFX's Evaluator, with a baseline that may be empty."""

from __future__ import annotations

from tfx.components.evaluator import component as tfx_component
from tfx.dsl.components.base import executor_spec

from components.evaluator import executor


class Evaluator(tfx_component.Evaluator):
    """Same interface as `tfx.components.Evaluator`; a `baseline_model` artifact without a model counts as no baseline."""

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(executor.Executor)
