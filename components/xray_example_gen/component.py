"""XrayExampleGen: reads NIH TFRecords, splits them by patient, and accounts for every record."""

from __future__ import annotations

from tfx import types
from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.types import component_spec, standard_artifacts

from components.xray_example_gen import artifact, executor


class XrayExampleGenSpec(component_spec.ComponentSpec):
    """Outputs and parameters of XrayExampleGen."""

    PARAMETERS = {
        'data': component_spec.ExecutionParameter(type=str),
        'task': component_spec.ExecutionParameter(type=str),
        'label': component_spec.ExecutionParameter(type=str),
        'fingerprint': component_spec.ExecutionParameter(type=str),
        'code_digest': component_spec.ExecutionParameter(type=str),
    }
    INPUTS: dict = {}
    OUTPUTS = {
        'examples': component_spec.ChannelParameter(type=standard_artifacts.Examples),
        'report': component_spec.ChannelParameter(type=artifact.IngestReport),
        'quarantine': component_spec.ChannelParameter(type=artifact.Quarantine),
    }


class XrayExampleGen(base_beam_component.BaseBeamComponent):
    """Reads the records of a data root, adds metadata, patient and labels, and splits by patient.

    TFX's own example generators do not fit. They cannot split by a patient that is not a feature of
    the record, they stop at the first damaged record, and they send whole records through a Beam
    shuffle, which an in-process runner keeps in memory.

    Args:
      data: `parameters.DataParameters` as JSON, with `root` set.
      task: the name of the task, for the report.
      label: the label of the task, one of `schemas.labels`. Each split needs records with 0 and
        with 1. It is a parameter so that a new task does not change this component's code.
      fingerprint: of the files under the root (`records.data_root.fingerprint`). With it, the cache
        notices new files under the same path, even on Kubeflow, where the driver cannot see them.
        The executor rejects files with another fingerprint.
      code_digest: digest of the executor's code; when it changes, the component runs again.

    Example:
      from components.xray_example_gen.parameters import DataParameters
      from pipeline.code_digest import digest
      from records.data_root import find_files, fingerprint

      ingestion = XrayExampleGen(
          data=DataParameters(root='/data/nih').model_dump_json(),
          task='nih_triage',
          label='abnormal',
          fingerprint=fingerprint('/data/nih', find_files('/data/nih')),
          code_digest=digest('components.xray_example_gen.executor'),
      )
    """

    SPEC_CLASS = XrayExampleGenSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(executor.Executor)

    def __init__(self, data: str, task: str, label: str, fingerprint: str, code_digest: str):
        super().__init__(
            XrayExampleGenSpec(
                data=data,
                task=task,
                label=label,
                fingerprint=fingerprint,
                code_digest=code_digest,
                examples=types.Channel(type=standard_artifacts.Examples),
                report=types.Channel(type=artifact.IngestReport),
                quarantine=types.Channel(type=artifact.Quarantine),
            )
        )
