"""Builds a run root without running a step: as much of a run as a test needs."""

from __future__ import annotations

import dataclasses
import datetime
from pathlib import Path
from typing import Any

from ml_metadata import metadata_store
from ml_metadata.proto import metadata_store_pb2 as proto

from pipeline import run_record
from pipeline.run_root import RunRoot

STATES = proto.Execution
PIPELINE = 'synthetic'


class RootBuilder:
    """A run root; tests add runs to it, oldest first."""

    def __init__(self, root: Path):
        root.mkdir(parents=True, exist_ok=True)
        self.root = root
        connection = proto.ConnectionConfig()
        connection.sqlite.filename_uri = str(RunRoot(root).store)
        self._store = metadata_store.MetadataStore(connection)
        self._contexts: dict[tuple[str, str], proto.Context] = {}
        self._types = {
            name: self._store.put_context_type(proto.ContextType(name=name))
            for name in ('pipeline', 'pipeline_run', 'node')
        }

    def begin(self, run: str) -> None:
        """Adds a run with nothing but a name."""
        self._context('pipeline_run', run)

    def record(self, run: str, **values: Any) -> None:
        """Writes the record of a run of this process; `values` replace fields of the record."""
        recorder = run_record.Recorder(str(self.root), run, PIPELINE, str(self._log(run)))
        recorder.record = dataclasses.replace(recorder.record, **values)
        recorder._write()

    def _log(self, run: str) -> Path:
        began = datetime.datetime.fromisoformat(run)
        return RunRoot(self.root).logs / f'{began:%Y%m%d-%H%M%S}.log'

    def step(
        self,
        run: str,
        name: str,
        state: int = STATES.COMPLETE,
        inputs: dict[str, list[int]] | None = None,
        outputs: dict[str, dict[str, Any]] | None = None,
        parameters: dict[str, str] | None = None,
        reused: dict[str, list[int]] | None = None,
    ) -> dict[str, int]:
        """Adds an execution of a step and returns the artifact ids of its outputs by key.

        Args:
          run: the name of the run.
          name: the name of the step.
          state: the state of the execution, one of `STATES`.
          inputs: artifact ids by key.
          outputs: the properties of a new artifact by key; each artifact gets a folder.
          parameters: exec properties.
          reused: artifact ids of an earlier execution by key, for a cached step.
        """
        type_id = self._store.put_execution_type(
            proto.ExecutionType(name=name), can_add_fields=True
        )
        execution = proto.Execution(type_id=type_id, last_known_state=state)
        for key, value in (parameters or {}).items():
            execution.custom_properties[key].string_value = value
        pairs = []
        for ids_by_key, event in ((inputs, proto.Event.INPUT), (reused, proto.Event.OUTPUT)):
            for key, ids in (ids_by_key or {}).items():
                pairs += [
                    (artifact, _event(key, event))
                    for artifact in self._store.get_artifacts_by_id(ids)
                ]
        artifacts = {}
        for key, properties in (outputs or {}).items():
            artifacts[key] = self._artifact(name, key, properties)
            pairs.append((artifacts[key], _event(key, proto.Event.OUTPUT)))
        contexts = [
            self._context('pipeline', PIPELINE),
            self._context('pipeline_run', run),
            self._context('node', f'{PIPELINE}.{name}'),
        ]
        self._store.put_execution(execution, pairs, contexts)
        return {key: artifact.id for key, artifact in artifacts.items()}

    def folder(self, step: str, key: str, number: int) -> Path:
        """The folder of an artifact."""
        return RunRoot(self.root).artifacts / step / key / str(number)

    def _artifact(self, step: str, key: str, properties: dict[str, Any]) -> proto.Artifact:
        type_id = self._store.put_artifact_type(proto.ArtifactType(name=key), can_add_fields=True)
        artifact = proto.Artifact(type_id=type_id)
        for name, value in properties.items():
            if isinstance(value, int):
                artifact.custom_properties[name].int_value = value
            else:
                artifact.custom_properties[name].string_value = value
        (artifact.id,) = self._store.put_artifacts([artifact])
        folder = self.folder(step, key, artifact.id)
        folder.mkdir(parents=True)
        artifact.uri = str(folder)
        self._store.put_artifacts([artifact])
        return artifact

    def _context(self, kind: str, name: str) -> proto.Context:
        if (kind, name) not in self._contexts:
            context = proto.Context(type_id=self._types[kind], name=name)
            (context.id,) = self._store.put_contexts([context])
            self._contexts[kind, name] = context
        return self._contexts[kind, name]


def _event(key: str, kind: int) -> proto.Event:
    event = proto.Event(type=kind)
    event.path.steps.add().key = key
    event.path.steps.add().index = 0
    return event
