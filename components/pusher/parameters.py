"""What Pusher is told: where to push, and what goes into the manifest beside the model. No
TensorFlow or TFX here.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class PushParameters(BaseModel):
    """The exec property `push` of Pusher, as JSON.

    Attributes:
      target: the directory that TF Serving watches: a local path or an object-store URI.
      candidate_key: digest of everything that determines the candidate.
      push_nonce: changes when a push is wanted although nothing else changed; see
        `target.plan_push`.
      baseline_version: the version that the candidate was compared with; '' for none.
      pipeline_name: stands in the manifest.
      config: the run's configuration, for the manifest.
      keep_versions: how many versions stay; older ones are deleted after a push. At least 2: the
        new one and the one to go back to. None keeps all.
    """

    model_config = ConfigDict(extra='forbid', frozen=True)

    target: str = Field(min_length=1)
    candidate_key: str = Field(min_length=1)
    push_nonce: str = Field(pattern=r'^[A-Za-z0-9_-]{1,64}$')
    baseline_version: str = Field(default='', pattern=r'^\d*$')
    pipeline_name: str = Field(min_length=1)
    config: dict[str, Any] = Field(default_factory=dict)
    keep_versions: int | None = Field(default=None, ge=2)
