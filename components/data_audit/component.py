"""DataAudit: looks for problems that TFDV cannot see, in pixels, copies, patients and sources."""

from __future__ import annotations

from tfx.dsl.components.base.base_beam_component import BaseBeamComponent
from tfx.dsl.components.base.executor_spec import BeamExecutorSpec
from tfx.types import standard_artifacts
from tfx.types.channel import BaseChannel, Channel
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from components.data_audit import executor
from components.data_audit.artifact import DataAuditReport


class DataAuditSpec(ComponentSpec):
    """Inputs, output and parameters of DataAudit."""

    PARAMETERS = {
        executor.PARAMETERS_KEY: ExecutionParameter(type=str),
        executor.CODE_DIGEST_KEY: ExecutionParameter(type=str),
    }
    INPUTS = {executor.EXAMPLES_KEY: ChannelParameter(type=standard_artifacts.Examples)}
    OUTPUTS = {executor.AUDIT_KEY: ChannelParameter(type=DataAuditReport)}


class DataAudit(BaseBeamComponent):
    """Decodes all images of all splits and reports issues of images, patients, labels and sources.

    It writes the artifact `audit` of type DataAuditReport. Issues never stop a run here: DataGate
    decides about them.

    Example:
      from components.data_audit.parameters import AuditParameters
      from pipeline.code_digest import digest

      audit = DataAudit(
          examples=ingestion.outputs['examples'],
          parameters=AuditParameters(width=1024, height=1024).model_dump_json(),
          code_digest=digest('components.data_audit.executor'),
      )
    """

    SPEC_CLASS = DataAuditSpec
    EXECUTOR_SPEC = BeamExecutorSpec(executor.Executor)

    def __init__(
        self, examples: BaseChannel, parameters: str = '{}', code_digest: str = ''
    ) -> None:
        """Creates the component.

        Args:
          examples: channel of raw Examples, from XrayExampleGen.
          parameters: `parameters.AuditParameters` as JSON.
          code_digest: digest of the executor's code; when it changes, the component runs again.
        """
        audit = Channel(type=DataAuditReport)
        super().__init__(
            spec=DataAuditSpec(
                examples=examples, parameters=parameters, code_digest=code_digest, audit=audit
            )
        )
