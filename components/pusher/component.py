"""Pusher: copies a model with both blessings into the directory that TF Serving watches."""

from __future__ import annotations

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import component_spec, standard_artifacts, standard_component_specs

from components.pusher import executor

EVALUATION_KEY = 'evaluation'


class PusherSpec(component_spec.ComponentSpec):
    """Inputs, output and parameters of Pusher.

    The channels have the names of TFX's Pusher, but both blessings are required. The evaluation is
    for the manifest.
    """

    PARAMETERS = {
        'push': component_spec.ExecutionParameter(type=str),
        'code_digest': component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {
        standard_component_specs.MODEL_KEY: component_spec.ChannelParameter(
            type=standard_artifacts.Model
        ),
        standard_component_specs.MODEL_BLESSING_KEY: component_spec.ChannelParameter(
            type=standard_artifacts.ModelBlessing
        ),
        standard_component_specs.INFRA_BLESSING_KEY: component_spec.ChannelParameter(
            type=standard_artifacts.InfraBlessing
        ),
        EVALUATION_KEY: component_spec.ChannelParameter(
            type=standard_artifacts.ModelEvaluation, optional=True
        ),
    }
    OUTPUTS = {
        standard_component_specs.PUSHED_MODEL_KEY: component_spec.ChannelParameter(
            type=standard_artifacts.PushedModel
        ),
    }


class Pusher(base_component.BaseComponent):
    """Pushes a model that both Evaluator and ServingCheck have blessed, with a manifest.

    TFX's own Pusher does not fit. It copies file by file into the folder that TF Serving reads, it
    accepts a missing blessing, and the cache skips it when the same model has to be pushed again.
    Here, `push_nonce` makes such a run different.

    Example:
      from components.pusher.parameters import PushParameters
      from pipeline.code_digest import digest

      push = PushParameters(
          target='/models/cxr_triage',
          candidate_key='4f1c2a',
          push_nonce='first-push',
          pipeline_name='nih_triage',
      )
      pusher = Pusher(
          model=trainer.outputs['model'],
          model_blessing=evaluator.outputs['blessing'],
          infra_blessing=serving_check.outputs['blessing'],
          evaluation=evaluator.outputs['evaluation'],
          push=push.model_dump_json(),
          code_digest=digest('components.pusher.executor'),
      )
    """

    SPEC_CLASS = PusherSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(
        self,
        *,
        model: types.BaseChannel,
        model_blessing: types.BaseChannel,
        infra_blessing: types.BaseChannel,
        push: str,
        code_digest: str,
        evaluation: types.BaseChannel | None = None,
    ) -> None:
        """Creates the component.

        Args:
          model: the Trainer's Model.
          model_blessing: the Evaluator's ModelBlessing.
          infra_blessing: the ServingCheck's InfraBlessing, which has the model with its warm-up
            file.
          push: `parameters.PushParameters` as JSON.
          code_digest: digest of the executor's code; when it changes, the component runs again.
          evaluation: the Evaluator's ModelEvaluation; the manifest gets its metrics over all
            images.
        """
        super().__init__(
            spec=PusherSpec(
                model=model,
                model_blessing=model_blessing,
                infra_blessing=infra_blessing,
                evaluation=evaluation,
                push=push,
                code_digest=code_digest,
                pushed_model=types.Channel(type=standard_artifacts.PushedModel),
            )
        )
