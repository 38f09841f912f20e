"""The executor of CuratedSchema: writes the schema where TFX's components read it."""

from __future__ import annotations

from typing import Any

from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx.components.schema_gen.executor import DEFAULT_FILE_NAME
from tfx.dsl.components.base import base_executor
from tfx.types import Artifact, artifact_utils
from tfx.utils import io_utils

SCHEMA_TEXT_KEY = 'schema_text'
SCHEMA_KEY = 'schema'


class Executor(base_executor.BaseExecutor):
    """Writes the schema file."""

    def Do(
        self,
        input_dict: dict[str, list[Artifact]],
        output_dict: dict[str, list[Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes the text unchanged, including comments.

        Raises:
          ValueError: the text is not a valid schema.
        """
        text = exec_properties[SCHEMA_TEXT_KEY]
        try:
            text_format.Parse(text, schema_pb2.Schema())
        except text_format.ParseError as error:
            raise ValueError(
                f'schemas/raw_schema.pbtxt is not a valid schema (line and column {error})'
            ) from None
        target = artifact_utils.get_single_uri(output_dict[SCHEMA_KEY])
        io_utils.write_string_file(f'{target}/{DEFAULT_FILE_NAME}', text)
