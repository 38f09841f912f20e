"""Which model a blessing is about: digests of its files, as custom properties of the blessing.

They stand in the metadata store and not in the artifact's folder, so that what is copied over a
model does not bring its own.
"""

from __future__ import annotations

from tfx import types
from tfx.utils import path_utils

from components.pusher import target

# Of the Trainer's model, in both blessings; of the copy with a warm-up file, in ServingCheck's.
MODEL = 'model_digest'
STAMPED = 'stamped_model_digest'


def model_digest(model: types.Artifact) -> str:
    """The digest of a Model artifact's SavedModel (`target.model_digest`)."""
    path = path_utils.serving_model_path(model.uri, path_utils.is_old_model_artifact(model))
    return target.model_digest(target.digests(path))
