"""DataAudit: what TFDV cannot see in pixels, copies, patients and sources. It measures; DataGate
decides.
"""

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
    """Decodes every pixel of all splits and reports what is wrong with images, copies, patients,
    labels and sources.

    Writes one artifact `audit` of type DataAuditReport with `audit.json` and `audit.html`, and
    never stops a run.
    """

    SPEC_CLASS = DataAuditSpec
    EXECUTOR_SPEC = BeamExecutorSpec(executor.Executor)

    def __init__(
        self, examples: BaseChannel, parameters: str = '{}', code_digest: str = ''
    ) -> None:
        """Sets up the component.

        Args:
          examples: channel of raw Examples.
          parameters: AuditParameters as JSON.
          code_digest: digest of the component's source; only there so that an edit invalidates the
            cache.
        """
        audit = Channel(type=DataAuditReport)
        super().__init__(
            spec=DataAuditSpec(
                examples=examples, parameters=parameters, code_digest=code_digest, audit=audit
            )
        )
