"""ServingCheck: what TFX's InfraValidator does, without a container and with more to it: is the
model served as it was trained?
"""

from __future__ import annotations

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import component_spec, standard_artifacts, standard_component_specs

from components.serving_check import executor


class ServingCheckSpec(component_spec.ComponentSpec):
    """The channels of TFX's InfraValidator, and the Trainer's answers."""

    PARAMETERS = {
        'parameters': component_spec.ExecutionParameter(type=str),
        'code_digest': component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {
        standard_component_specs.MODEL_KEY: component_spec.ChannelParameter(
            type=standard_artifacts.Model
        ),
        standard_component_specs.MODEL_RUN_KEY: component_spec.ChannelParameter(
            type=standard_artifacts.ModelRun
        ),
        standard_component_specs.EXAMPLES_KEY: component_spec.ChannelParameter(
            type=standard_artifacts.Examples
        ),
    }
    OUTPUTS = {
        standard_component_specs.BLESSING_KEY: component_spec.ChannelParameter(
            type=standard_artifacts.InfraBlessing
        ),
    }


class ServingCheck(base_component.BaseComponent):
    """Loads the model as TF Serving does, in a process of its own, asks what clients will ask, and
    compares with the trainer.
    """

    SPEC_CLASS = ServingCheckSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(
        self,
        model: types.BaseChannel,
        model_run: types.BaseChannel,
        examples: types.BaseChannel,
        parameters: str,
        code_digest: str,
    ) -> None:
        """Makes the component.

        Args:
          model: the Trainer's Model, a SavedModel with the signatures of
            `schemas.signatures.SIGNATURES`.
          model_run: the Trainer's ModelRun, with its answers on the splits it did not learn from.
          examples: the raw Examples that those answers are of.
          parameters: `parameters.ServingCheckParameters` as JSON.
          code_digest: digest of the code that runs; a change of it runs the component again.
        """
        blessing = types.Channel(type=standard_artifacts.InfraBlessing)
        super().__init__(
            spec=ServingCheckSpec(
                model=model,
                model_run=model_run,
                examples=examples,
                parameters=parameters,
                code_digest=code_digest,
                blessing=blessing,
            )
        )
