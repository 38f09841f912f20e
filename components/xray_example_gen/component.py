"""XrayExampleGen: NIH TFRecords to examples, split by patient, with nothing lost in silence."""

from __future__ import annotations

from tfx import types
from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.types import component_spec, standard_artifacts

from components.xray_example_gen import artifact, executor


class XrayExampleGenSpec(component_spec.ComponentSpec):
    """Channels and parameters of XrayExampleGen."""

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
    """Reads the records of a data root, joins metadata, derives patient and labels, splits by
    patient.

    TFX's own example generators cannot split by a patient that is not a feature of the record, stop
    at the first damaged record, and pass whole records through a Beam shuffle, which an in-process
    runner keeps in memory.

    Args:
      data: JSON of `parameters.DataParameters`, with `root` set.
      task: the name of the task, for the report.
      label: the label of the task, one of `schemas.labels`; each split needs records with 0 and
        with 1. It is a parameter so that a new task does not change this component's code.
      fingerprint: of the files under the root (`records.data_root.fingerprint`), for the cache: new
        files under the same path are seen also where a driver cannot look (Kubeflow). The executor
        refuses files that it does not stand for.
      code_digest: of this component's code; there for the cache alone.
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
