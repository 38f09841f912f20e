"""What a run left of itself: how long its steps took, from the metadata store, and how large its examples are."""

from __future__ import annotations

from pathlib import Path

from ml_metadata import metadata_store
from ml_metadata.proto import metadata_store_pb2


def step_seconds(root: Path) -> dict[str, float]:
    """Step -> seconds of its execution in the latest run of a root."""
    connection = metadata_store_pb2.ConnectionConfig()
    connection.sqlite.filename_uri = str(root / 'metadata.sqlite')
    connection.sqlite.connection_mode = metadata_store_pb2.SqliteMetadataSourceConfig.READONLY
    store = metadata_store.MetadataStore(connection)
    latest = max(store.get_contexts_by_type('pipeline_run'), key=lambda context: context.id)
    seconds = {}
    for execution in store.get_executions_by_context(latest.id):
        (node,) = (context for context in store.get_contexts_by_execution(execution.id) if context.type == 'node')
        took = execution.last_update_time_since_epoch - execution.create_time_since_epoch
        seconds[node.name.rpartition('.')[2]] = took / 1000
    return seconds


def transformed_bytes(root: Path) -> int:
    """The size of all transformed examples of a root with one run."""
    return sum(path.stat().st_size for path in (root / 'artifacts/Transform/transformed_examples').glob('*/Split-*/*'))
