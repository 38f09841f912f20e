"""What Kubeflow stores in ML Metadata and later steps and runs see, in a JSON file."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

COMPLETE, CACHED, FAILED = 'COMPLETE', 'CACHED', 'FAILED'


class MetadataError(Exception):
    """ML Metadata cannot store a value."""


@dataclasses.dataclass(frozen=True)
class Artifact:
    """An artifact that a step published.

    Attributes:
      number: its id, which later steps see as its name.
      uri: in the object store.
      properties: its custom properties, of types that ML Metadata has.
    """

    number: int
    uri: str
    properties: dict[str, Any]

    def runtime(self) -> dict[str, Any]:
        """The artifact as an input: named by its id, without a type.

        v2/metadata/converter.go:181, v2/metadata/client.go:1144
        """
        return {
            'name': str(self.number),
            'uri': self.uri,
            'type': {'instanceSchema': ''},
            'metadata': dict(self.properties),
        }


@dataclasses.dataclass(frozen=True)
class Execution:
    """An execution of a step.

    Attributes:
      run: the id of its run.
      task: the step.
      state: COMPLETE, CACHED or FAILED.
      pipeline: the name of the pipeline; each has its own cache.
      fingerprint: the key of the cache; '' for a step that does not use the cache.
      outputs: output -> number of the artifact.
    """

    run: str
    task: str
    state: str
    pipeline: str
    fingerprint: str
    outputs: dict[str, int]


class Metadata:
    """Artifacts and executions of all runs."""

    def __init__(self, path: Path):
        self._path = path
        content = (
            json.loads(path.read_text(encoding='utf-8'))
            if path.exists()
            else {'artifacts': [], 'executions': []}
        )
        self._artifacts = [Artifact(**fields) for fields in content['artifacts']]
        self._executions = [Execution(**fields) for fields in content['executions']]

    def record(self, key: str, uri: str, metadata: dict[str, Any], session: str) -> Artifact:
        """Stores a new artifact of an output (v2/metadata/client.go:1214).

        Args:
          key: of the output; also the display name, unless the metadata has one.
          uri: in the object store.
          metadata: as the step reported it.
          session: how to reach the store, as JSON.
        """
        properties = {name: property_of(name, value) for name, value in metadata.items()}
        properties.setdefault('display_name', key)
        properties.setdefault('store_session_info', session)
        artifact = Artifact(len(self._artifacts) + 1, uri, properties)
        self._artifacts.append(artifact)
        self._save()
        return artifact

    def publish(self, execution: Execution) -> None:
        """Stores a finished execution."""
        self._executions.append(execution)
        self._save()

    def outputs(self, execution: Execution) -> dict[str, Artifact]:
        """Output -> artifact."""
        return {key: self._artifacts[number - 1] for key, number in execution.outputs.items()}

    def cached(self, pipeline: str, fingerprint: str) -> Execution | None:
        """The newest complete execution with this key of the cache.

        v2/cacheutils/cache.go, GetExecutionCache
        """
        key = (COMPLETE, pipeline, fingerprint)
        for execution in reversed(self._executions):
            if (execution.state, execution.pipeline, execution.fingerprint) == key:
                return execution
        return None

    def executions(self, run: str) -> list[Execution]:
        """The executions of a run, in order."""
        return [execution for execution in self._executions if execution.run == run]

    def _save(self) -> None:
        content = {
            group: [dataclasses.asdict(entry) for entry in getattr(self, f'_{group}')]
            for group in ('artifacts', 'executions')
        }
        self._path.parent.mkdir(parents=True, exist_ok=True)
        part = self._path.with_suffix('.part')
        part.write_text(json.dumps(content, indent=1), encoding='utf-8')
        os.replace(part, self._path)


def property_of(name: str, value: Any) -> Any:
    """A value of an artifact's metadata as ML Metadata returns it.

    v2/metadata/converter.go:138

    Raises:
      MetadataError: ML Metadata has no property of this type.
    """
    match value:
        case bool():
            return int(value)
        case str() | int() | float():
            return value
        case list():
            return {'list': value}
        case dict():
            return {'struct': value}
    raise MetadataError(f'metadata {name!r} is {value!r}: Kubeflow cannot store it; leave it out')
