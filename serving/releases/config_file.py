"""TF Serving's model config file: which versions are served, under which labels."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from google.protobuf import text_format

from serving.api import messages


class ConfigFileError(ValueError):
    """A model config file that cannot be read; the text names the file and says why."""


def read(path: Path) -> Any:
    """The ModelServerConfig message of a file.

    Raises:
      ConfigFileError: it cannot be read, or is not a model config file.
    """
    try:
        return parse(path.read_text(encoding='utf-8'))
    except (OSError, UnicodeDecodeError, text_format.ParseError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigFileError(f'{path}: not a model config file of TF Serving: {reason}') from None


def parse(text: str) -> Any:
    """The ModelServerConfig message of a text.

    Raises:
      text_format.ParseError: the text is not one.
    """
    return text_format.Parse(text, messages.ModelServerConfig(), allow_unknown_field=True)


def to_text(config: Any) -> str:
    """The text of a ModelServerConfig message, as TF Serving reads it."""
    return text_format.MessageToString(config)


def write(path: Path, config: Any) -> None:
    """Replaces a file in one step: a reader gets the old configuration or the new one.

    Comments at the head of the old file stay.
    """
    head = ''
    if path.exists():
        for line in path.read_text(encoding='utf-8').splitlines(keepends=True):
            if not line.startswith('#'):
                break
            head += line
    unfinished = path.with_name(f'.{path.name}.new')
    with unfinished.open('w', encoding='utf-8') as stream:
        stream.write(head + to_text(config))
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(unfinished, path)


def build(
    model: str,
    base_path: str,
    labels: Mapping[str, int],
    more: Collection[int] = (),
    others: Collection[Any] = (),
) -> Any:
    """The ModelServerConfig message that serves versions of a model.

    Args:
      model: its name.
      base_path: the push directory as the server sees it.
      labels: label -> version.
      more: versions without a label.
      others: entries of other models, to be served as well.
    """
    config = messages.ModelServerConfig()
    entry = config.model_config_list.config.add(
        name=model, base_path=base_path, model_platform='tensorflow'
    )
    for label, version in labels.items():
        entry.version_labels[label] = version
    entry.model_version_policy.specific.versions.extend(sorted({*labels.values(), *more}))
    config.model_config_list.config.extend(others)
    return config


def labels(config: Any, model: str) -> dict[str, int]:
    """Label -> version of a model in a ModelServerConfig message."""
    entry = _entry(config, model)
    return dict(entry.version_labels) if entry is not None else {}


def models(config: Any) -> list[str]:
    """The names of the models in a ModelServerConfig message."""
    return [entry.name for entry in config.model_config_list.config]


def others(config: Any, model: str) -> list[Any]:
    """The entries of all models but one in a ModelServerConfig message."""
    return [entry for entry in config.model_config_list.config if entry.name != model]


def base_path(config: Any, model: str) -> str:
    """The push directory of a model in a ModelServerConfig message; '' if it is not there."""
    entry = _entry(config, model)
    return entry.base_path if entry is not None else ''


def _entry(config: Any, model: str) -> Any:
    return next((e for e in config.model_config_list.config if e.name == model), None)
