"""The models of a server, as its configuration names them."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from serving.api.methods import UNKNOWN_LABEL
from serving.model_server.versions import LoadedVersion, ModelVersions


class NotServedError(LookupError):
    """No such model or version is served; the text says which are."""


class UnknownLabelError(LookupError):
    """No version has this label; the text says which labels there are."""


class ConfigurationError(ValueError):
    """A configuration that cannot be served; the text says why. The earlier one stays."""


class Models:
    """The served models.

    Args:
      config: a ModelServerConfig message.
      load: reads one version.
      poll_s: seconds between two looks at the folders.

    Raises:
      ConfigurationError: see `reload`.
    """

    def __init__(self, config: Any, load: Callable[[Path], LoadedVersion], poll_s: float = 1.0):
        self._load, self._poll_s = load, poll_s
        self._models: dict[str, ModelVersions] = {}
        self._labels: dict[str, dict[str, int]] = {}
        self._changing = threading.Lock()
        self._closed = threading.Event()
        self.reload(config)
        self._thread = threading.Thread(target=self._poll, daemon=True)
        self._thread.start()

    def reload(self, config: Any) -> None:
        """Serves what `config` says, and returns when its versions are loaded.

        Raises:
          ConfigurationError: a model has no name or folder, or a label names a version that is not
            available.
        """
        entries = _checked(config)
        with self._changing:
            earlier = {name: model.config for name, model in self._models.items()}
            for name, entry in entries.items():
                model = self._models.get(name)
                if model is None or str(model.base_path) != entry.base_path:
                    self._models[name] = model = ModelVersions(entry, self._load)
                model.load(entry)
            try:
                for name, entry in entries.items():
                    _check_labels(self._models[name], entry)
            except ConfigurationError:
                for name, entry in earlier.items():
                    self._models[name].load(entry)
                    self._models[name].unload()
                raise
            for name in self._models.keys() - entries.keys():
                self._models.pop(name).close()
            # Before old versions are unloaded: a label must always lead to one that answers.
            self._labels = {name: dict(entry.version_labels) for name, entry in entries.items()}
            for name in entries:
                self._models[name].unload()

    def model(self, name: str) -> ModelVersions:
        """A model by name.

        Raises:
          NotServedError: there is none.
        """
        try:
            return self._models[name]
        except KeyError:
            names = ', '.join(sorted(self._models)) or 'none'
            raise NotServedError(f'no model {name!r} is served; there are: {names}') from None

    def version(self, spec: Any) -> tuple[int, LoadedVersion]:
        """The version that a ModelSpec message means: by number, by label, or the newest.

        Raises:
          NotServedError: it is not available.
          UnknownLabelError: no version has the label.
        """
        model = self.model(spec.name)
        available = model.available()
        if spec.HasField('version'):
            number = spec.version.value
        elif spec.version_label:
            labels = self._labels.get(spec.name, {})
            if spec.version_label not in labels:
                raise UnknownLabelError(
                    f'{UNKNOWN_LABEL}: {spec.version_label}; {spec.name} has: '
                    f'{", ".join(sorted(labels)) or "none"}'
                )
            number = labels[spec.version_label]
        else:
            number = max(available, default=0)
        if number not in available:
            versions = ', '.join(str(version) for version in sorted(available)) or 'none'
            raise NotServedError(
                f'{spec.name} has no available version {number or ""}'.rstrip()
                + f'; available: {versions}'
            )
        return number, available[number]

    def close(self) -> None:
        """Unloads everything."""
        self._closed.set()
        self._thread.join()
        for model in self._models.values():
            model.close()

    def _poll(self) -> None:
        while not self._closed.wait(self._poll_s):
            with self._changing, contextlib.suppress(OSError):
                for model in self._models.values():
                    model.refresh()


def _checked(config: Any) -> dict[str, Any]:
    entries = {entry.name: entry for entry in config.model_config_list.config}
    if len(entries) != len(config.model_config_list.config):
        raise ConfigurationError('two models have the same name')
    if not entries:
        raise ConfigurationError('it names no model')
    for name, entry in entries.items():
        if not name:
            raise ConfigurationError('a model has no name')
        if not Path(entry.base_path).is_dir():
            raise ConfigurationError(f'{name}: base_path {entry.base_path!r} is not a folder')
    return entries


def _check_labels(model: ModelVersions, entry: Any) -> None:
    available = model.available()
    for label, number in entry.version_labels.items():
        if number not in available:
            state = model.states().get(number)
            reason = f': {state.error}' if state and state.error else ''
            raise ConfigurationError(
                f'{model.name}: label {label!r} names version {number}, which is not available'
                f'{reason}'
            )
