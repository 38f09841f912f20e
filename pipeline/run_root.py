"""The layout of a run root, the folder with everything about the runs of a pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Generic, TypeVar, cast

import storage

# A folder of this machine, or a path that may also be an object-store URI.
_Place = TypeVar('_Place', str, Path)

STORE_FILE = 'metadata.sqlite'


class RunRoot(Generic[_Place]):
    """The paths under a run root, of the type that it is created with.

    Example:
        >>> RunRoot('gs://bucket/runs').artifacts
        'gs://bucket/runs/artifacts'
    """

    def __init__(self, path: _Place):
        self.path: _Place = path

    @property
    def artifacts(self) -> _Place:
        """The outputs of all steps, as STEP/KEY/NUMBER."""
        return self._join('artifacts')

    @property
    def store(self) -> _Place:
        """The file of the metadata store."""
        return self._join(STORE_FILE)

    @property
    def backups(self) -> _Place:
        """Copies of the metadata store."""
        return self._join('metadata-backups')

    @property
    def logs(self) -> _Place:
        """The log of each run."""
        return self._join('logs')

    @property
    def records(self) -> _Place:
        """The record of each run."""
        return self._join('runs')

    @property
    def pages(self) -> _Place:
        """The pages about all runs."""
        return self._join('pages')

    @property
    def pictures(self) -> _Place:
        """The plots of each run."""
        return self._join('pictures')

    @property
    def serving(self) -> _Place:
        """The default push directory, from which TF Serving loads versions."""
        return self._join('serving')

    @property
    def checkpoints(self) -> _Place:
        """The checkpoints of unfinished trainings, for the next attempt."""
        return self._join('checkpoints')

    @property
    def lock(self) -> _Place:
        """The file that a run locks while it uses the root."""
        return self._join('.lock')

    @property
    def lock_owner(self) -> _Place:
        """The file with the process that has the lock."""
        return self._join('.lock-owner')

    def _join(self, name: str) -> _Place:
        if isinstance(self.path, Path):
            return cast('_Place', self.path / name)
        return cast('_Place', storage.join(str(self.path), name))
