"""Pusher: puts a model that was blessed twice into the directory that TF Serving watches."""

from __future__ import annotations

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import component_spec, standard_artifacts, standard_component_specs

from components.pusher import executor

EVALUATION_KEY = 'evaluation'


class PusherSpec(component_spec.ComponentSpec):
    """The channels of TFX's Pusher under their names there, both blessings required, and the
    evaluation for the manifest.
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
    """Pushes only what Evaluator and ServingCheck have both blessed; in one atomic step, with a
    manifest.

    TFX's own Pusher cannot be used: it copies file by file into the place that TF Serving reads,
    accepts a missing blessing, and is found in the cache when a push is wanted again (`push_nonce`
    is what tells two such runs apart).
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
        """Makes the component.

        Args:
          model: the Trainer's Model.
          model_blessing: the Evaluator's ModelBlessing.
          infra_blessing: the ServingCheck's InfraBlessing, which holds the model with its warm-up
            file.
          push: `parameters.PushParameters` as JSON.
          code_digest: digest of the code that runs; a change of it runs the component again.
          evaluation: the Evaluator's ModelEvaluation; its metrics over all examples go into the
            manifest.
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
