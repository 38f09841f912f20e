"""DataGate: stops the run when TFDV's anomalies or the audit's issues exceed their limits."""

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
    """Decides whether a model may be trained on the data.

    It is a step apart from DataAudit, so that a new limit does not decode the images again. It
    writes the artifact `blessing` of type DataBlessing, and fails with DataGateError if a limit is
    exceeded.

    Example:
      from components.data_gate.limits import GateLimits
      from pipeline.code_digest import digest

      gate = DataGate(
          anomalies=validator.outputs['anomalies'],  # of TFX's ExampleValidator
          audit=audit.outputs['audit'],
          ingest_report=ingestion.outputs['report'],
          limits=GateLimits(max_share={'blank': 0.001}).model_dump_json(),
          code_digest=digest('components.data_gate.executor'),
      )
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
        """Creates the component.

        Args:
          anomalies: channel of ExampleAnomalies, from TFX's ExampleValidator.
          audit: channel of DataAuditReport, from DataAudit.
          ingest_report: channel of IngestReport, from XrayExampleGen; without it there are no rules
            about quarantine and record counts.
          limits: `limits.GateLimits` as JSON.
          code_digest: digest of the executor's code; when it changes, the component runs again.
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
