"""Reads the runs of a root from its metadata store."""

from __future__ import annotations

from pathlib import Path

from ml_metadata import metadata_store
from ml_metadata.proto import metadata_store_pb2

from pipeline.run_root import RunRoot


def runs(root: Path) -> list[dict[str, metadata_store_pb2.Execution]]:
    """The runs, oldest first, each as step -> execution.

    Raises:
      ValueError: a run has two executions of one step.
      RuntimeError: there is no metadata store under `root`.
    """
    connection = metadata_store_pb2.ConnectionConfig()
    connection.sqlite.filename_uri = str(RunRoot(root).store)
    connection.sqlite.connection_mode = metadata_store_pb2.SqliteMetadataSourceConfig.READONLY
    store = metadata_store.MetadataStore(connection)
    executions = []
    for run in sorted(store.get_contexts_by_type('pipeline_run'), key=lambda context: context.id):
        steps: dict[str, metadata_store_pb2.Execution] = {}
        for execution in store.get_executions_by_context(run.id):
            (node,) = (
                context
                for context in store.get_contexts_by_execution(execution.id)
                if context.type == 'node'
            )
            name = node.name.rpartition('.')[2]
            if name in steps:
                raise ValueError(f'{name} ran twice in run {run.name}')
            steps[name] = execution
        executions.append(steps)
    return executions
