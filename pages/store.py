"""Reads runs, executions and artifacts from a root's metadata store; it never writes to it."""

from __future__ import annotations

import dataclasses
import datetime
import os
import sqlite3
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError
from ml_metadata import errors, metadata_store
from ml_metadata.proto import metadata_store_pb2

import storage
from pipeline import metadata_file, steps
from pipeline.run_root import RunRoot

COMPLETE, CACHED, FAILED, RUNNING = 'COMPLETE', 'CACHED', 'FAILED', 'RUNNING'
_OUTPUTS = (metadata_store_pb2.Event.OUTPUT, metadata_store_pb2.Event.DECLARED_OUTPUT)
_INPUTS = (metadata_store_pb2.Event.INPUT, metadata_store_pb2.Event.DECLARED_INPUT)


@dataclasses.dataclass(frozen=True)
class Artifact:
    """A recorded artifact; `path` is its current path, which can be missing on disk."""

    id: int
    type: str
    path: str
    properties: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Execution:
    """One execution of a step.

    Attributes:
      id: the id in the store.
      step: the name of the step.
      run: the name of its run.
      state: COMPLETE, CACHED, FAILED, RUNNING or another state of MLMD.
      started: the start time.
      ended: the time of the last update.
      parameters: the exec properties.
      inputs: key -> ids of artifacts.
      outputs: key -> ids of artifacts; empty for a failed execution.
    """

    id: int
    step: str
    run: str
    state: str
    started: datetime.datetime
    ended: datetime.datetime
    parameters: dict[str, Any]
    inputs: dict[str, tuple[int, ...]]
    outputs: dict[str, tuple[int, ...]]

    @property
    def seconds(self) -> float:
        """The duration that the store records."""
        return (self.ended - self.started).total_seconds()


@dataclasses.dataclass(frozen=True)
class StoredRun:
    """A run in the store, with step -> execution in the order of the pipeline."""

    name: str
    pipeline: str
    executions: dict[str, Execution]


@dataclasses.dataclass(frozen=True)
class Store:
    """The content of a metadata store.

    Attributes:
      root: the run root.
      runs: all recorded runs, oldest first.
      artifacts: id -> artifact.
      producers: id of an artifact -> the execution that wrote it, which is never a cached one.
    """

    root: Path
    runs: tuple[StoredRun, ...] = ()
    artifacts: dict[int, Artifact] = dataclasses.field(default_factory=dict)
    producers: dict[int, Execution] = dataclasses.field(default_factory=dict)

    def outputs(self, execution: Execution, key: str) -> list[Artifact]:
        """The artifacts of an output."""
        return [
            self.artifacts[number]
            for number in execution.outputs.get(key, ())
            if number in self.artifacts
        ]


def read(root: Path) -> Store:
    """Reads the store under a root; without a store, the result is empty.

    Raises:
      metadata_file.StoreError: the store is damaged.
    """
    path = RunRoot(root).store
    if not path.exists():
        return Store(root)
    try:
        metadata_file.check(str(path))
        return _read(root, path)
    except (
        errors.StatusError,
        DecodeError,
        LookupError,
        TypeError,
        ValueError,
        sqlite3.Error,
    ) as error:
        if metadata_file.is_refused(error):
            raise metadata_file.StoreError(
                f'{path}: the metadata store cannot be read now: {error}'
            ) from error
        raise metadata_file.damaged(str(path), f'{type(error).__name__}: {error}') from error


def _read(root: Path, path: Path) -> Store:
    connection = metadata_store_pb2.ConnectionConfig()
    connection.sqlite.filename_uri = str(path)
    connection.sqlite.connection_mode = metadata_store_pb2.SqliteMetadataSourceConfig.READONLY
    store = metadata_store.MetadataStore(connection)
    executions = _executions(store)
    pipelines = {
        execution.id: context.name for context, execution in _in_contexts(store, 'pipeline')
    }
    runs: dict[str, dict[str, Execution]] = {}
    for context, execution in _in_contexts(store, 'pipeline_run'):
        if execution.id in executions:
            with_run = dataclasses.replace(executions[execution.id], run=context.name)
            executions[with_run.id] = with_run
            runs.setdefault(context.name, {})[with_run.step] = with_run
    # A run that was killed early has only a name.
    names = [
        context.name
        for context in sorted(_contexts(store, 'pipeline_run'), key=lambda context: context.id)
    ]
    return Store(
        root,
        tuple(_run(name, runs.get(name, {}), pipelines) for name in names),
        {artifact.id: _artifact(artifact, root) for artifact in store.get_artifacts()},
        {
            number: execution
            for execution in executions.values()
            if execution.state == COMPLETE
            for ids in execution.outputs.values()
            for number in ids
        },
    )


def _run(name: str, executions: dict[str, Execution], pipelines: dict[int, str]) -> StoredRun:
    # Steps that only an earlier version had come last.
    ordered = sorted(
        executions,
        key=lambda step: (
            steps.NAMES.index(step) if step in steps.NAMES else len(steps.NAMES),
            step,
        ),
    )
    ids = (execution.id for execution in executions.values())
    pipeline = next((pipelines[number] for number in ids if number in pipelines), '')
    return StoredRun(name, pipeline, {step: executions[step] for step in ordered})


def _contexts(store: metadata_store.MetadataStore, kind: str) -> list[metadata_store_pb2.Context]:
    return list(store.get_contexts_by_type(kind))


def _in_contexts(store: metadata_store.MetadataStore, kind: str):
    for context in sorted(_contexts(store, kind), key=lambda context: context.id):
        for execution in store.get_executions_by_context(context.id):
            yield context, execution


def _executions(store: metadata_store.MetadataStore) -> dict[int, Execution]:
    stored = store.get_executions()
    # The name of a node is `pipeline.step`.
    names = {
        execution.id: context.name.rpartition('.')[2]
        for context, execution in _in_contexts(store, 'node')
    }
    inputs: dict[int, dict[str, list[int]]] = {}
    outputs: dict[int, dict[str, list[int]]] = {}
    for event in (
        store.get_events_by_execution_ids([execution.id for execution in stored]) if stored else ()
    ):
        side = outputs if event.type in _OUTPUTS else inputs if event.type in _INPUTS else None
        key = next((step.key for step in event.path.steps if step.HasField('key')), '')
        if side is not None:
            side.setdefault(event.execution_id, {}).setdefault(key, []).append(event.artifact_id)
    executions = {}
    for execution in stored:
        properties = _values(execution.custom_properties) | _values(execution.properties)
        executions[execution.id] = Execution(
            id=execution.id,
            step=names.get(execution.id, execution.type),
            run='',
            state=metadata_store_pb2.Execution.State.Name(execution.last_known_state),
            started=_time(execution.create_time_since_epoch),
            ended=_time(execution.last_update_time_since_epoch),
            # Names with two underscores are internal to TFX.
            parameters={
                name: value
                for name, value in sorted(properties.items())
                if not name.startswith('__')
            },
            inputs={key: tuple(ids) for key, ids in inputs.get(execution.id, {}).items()},
            outputs={key: tuple(ids) for key, ids in outputs.get(execution.id, {}).items()},
        )
    return executions


def _artifact(artifact: metadata_store_pb2.Artifact, root: Path) -> Artifact:
    properties = _values(artifact.properties) | _values(artifact.custom_properties)
    return Artifact(artifact.id, artifact.type, _moved(artifact.uri, root), properties)


def _moved(uri: str, root: Path) -> str:
    """The current path of an artifact.

    In a copied root the store has paths of the original root. The files of the copy are used, even
    if the original still exists.
    """
    _, folder, rest = uri.rpartition('/artifacts/')
    own = str(RunRoot(root).artifacts / rest)
    if storage.is_remote(uri) or not folder or (os.path.exists(uri) and not os.path.exists(own)):
        return uri
    return own


def _values(properties) -> dict[str, Any]:
    return {
        name: getattr(value, value.WhichOneof('value'))
        for name, value in properties.items()
        if value.WhichOneof('value')
    }


def _time(milliseconds: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(milliseconds / 1000)
