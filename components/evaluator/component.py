"""TFX's Evaluator, with a baseline that may be empty."""

from __future__ import annotations

from typing import Any

from tfx.components.evaluator import component as tfx_component
from tfx.dsl.components.base import executor_spec

from components.evaluator import executor


class Evaluator(tfx_component.Evaluator):
    """TFX's Evaluator; a `baseline_model` artifact without a model counts as no baseline.

    Args:
      code_digest: digest of the executor's code; when it changes, the component runs again.
      expert_labels: `expert_labels.ExpertComparison` as JSON; '' without a table of experts.
      settings: see `tfx.components.Evaluator`.

    Example:
      from pipeline.code_digest import digest
      from pipeline.evaluation import eval_config
      from pipeline.evaluation_parameters import EvaluationParameters
      from trainer.tasks import TASKS

      evaluator = Evaluator(
          examples=ingestion.outputs['examples'],
          example_splits=['test'],
          model=trainer.outputs['model'],
          baseline_model=baseline.outputs['model'],
          eval_config=eval_config(EvaluationParameters(), TASKS['nih_triage']),
          schema=schema.outputs['schema'],
          code_digest=digest(
              'components.evaluator.executor', 'components.evaluator.patient_metrics'
          ),
      )
    """

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(executor.Executor)

    def __init__(self, code_digest: str, expert_labels: str = '', **settings: Any) -> None:
        super().__init__(**settings)
        self.spec.exec_properties['code_digest'] = code_digest
        self.spec.exec_properties['expert_labels'] = expert_labels
