"""ServingCheck: checks that the exported model answers as it was trained to.

It replaces TFX's InfraValidator, needs no container, and checks more.
"""

from __future__ import annotations

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import component_spec, standard_artifacts, standard_component_specs

from components.serving_check import executor


class ServingCheckSpec(component_spec.ComponentSpec):
    """Inputs, output and parameters of ServingCheck.

    The channels have the names of TFX's InfraValidator; `model_run` has the Trainer's answers.
    """

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
    """Loads the model as TF Serving does, in another process, and compares its answers.

    It sends the requests that clients will send, and compares the answers with the trainer's.

    Example:
      from components.serving_check.parameters import ServingCheckParameters
      from pipeline.code_digest import digest

      serving_check = ServingCheck(
          model=trainer.outputs['model'],
          model_run=trainer.outputs['model_run'],
          examples=ingestion.outputs['examples'],
          parameters=ServingCheckParameters(samples=32).model_dump_json(),
          code_digest=digest('components.serving_check.executor'),
      )
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
        """Creates the component.

        Args:
          model: the Trainer's Model, a SavedModel with the signatures of
            `schemas.signatures.ALL_SIGNATURES`.
          model_run: the Trainer's ModelRun, with its answers on the splits it did not learn from.
          examples: the raw Examples of XrayExampleGen, which those answers are for.
          parameters: `parameters.ServingCheckParameters` as JSON.
          code_digest: digest of the executor's code; when it changes, the component runs again.
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
