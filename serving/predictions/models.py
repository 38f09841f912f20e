"""What scores the images: a pushed version, loaded in this process, or a model server."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from components.pusher import target as push_target
from schemas.signatures import Signature
from serving import served_versions
from serving.api.client import ModelServer, ModelServerError

# Between the tries of a request while the server does not answer.
_PAUSES_S = (1.0, 4.0, 15.0)


class ModelError(RuntimeError):
    """There is no model that can score; the text says why and what to do."""


class RefusedError(ValueError):
    """The model refuses a batch, perhaps because of one image; the text says why."""


class Model(Protocol):
    """A model that scores images.

    Attributes:
      version: its number on the server, or the name of its folder.
      source: where it is.
      threshold: its operating point, a probability; None if that is not on record.
    """

    version: str
    source: str
    threshold: float | None

    def run(self, signature: Signature, images: Sequence[bytes]) -> dict[str, np.ndarray]:
        """Output -> values [batch, …] for PNG or JPEG images.

        Raises:
          RefusedError: the model refuses the batch.
          ModelError: it does not answer.
        """


def newest_folder(target: str) -> Path:
    """The folder of the newest version in a push directory.

    Raises:
      ModelError: there is none, or it is damaged.
    """
    try:
        version = push_target.newest(target)
    except push_target.TargetError as error:
        raise ModelError(str(error)) from None
    if version is None:
        raise ModelError(f'{target}: no version was pushed. `cxr-triage run` pushes one')
    if problems := push_target.incomplete(version):
        raise ModelError(f'{version.path} is damaged: {"; ".join(problems)}')
    return Path(version.path)


class LoadedModel:
    """A version in a folder, loaded as TF Serving and the Evaluator load it.

    Raises:
      ModelError: the folder has no model, or TensorFlow cannot load it.
    """

    def __init__(self, folder: Path):
        if not (folder / push_target.SAVED_MODEL).is_file():
            raise ModelError(
                f'{folder}: there is no {push_target.SAVED_MODEL}: expected the folder of a pushed '
                'version, such as runs/demo/serving/1700000000'
            )
        # TensorFlow takes seconds to import, and a model server needs none.
        import tensorflow as tf

        from components.serving_check.session_model import SessionModel

        self._errors = (tf.errors.OpError, ValueError)
        self.version, self.source = folder.name, str(folder)
        self.threshold = served_versions.read(str(folder), 0).threshold
        try:
            self._model = SessionModel(str(folder))
        except (tf.errors.OpError, OSError, RuntimeError) as error:
            raise ModelError(f'{folder}: TensorFlow cannot load it: {_first_line(error)}') from None

    def run(self, signature: Signature, images: Sequence[bytes]) -> dict[str, np.ndarray]:
        """See `Model`."""
        if signature.name not in self._model.signatures:
            raise RefusedError(f'the model has no signature {signature.name!r}')
        try:
            return self._model.run(signature.name, {signature.input: images})
        except self._errors as error:
            raise RefusedError(_first_line(error)) from None


class RemoteModel:
    """The newest version that a model server has at this moment.

    Args:
      server: the model server.
      name: of the model there.

    Raises:
      ModelError: the server does not answer, or serves no version of the model.
    """

    threshold: float | None = None

    def __init__(self, server: ModelServer, name: str):
        self._server, self._name = server, name
        try:
            statuses = server.versions(name)
        except ModelServerError as error:
            raise ModelError(f'the model server does not answer for {name!r}: {error}') from None
        available = [status.version for status in statuses if status.state == 'AVAILABLE']
        if not available:
            raise ModelError(f'{server.address} serves no version of {name!r} at the moment')
        # The same for all images, even if another is released meanwhile.
        self._version = max(available)
        self.version, self.source = str(self._version), f'grpc://{server.address}'

    def run(self, signature: Signature, images: Sequence[bytes]) -> dict[str, np.ndarray]:
        """See `Model`. It waits for a server that does not answer at once."""
        for pause in (*_PAUSES_S, None):
            try:
                return self._server.predict(
                    self._name, signature.name, {signature.input: images}, version=self._version
                ).outputs
            except ModelServerError as error:
                if error.is_missing:
                    raise ModelError(f'version {self.version} is gone: {error}') from None
                if not error.is_temporary:
                    raise RefusedError(str(error)) from None
                if pause is None:
                    raise ModelError(f'the model server does not answer: {error}') from None
                time.sleep(pause)
        raise AssertionError


def _first_line(error: Exception) -> str:
    return str(error).strip().partition('\n')[0]
