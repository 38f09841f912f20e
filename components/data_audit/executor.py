"""The executor of DataAudit: runs the audit as a Beam job.

Workers decode files and write a table of numbers for each part; no pixels pass through Beam. The
tables are files in a folder of the report, because a runner would keep several copies of all
records in memory.
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Iterable
from typing import Any

import apache_beam as beam
from tfx.components.util import examples_utils
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.types import artifact_utils
from tfx.types.artifact import Artifact

import storage
from components.data_audit import part_file, table
from components.data_audit.artifact import AUDIT_JSON, AUDIT_PAGE, PICTURES_JSON
from components.data_audit.page import pictures, render
from components.data_audit.parameters import AuditParameters
from components.data_audit.reading import ImageRecord, InspectShard, Shard, preview
from components.data_audit.summary import Audit, DataAuditError, audit

EXAMPLES_KEY = 'examples'
AUDIT_KEY = 'audit'
PARAMETERS_KEY = 'parameters'
CODE_DIGEST_KEY = 'code_digest'
_PAYLOAD = 'FORMAT_TF_EXAMPLE'
_PARTS = 'parts'
_PART_ROWS = 1024

_log = logging.getLogger(__name__)


class Executor(BaseBeamExecutor):
    """Audits examples."""

    def Do(
        self,
        input_dict: dict[str, list[Artifact]],
        output_dict: dict[str, list[Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Audits all splits of all `examples` artifacts and writes the files of the report.

        Raises:
          DataAuditError: the examples are not tf.train.Examples, or lack the task label.
          pydantic.ValidationError: the parameters are not valid.
        """
        parameters = AuditParameters.model_validate_json(exec_properties[PARAMETERS_KEY] or '{}')
        shards, splits = list_shards(input_dict[EXAMPLES_KEY])
        target = artifact_utils.get_single_uri(output_dict[AUDIT_KEY])
        storage.make_dirs(target)
        _log.debug('%d files in splits %s', len(shards), ', '.join(splits))
        parts = f'{target}/{_PARTS}'
        storage.make_dirs(parts)
        try:
            with self._make_beam_pipeline() as pipeline:
                build(pipeline, shards, splits, parameters, target)
        finally:
            storage.remove_tree(parts)
        # No warnings here: DataGate reports the issues together with their limits.
        _log.debug('see %s/%s', target, AUDIT_PAGE)


def list_shards(artifacts: Iterable[Artifact]) -> tuple[list[Shard], list[str]]:
    """Lists the files of all splits, and the names of all splits, including empty ones.

    Raises:
      DataAuditError: the payload format of an artifact is not tf.train.Example.
    """
    shards: list[Shard] = []
    splits: dict[str, None] = {}
    for artifact in artifacts:
        payload = examples_utils.get_payload_format_string(artifact)
        if payload != _PAYLOAD:
            raise DataAuditError(f'{artifact.uri}: examples in {payload}, expected {_PAYLOAD}')
        for split in artifact_utils.decode_split_names(artifact.split_names):
            splits[split] = None
            folder = artifact_utils.get_split_uris([artifact], split)[0]
            for name in storage.names(folder):
                shards.append(Shard(len(shards), split, storage.join(folder, name)))
    return shards, list(splits)


def build(
    pipeline: beam.Pipeline,
    shards: list[Shard],
    splits: list[str],
    parameters: AuditParameters,
    target: str,
) -> None:
    """Adds the audit to a Beam pipeline.

    Args:
      pipeline: gets the transforms.
      shards: the files of all splits.
      splits: names of all splits.
      parameters: of the audit.
      target: folder of the report; it has a folder for the parts.
    """
    result = (
        pipeline
        | 'Files' >> beam.Create(shards)
        | 'Spread' >> beam.Reshuffle()
        | 'Decode' >> beam.ParDo(InspectShard(parameters))
        | 'Batch' >> beam.BatchElements(min_batch_size=_PART_ROWS, max_batch_size=_PART_ROWS)
        | 'Part'
        >> beam.Map(_write_part, {shard.number: shard for shard in shards}, f'{target}/{_PARTS}')
        | 'Collect' >> beam.combiners.ToList()
        | 'Check' >> beam.Map(_check, shards, splits, parameters)
    )
    thumbnails = (
        result
        | 'Previews' >> beam.FlatMap(_previewed_records, shards)
        | 'SpreadPreviews' >> beam.Reshuffle()
        | 'Preview' >> beam.FlatMap(_preview)
    )
    _ = result | 'Write' >> beam.Map(_write, beam.pvalue.AsList(thumbnails), target)


def _write_part(records: list[ImageRecord], shards: dict[int, Shard], folder: str) -> str:
    """Writes the table of some records and returns its path.

    If Beam runs a bundle again, it writes another file, and nothing reads the first one.
    """
    path = f'{folder}/{uuid.uuid4().hex}'
    part = table.build(
        records, [shards[number] for number in sorted({record.shard for record in records})]
    )
    storage.write_bytes(path, part_file.encode(part))
    return path


def _check(
    paths: list[str], shards: list[Shard], splits: list[str], parameters: AuditParameters
) -> Audit:
    parts = (part_file.decode(storage.read_bytes(path), shards) for path in sorted(paths))
    # The empty table covers files without records, and the case of no files.
    return audit(table.concatenate([table.build([], shards), *parts]), splits, parameters)


def _previewed_records(result: Audit, shards: list[Shard]) -> list[tuple[Shard, list[int]]]:
    return [(shards[number], indices) for number, indices in result.previews.items()]


def _preview(records: tuple[Shard, list[int]]) -> list[tuple[tuple[int, int], bytes]]:
    shard, indices = records
    return [((shard.number, index), data) for index, data in preview(shard.path, indices).items()]


def _write(result: Audit, thumbnails: list[tuple[tuple[int, int], bytes]], target: str) -> None:
    storage.write_text(
        f'{target}/{AUDIT_JSON}', json.dumps(result.content, indent=1, allow_nan=False)
    )
    shown = pictures(result, dict(thumbnails))
    storage.write_text(f'{target}/{PICTURES_JSON}', json.dumps(shown))
    storage.write_text(f'{target}/{AUDIT_PAGE}', render(result, shown))
