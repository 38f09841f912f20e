"""DataGate: stops the run on anomalies of TFDV and on findings of the data audit above the
limits.
"""

from __future__ import annotations

from tfx.dsl.components.base.base_component import BaseComponent
from tfx.dsl.components.base.executor_spec import ExecutorClassSpec
from tfx.types import standard_artifacts
from tfx.types.channel import BaseChannel, Channel
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from components.data_audit.artifact import DataAuditReport
from components.data_gate import executor
from components.data_gate.artifact import DataBlessing
from components.xray_example_gen.artifact import IngestReport


class DataGateSpec(ComponentSpec):
    """Inputs, output and parameters of DataGate."""

    PARAMETERS = {
        executor.LIMITS_KEY: ExecutionParameter(type=str),
        executor.CODE_DIGEST_KEY: ExecutionParameter(type=str),
    }
    INPUTS = {
        executor.ANOMALIES_KEY: ChannelParameter(type=standard_artifacts.ExampleAnomalies),
        executor.AUDIT_KEY: ChannelParameter(type=DataAuditReport),
        executor.INGEST_REPORT_KEY: ChannelParameter(type=IngestReport, optional=True),
    }
    OUTPUTS = {executor.BLESSING_KEY: ChannelParameter(type=DataBlessing)}


class DataGate(BaseComponent):
    """Decides whether the data may be trained on, apart from DataAudit so that changing a limit
    decodes nothing again.

    Writes one artifact `blessing` of type DataBlessing with `gate.json`; raises DataGateError when
    a limit is broken.
    """

    SPEC_CLASS = DataGateSpec
    EXECUTOR_SPEC = ExecutorClassSpec(executor.Executor)

    def __init__(
        self,
        anomalies: BaseChannel,
        audit: BaseChannel,
        ingest_report: BaseChannel | None = None,
        limits: str = '{}',
        code_digest: str = '',
    ) -> None:
        """Sets up the component.

        Args:
          anomalies: channel of ExampleAnomalies, from ExampleValidator.
          audit: channel of DataAuditReport.
          ingest_report: channel of IngestReport; without it nothing is said about quarantine.
          limits: GateLimits as JSON.
          code_digest: digest of the component's source; only there so that an edit invalidates the
            cache.
        """
        blessing = Channel(type=DataBlessing)
        spec = DataGateSpec(
            anomalies=anomalies,
            audit=audit,
            ingest_report=ingest_report,
            limits=limits,
            code_digest=code_digest,
            blessing=blessing,
        )
        super().__init__(spec=spec)
