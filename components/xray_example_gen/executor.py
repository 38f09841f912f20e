"""The executor of XrayExampleGen: ingests the record files as a Beam job.

Each Beam element is one file, so that the runner never shuffles or stores anything large.
"""

from __future__ import annotations

import json
import logging
import os
from typing import Any

import apache_beam as beam
from tfx import types
from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_beam_executor
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils
from tfx.utils import io_utils

import storage
from components.xray_example_gen import artifact, data_files, report, shard
from components.xray_example_gen.parameters import DataParameters
from records.data_root import DataFile, check_unchanged, find_files, scan
from records.terminal import printable
from schemas.features import SPLITS

_log = logging.getLogger(__name__)


class Executor(base_beam_executor.BaseBeamExecutor):
    """Ingests the record files of a data root."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Reads every file of the data root into the splits.

        Raises:
          DataRootError: there are no files, or they have changed since the run started.
          MetadataError: a side file cannot be used.
          IngestError: the model cannot be trained on the records. The error says where report and
            quarantine are kept.
        """
        data = DataParameters.model_validate_json(exec_properties['data'])
        root = data.root
        if root is None:
            raise ValueError(
                'data.root is not set: give it with --data-root or in the configuration'
            )
        data_root = scan(root, data.patterns)
        data = data_files.locate(data, data_root)
        examples = artifact_utils.get_single_instance(output_dict['examples'])
        report_uri = artifact_utils.get_single_uri(output_dict['report'])
        quarantine_uri = artifact_utils.get_single_uri(output_dict['quarantine'])
        _describe(examples)

        destination = shard.Destination(
            {split: artifact_utils.get_split_uri([examples], split) for split in SPLITS},
            quarantine_uri,
            os.path.join(report_uri, 'staging'),
        )
        for folder in (
            *destination.splits.values(),
            quarantine_uri,
            report_uri,
            destination.staging,
        ):
            # Files of a killed attempt would be read as if they came from this one.
            storage.remove_tree(folder)
            storage.make_dirs(folder)
        # Read the side files here too: it reports a bad one before any record is read.
        shard.load_rules(root, data, exec_properties['fingerprint'])
        shard_reports = self._ingest(
            root,
            data,
            exec_properties['fingerprint'],
            destination,
            os.path.join(report_uri, 'shards'),
        )

        storage.remove_tree(destination.staging)

        content, quarantined = report.merge(
            shard_reports, exec_properties['task'], exec_properties['label']
        )
        content['fingerprint'] = exec_properties['fingerprint']
        content['root'] = root
        content['ignored_files'] = dict(data_root.ignored(data_files.side_files_of(data)))
        content['table'] = report.table_summary(
            shard.load_table(shard.table_paths(root, data), exec_properties['fingerprint'])
            if data.tables
            else None
        )
        storage.write_text(
            os.path.join(report_uri, artifact.REPORT_FILE), json.dumps(content, indent=1)
        )
        storage.write_text(
            os.path.join(quarantine_uri, artifact.QUARANTINE_LIST),
            ''.join(json.dumps(row) + '\n' for row in quarantined),
        )
        for line in report.warnings(content):
            _log.warning('%s', line)
        self._check(content, quarantined, data.max_quarantine_share, report_uri, quarantine_uri)

    def _check(
        self,
        content: dict,
        quarantined: list[dict],
        max_share: float,
        report_uri: str,
        quarantine_uri: str,
    ) -> None:
        """Like `report.check`; if it fails, it copies report and quarantine to a lasting folder.

        TFX deletes the outputs of a failed execution.
        """
        lasting = self._context.stateful_working_dir if self._context else None
        quarantine_copy = os.path.join(lasting, 'quarantine') if lasting else quarantine_uri
        try:
            report.check(
                content,
                quarantined,
                max_share,
                os.path.join(quarantine_copy, artifact.QUARANTINE_LIST),
            )
        except report.IngestError:
            if lasting:
                io_utils.copy_dir(quarantine_uri, quarantine_copy)
                io_utils.copy_dir(report_uri, os.path.join(lasting, 'report'))
            raise

    def _ingest(
        self,
        root: str,
        data: DataParameters,
        fingerprint: str,
        destination: shard.Destination,
        folder: str,
    ) -> list[str]:
        files = _files(root, data, fingerprint)
        shards = [
            shard.Shard(os.path.join(root, file.name), printable(file.name), number, len(files))
            for number, file in enumerate(files)
        ]
        with self._make_beam_pipeline() as pipeline:
            _ = (
                pipeline
                | 'Files' >> beam.Create(shards)
                # Without the reshuffle, a runner fuses all files into one bundle.
                | 'Spread' >> beam.Reshuffle()
                | 'Ingest' >> beam.ParDo(shard.IngestShard(root, data, fingerprint, destination))
                | 'WriteReports'
                >> beam.io.WriteToText(os.path.join(folder, 'report'), file_name_suffix='.jsonl')
            )
        lines: list[str] = []
        for path in storage.glob(os.path.join(folder, 'report*.jsonl')):
            lines += storage.read_text(path).splitlines()
        if len(lines) != len(shards):
            raise RuntimeError(
                f'ingestion started with {len(shards)} files, but {len(lines)} have a report: see '
                'the log of the Beam runner'
            )
        storage.remove_tree(folder)
        # Check again: a file may have been replaced during ingestion.
        _files(root, data, fingerprint)
        return lines


def _files(root: str, data: DataParameters, fingerprint: str) -> list[DataFile]:
    """The record files, after a check that the data still has its fingerprint.

    Raises:
      DataRootError: see `check_unchanged`.
    """
    files = find_files(root, data.patterns, data.spans)
    check_unchanged(root, files, data_files.side_paths(root, data), fingerprint)
    return files


def _describe(examples: types.Artifact) -> None:
    examples.split_names = artifact_utils.encode_split_names(list(SPLITS))
    examples_utils.set_payload_format(examples, example_gen_pb2.FORMAT_TF_EXAMPLE)
