"""Which versions of a model are served, under which labels, and who released them."""

from __future__ import annotations

from pathlib import Path

from components.pusher import target as push_target
from serving.releases import config_file


class ReleaseError(RuntimeError):
    """A version that cannot be served or released; the text says why."""


def ensure_config(target: str, model: str) -> Path:
    """The model config file of a push directory; written if there is none.

    The new file serves the newest version under the label `stable`.

    Raises:
      ReleaseError: there is no version to serve, or the file cannot be read.
    """
    path = Path(target) / config_file.NAME
    if path.exists():
        try:
            config_file.read(path)
        except config_file.ConfigFileError as error:
            raise ReleaseError(str(error)) from None
        return path
    versions = push_target.versions(target)
    if not versions:
        raise ReleaseError(
            f'{target}: no version was pushed there; run the pipeline first, e.g. `make demo`'
        )
    newest = int(versions[-1].version)
    config_file.write(path, config_file.build(model, target, {'stable': newest}))
    return path
