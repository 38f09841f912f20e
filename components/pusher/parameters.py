"""Parameters of Pusher: the target, and values for the manifest. No TensorFlow or TFX here."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from trainer.strict_parameters import StrictParameters


class PushParameters(StrictParameters):
    """Where to push, and what the manifest records; the parameter `push` of Pusher, as JSON."""

    target: str = Field(min_length=1)
    """The directory that TF Serving watches: a local path or an object-store URI."""
    candidate_key: str = Field(min_length=1)
    """Digest of everything that determines the candidate."""
    push_nonce: str = Field(pattern=r'^[A-Za-z0-9_-]{1,64}$')
    """A text that changes when a push is needed although nothing else changed; see
    `target.plan_push`."""
    baseline_version: str = Field(default='', pattern=r'^\d*$')
    """The served version that the candidate was compared with; '' for none."""
    pipeline_name: str = Field(min_length=1)
    """Name of the pipeline, for the manifest."""
    config: dict[str, Any] = Field(default_factory=dict)
    """The run's configuration, for the manifest."""
    keep_versions: int | None = Field(default=None, ge=2)
    """Versions that remain after a push; older ones are deleted. At least 2: the new one and the
    one to return to. None keeps all."""
