"""Runs the audit as a Beam job: files go in, small records come out, pixels never leave the worker that decoded them."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from typing import Any

import apache_beam as beam
from tfx.components.util import examples_utils
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.dsl.io import fileio
from tfx.types import artifact_utils
from tfx.types.artifact import Artifact

from components.data_audit.artifact import AUDIT_JSON, AUDIT_PAGE
from components.data_audit.page import render
from components.data_audit.parameters import AuditParameters
from components.data_audit.reading import ImageRecord, InspectShard, Shard, preview
from components.data_audit.summary import Audit, DataAuditError, audit

EXAMPLES_KEY = 'examples'
AUDIT_KEY = 'audit'
PARAMETERS_KEY = 'parameters'
CODE_DIGEST_KEY = 'code_digest'
_PAYLOAD = 'FORMAT_TF_EXAMPLE'

_log = logging.getLogger(__name__)


class Executor(BaseBeamExecutor):
    """Executor of DataAudit."""

    def Do(self, input_dict: dict[str, list[Artifact]], output_dict: dict[str, list[Artifact]], exec_properties: dict[str, Any]) -> None:
        """Audits all splits of all `examples` artifacts and writes `audit.json` and `audit.html`.

        Raises:
          DataAuditError: the examples are no tf.train.Example, or have no such task label.
          pydantic.ValidationError: the parameters are not valid.
        """
        parameters = AuditParameters.model_validate_json(exec_properties[PARAMETERS_KEY] or '{}')
        shards, splits = list_shards(input_dict[EXAMPLES_KEY])
        target = artifact_utils.get_single_uri(output_dict[AUDIT_KEY])
        fileio.makedirs(target)
        _log.debug('%d files in splits %s', len(shards), ', '.join(splits))
        with self._make_beam_pipeline() as pipeline:
            build(pipeline, shards, splits, parameters, target)
        # What was found is for DataGate to tell, with its limits.
        _log.debug('see %s/%s', target, AUDIT_PAGE)


def list_shards(artifacts: Iterable[Artifact]) -> tuple[list[Shard], list[str]]:
    """Files of all splits, numbered, and the names of the splits, empty ones included.

    Raises:
      DataAuditError: an artifact holds something else than tf.train.Example.
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
            for path in sorted(fileio.glob(f'{folder}/*')):
                shards.append(Shard(len(shards), split, str(path)))
    return shards, list(splits)


def build(pipeline: beam.Pipeline, shards: list[Shard], splits: list[str], parameters: AuditParameters, target: str) -> None:
    """Adds the audit to a Beam pipeline; `target` is the folder that it writes to."""
    found = (
        pipeline
        | 'Files' >> beam.Create(shards)
        | 'Spread' >> beam.Reshuffle()
        | 'Decode' >> beam.ParDo(InspectShard(parameters))
        | 'Collect' >> beam.combiners.ToList()
        | 'Check' >> beam.Map(_check, shards, splits, parameters)
    )
    thumbnails = (
        found | 'Wanted' >> beam.FlatMap(_wanted, shards) | 'SpreadWanted' >> beam.Reshuffle() | 'Preview' >> beam.FlatMap(_preview)
    )
    _ = found | 'Write' >> beam.Map(_write, beam.pvalue.AsList(thumbnails), target)


def _check(records: list[ImageRecord], shards: list[Shard], splits: list[str], parameters: AuditParameters) -> Audit:
    return audit(records, shards, splits, parameters)


def _wanted(found: Audit, shards: list[Shard]) -> list[tuple[Shard, list[int]]]:
    return [(shards[number], indices) for number, indices in found.wanted.items()]


def _preview(wanted: tuple[Shard, list[int]]) -> list[tuple[tuple[int, int], bytes]]:
    shard, indices = wanted
    return [((shard.number, index), data) for index, data in preview(shard.path, indices).items()]


def _write(found: Audit, thumbnails: list[tuple[tuple[int, int], bytes]], target: str) -> None:
    with fileio.open(f'{target}/{AUDIT_JSON}', 'w') as file:
        file.write(json.dumps(found.content, indent=1, allow_nan=False))
    with fileio.open(f'{target}/{AUDIT_PAGE}', 'w') as file:
        file.write(render(found, dict(thumbnails)))
