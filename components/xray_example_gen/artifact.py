"""The artifact types of XrayExampleGen besides the examples."""

from __future__ import annotations

from tfx.types.artifact import Artifact

REPORT_FILE = 'ingest.json'
QUARANTINE_LIST = 'quarantine.jsonl'
QUARANTINE_RECORDS = 'records.tfrecord'


class IngestReport(Artifact):
    """A folder with `ingest.json`: record counts by file, split and label, and warnings."""

    TYPE_NAME = 'components.IngestReport'


class Quarantine(Artifact):
    """A folder with the records that the pipeline cannot use.

    `quarantine.jsonl` lists the file, record, offset and reason of each. The files
    `records.tfrecord-*` hold their bytes.
    """

    TYPE_NAME = 'components.Quarantine'
