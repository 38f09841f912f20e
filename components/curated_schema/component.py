"""CuratedSchema: the hand-written schema as an artifact."""

from __future__ import annotations

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import component_spec, standard_artifacts

from components.curated_schema import executor


class CuratedSchemaSpec(component_spec.ComponentSpec):
    """Output and parameter of CuratedSchema."""

    PARAMETERS = {executor.SCHEMA_TEXT_KEY: component_spec.ExecutionParameter(type=str)}
    INPUTS: dict = {}
    OUTPUTS = {executor.SCHEMA_KEY: component_spec.ChannelParameter(type=standard_artifacts.Schema)}


class CuratedSchema(base_component.BaseComponent):
    """Writes a schema that is given as text.

    TFX's ImportSchemaGen takes the path of the file instead. It would not notice an edit of the
    file, and a cluster would not find the path.

    Args:
      schema_text: the schema as a text proto.

    Example:
      with open('schemas/raw_schema.pbtxt', encoding='utf-8') as file:
          schema = CuratedSchema(schema_text=file.read())
    """

    SPEC_CLASS = CuratedSchemaSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(self, schema_text: str):
        super().__init__(
            CuratedSchemaSpec(
                schema_text=schema_text, schema=types.Channel(type=standard_artifacts.Schema)
            )
        )
