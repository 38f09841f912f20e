"""Has a model server load a version, and waits until it can answer."""

from __future__ import annotations

import time
from typing import Any

from serving.api.client import ModelServer, ModelServerError, VersionStatus
from serving.releases import ReleaseError

_POLL_S = 0.2


def load(server: ModelServer, model: str, version: int, config: Any, timeout_s: float) -> None:
    """Returns when a version is available.

    Args:
      server: the model server.
      model: its name there.
      version: to load.
      config: the ModelServerConfig message that serves it.
      timeout_s: seconds that it may take.

    Raises:
      ReleaseError: it cannot be loaded.
      ModelServerError: the server does not answer.
    """
    # TF Serving shows the error of an earlier attempt until it begins the next one.
    earlier = _status(server, model, version)
    server.reload(config)
    deadline = time.monotonic() + timeout_s
    while True:
        status = _status(server, model, version)
        if status and status.state == 'AVAILABLE':
            return
        if status != earlier:
            earlier = None
        failed = status and status.error and not earlier
        if failed or time.monotonic() > deadline:
            reason = status.error if status and status.error else 'it took too long'
            raise ReleaseError(f'version {version} cannot be loaded: {reason}')
        time.sleep(_POLL_S)


def _status(server: ModelServer, model: str, version: int) -> VersionStatus | None:
    """The state of a version; None if the server does not know it."""
    try:
        statuses = server.versions(model)
    except ModelServerError as error:
        if not error.is_missing:
            raise
        return None
    return next((status for status in statuses if status.version == version), None)
