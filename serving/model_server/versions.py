"""The versions of one served model: which are loaded, which are not, and why."""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from components.serving_check import warmup
from components.serving_check.session_model import SessionModel
from serving.api import messages
from serving.model_server.batching import Batcher

_log = logging.getLogger(__name__)
# As TF Serving: a version that cannot be loaded is tried again so often.
_MAX_LOADS = 5
_RETRY_S = 5.0


class LoadedVersion:
    """A version that answers requests.

    Raises what the session loader raises.
    """

    def __init__(self, path: Path, max_batch: int):
        self._model = SessionModel(str(path))
        self.signatures = self._model.signatures
        self._batchers = {
            name: Batcher(functools.partial(self._model.run, name), max_batch)
            for name in self.signatures
        }
        if Path(warmup.path_in(str(path))).exists():
            for name, inputs in warmup.read(str(path)):
                self._model.run(name, inputs)

    def submit(self, signature: str, inputs: Mapping[str, np.ndarray]) -> Future:
        """The outputs of a signature by name, in time."""
        return self._batchers[signature].submit(inputs)

    def close(self) -> None:
        """Ends its threads; requests that were accepted are answered."""
        for batcher in self._batchers.values():
            batcher.close()


@dataclass
class VersionState:
    """Where a version is in its life."""

    state: int = messages.START
    error: str = ''
    loads: int = 0
    last_load: float = 0.0
    loaded: LoadedVersion | None = None


class ModelVersions:
    """Loads and unloads the versions of a model as its folder and its configuration change.

    Args:
      config: a ModelConfig message: name, base path, version policy.
      load: reads one version; the tests pass their own.
    """

    def __init__(self, config: Any, load: Callable[[Path], LoadedVersion]):
        self.name, self.base_path = config.name, Path(config.base_path)
        self.config = config
        self._load = load
        self._states: dict[int, VersionState] = {}
        self._lock = threading.Lock()

    def states(self) -> dict[int, VersionState]:
        """Version -> state."""
        with self._lock:
            return dict(self._states)

    def available(self) -> dict[int, LoadedVersion]:
        """Version -> the version, of those that answer."""
        return {
            number: state.loaded
            for number, state in self.states().items()
            if state.loaded is not None
        }

    def refresh(self) -> None:
        """Loads what is missing, then unloads what is not served any more."""
        self.load()
        self.unload()

    def load(self, config: Any = None) -> None:
        """Loads the versions of the configuration that are missing."""
        if config is not None:
            self.config = config
        for number in self._served_numbers():
            self._try_load(number)

    def unload(self) -> None:
        """Unloads what the configuration does not name, once a version that it names answers."""
        served = self._served_numbers()
        if any(number in self.available() for number in served):
            for number in self.states().keys() - served:
                self._unload(number)

    def close(self) -> None:
        """Unloads everything."""
        for number in list(self.states()):
            self._unload(number)

    def _served_numbers(self) -> set[int]:
        on_disk = sorted(
            int(path.name)
            for path in self.base_path.glob('[0-9]*')
            if path.name.isdigit() and path.is_dir()
        )
        policy = self.config.model_version_policy
        if policy.HasField('all'):
            return set(on_disk)
        if policy.HasField('specific'):
            return set(policy.specific.versions)
        count = policy.latest.num_versions if policy.HasField('latest') else 1
        return set(on_disk[-(count or 1) :])

    def _try_load(self, number: int) -> None:
        state = self._state(number)
        if state.loaded is not None or state.loads >= _MAX_LOADS:
            return
        if state.loads and time.monotonic() - state.last_load < _RETRY_S:
            return
        state.state, state.loads, state.last_load = (
            messages.LOADING,
            state.loads + 1,
            time.monotonic(),
        )
        path = self.base_path / str(number)
        try:
            if not path.is_dir():
                raise FileNotFoundError(f'{path}: no such version')
            state.loaded = self._load(path)
        except (tf.errors.OpError, OSError, RuntimeError, ValueError) as error:
            state.state, state.error = messages.END, str(error).strip().splitlines()[0]
            _log.error('%s: version %d cannot be loaded: %s', self.name, number, state.error)
        else:
            state.state, state.error = messages.AVAILABLE, ''
            _log.info('%s: version %d is available', self.name, number)

    def _unload(self, number: int) -> None:
        with self._lock:
            state = self._states.pop(number)
        if state.loaded is not None:
            state.loaded.close()
            _log.info('%s: version %d is unloaded', self.name, number)

    def _state(self, number: int) -> VersionState:
        with self._lock:
            return self._states.setdefault(number, VersionState())
