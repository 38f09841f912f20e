"""Artifact types of XrayExampleGen beside the examples."""

from __future__ import annotations

from tfx.types.artifact import Artifact

REPORT_FILE = 'ingest.json'
QUARANTINE_LIST = 'quarantine.jsonl'
QUARANTINE_RECORDS = 'records.tfrecord'


class IngestReport(Artifact):
    """A directory with `ingest.json`: counts in and out, by file, by split, by label, and what was
    noticed.
    """

    TYPE_NAME = 'components.IngestReport'


class Quarantine(Artifact):
    """A directory with `quarantine.jsonl` (file, record, offset, reason) and the bytes of those
    records in `records.tfrecord`.
    """

    TYPE_NAME = 'components.Quarantine'
