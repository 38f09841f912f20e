"""CuratedSchema: the schema that is written by hand, as an artifact, seen by the cache when it is
edited.
"""

from __future__ import annotations

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import component_spec, standard_artifacts

from components.curated_schema import executor


class CuratedSchemaSpec(component_spec.ComponentSpec):
    """The text of the schema in, the artifact out."""

    PARAMETERS = {executor.SCHEMA_TEXT_KEY: component_spec.ExecutionParameter(type=str)}
    INPUTS: dict = {}
    OUTPUTS = {executor.SCHEMA_KEY: component_spec.ChannelParameter(type=standard_artifacts.Schema)}


class CuratedSchema(base_component.BaseComponent):
    """Takes the schema itself, where TFX's ImportSchemaGen takes its path: that one misses an edit
    of the file, and on a cluster the path is one of another machine.

    Args:
      schema_text: a text proto.
    """

    SPEC_CLASS = CuratedSchemaSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(self, schema_text: str):
        super().__init__(
            CuratedSchemaSpec(
                schema_text=schema_text, schema=types.Channel(type=standard_artifacts.Schema)
            )
        )
