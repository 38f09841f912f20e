"""CuratedSchema: the schema file as an artifact, seen by the cache when it is edited."""

from __future__ import annotations

from tfx import types
from tfx.components.schema_gen.import_schema_gen import executor
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import component_spec, standard_artifacts


class CuratedSchemaSpec(component_spec.ComponentSpec):
    """Those of TFX's ImportSchemaGen, and the digest."""

    PARAMETERS = {
        'schema_file': component_spec.ExecutionParameter(type=str),
        'schema_digest': component_spec.ExecutionParameter(type=str),
    }
    INPUTS: dict = {}
    OUTPUTS = {'schema': component_spec.ChannelParameter(type=standard_artifacts.Schema)}


class CuratedSchema(base_component.BaseComponent):
    """TFX's ImportSchemaGen with a digest of the file beside its path; ImportSchemaGen by itself misses an edit of the file.

    Args:
      schema_file: path of the schema, a text proto.
      schema_digest: of its content; there for the cache alone.
    """

    SPEC_CLASS = CuratedSchemaSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(self, schema_file: str, schema_digest: str):
        super().__init__(
            CuratedSchemaSpec(
                schema_file=schema_file,
                schema_digest=schema_digest,
                schema=types.Channel(type=standard_artifacts.Schema),
            )
        )
