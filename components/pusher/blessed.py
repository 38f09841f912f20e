"""Digests that tie a blessing to the files of a model, as custom properties of the blessing.

They are in the metadata store and not in the artifact's folder, so that files copied over a model
cannot replace them.
"""

from __future__ import annotations

from tfx import types
from tfx.utils import path_utils

from components.pusher import target

# MODEL is of the Trainer's model and in both blessings. STAMPED is of the copy with a warm-up file
# and only in ServingCheck's.
MODEL = 'model_digest'
STAMPED = 'stamped_model_digest'


def model_digest(model: types.Artifact) -> str:
    """The digest of the SavedModel in a Model artifact, see `target.model_digest`."""
    path = path_utils.serving_model_path(model.uri, path_utils.is_old_model_artifact(model))
    return target.model_digest(target.digests(path))
