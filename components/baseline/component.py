"""Baseline: the served version that a candidate is compared with, as an artifact."""

from __future__ import annotations

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import component_spec, standard_artifacts, standard_component_specs

from components.baseline import executor


class BaselineSpec(component_spec.ComponentSpec):
    """No inputs: what is served is decided before the run, so that the cache sees it."""

    PARAMETERS = {
        'target': component_spec.ExecutionParameter(type=str),
        'version': component_spec.ExecutionParameter(type=str),
        'code_digest': component_spec.ExecutionParameter(type=str),
    }
    INPUTS: dict[str, component_spec.ChannelParameter] = {}
    OUTPUTS = {
        standard_component_specs.MODEL_KEY: component_spec.ChannelParameter(
            type=standard_artifacts.Model
        ),
    }


class Baseline(base_component.BaseComponent):
    """Takes a copy of one version of a push target; a TFX Resolver would do, but is refused by
    Kubeflow.
    """

    SPEC_CLASS = BaselineSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(self, target: str, version: str, code_digest: str) -> None:
        """Makes the component.

        Args:
          target: the directory that TF Serving watches, as in `pusher.parameters.PushParameters`.
          version: the version to take, see `pusher.target.plan_push`; '' for none: the model
            artifact is then empty.
          code_digest: digest of the code that runs; a change of it runs the component again.
        """
        model = types.Channel(type=standard_artifacts.Model)
        super().__init__(
            spec=BaselineSpec(target=target, version=version, code_digest=code_digest, model=model)
        )
