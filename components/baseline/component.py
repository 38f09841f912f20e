"""Baseline: the served version that a candidate is compared with, as an artifact."""

from __future__ import annotations

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import component_spec, standard_artifacts, standard_component_specs

from components.baseline import executor


class BaselineSpec(component_spec.ComponentSpec):
    """Output and parameters of Baseline.

    There are no inputs: the version is chosen before the run, so that the cache sees it.
    """

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
    """Copies a served version into a Model artifact.

    TFX's Resolver could do this, but Kubeflow does not support it.

    Example:
      from pipeline.code_digest import digest

      baseline = Baseline(
          target='/models/cxr_triage',
          version='1767225600',
          code_digest=digest('components.baseline.executor'),
      )
    """

    SPEC_CLASS = BaselineSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(self, target: str, version: str, code_digest: str) -> None:
        """Creates the component.

        Args:
          target: the directory that TF Serving watches, as in `pusher.parameters.PushParameters`.
          version: the version to copy, see `pusher.target.plan_push`; with '' the artifact holds no
            model.
          code_digest: digest of the executor's code; when it changes, the component runs again.
        """
        model = types.Channel(type=standard_artifacts.Model)
        super().__init__(
            spec=BaselineSpec(target=target, version=version, code_digest=code_digest, model=model)
        )
