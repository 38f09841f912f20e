"""What Kubeflow keeps of runs in ML Metadata, as far as later steps and later runs see it; in a
file of JSON.
"""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

COMPLETE, CACHED, FAILED = 'COMPLETE', 'CACHED', 'FAILED'


class MetadataError(Exception):
    """What cannot be kept."""


@dataclasses.dataclass(frozen=True)
class Artifact:
    """An artifact that a step published.

    Attributes:
      number: its id, which later steps see as its name.
      uri: in the object store.
      properties: all are custom properties, of the types that ML Metadata has.
    """

    number: int
    uri: str
    properties: dict[str, Any]

    def runtime(self) -> dict[str, Any]:
        """The artifact as an input: its id for a name, and no type (v2/metadata/converter.go:181,
        v2/metadata/client.go:1144).
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
      run: the run that it belongs to.
      task: the step.
      state: COMPLETE, CACHED or FAILED.
      pipeline: name of the pipeline, within which the cache is looked up.
      fingerprint: the cache's key; '' where the step does not use the cache.
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
        self._artifacts = [Artifact(**each) for each in content['artifacts']]
        self._executions = [Execution(**each) for each in content['executions']]

    def record(self, key: str, uri: str, given: dict[str, Any], session: str) -> Artifact:
        """Keeps a new artifact of an output (v2/metadata/client.go:1214).

        Args:
          key: of the output; what the artifact is displayed as unless it says otherwise.
          uri: in the object store.
          given: its metadata, as the step reported them.
          session: how to reach the store, as JSON.
        """
        properties = {name: property_of(name, value) for name, value in given.items()}
        properties.setdefault('display_name', key)
        properties.setdefault('store_session_info', session)
        artifact = Artifact(len(self._artifacts) + 1, uri, properties)
        self._artifacts.append(artifact)
        self._save()
        return artifact

    def publish(self, execution: Execution) -> None:
        """Keeps an execution that is over."""
        self._executions.append(execution)
        self._save()

    def outputs(self, execution: Execution) -> dict[str, Artifact]:
        """Output -> artifact."""
        return {key: self._artifacts[number - 1] for key, number in execution.outputs.items()}

    def cached(self, pipeline: str, fingerprint: str) -> Execution | None:
        """The newest execution that ran with a key of the cache (v2/cacheutils/cache.go,
        GetExecutionCache).
        """
        found = (each for each in reversed(self._executions) if each.state == COMPLETE)
        return next(
            (
                each
                for each in found
                if (each.pipeline, each.fingerprint) == (pipeline, fingerprint)
            ),
            None,
        )

    def executions(self, run: str) -> list[Execution]:
        """The executions of a run, in their order."""
        return [each for each in self._executions if each.run == run]

    def _save(self) -> None:
        content = {
            group: [dataclasses.asdict(each) for each in getattr(self, f'_{group}')]
            for group in ('artifacts', 'executions')
        }
        self._path.parent.mkdir(parents=True, exist_ok=True)
        part = self._path.with_suffix('.part')
        part.write_text(json.dumps(content, indent=1), encoding='utf-8')
        os.replace(part, self._path)


def property_of(name: str, value: Any) -> Any:
    """A value of an artifact's metadata as it comes back from ML Metadata
    (v2/metadata/converter.go:138).

    Raises:
      MetadataError: there is no such property.
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
    raise MetadataError(f'metadata {name!r} is {value!r}: Kubeflow cannot keep that; leave it out')
