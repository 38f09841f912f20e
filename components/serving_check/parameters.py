"""Parameters of ServingCheck: the `serving_check` part of a configuration. No TensorFlow here."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from trainer.strict_parameters import StrictParameters

# The name of the model on the model server, unless it is configured.
MODEL_NAME = 'cxr_triage'


class ServingCheckParameters(StrictParameters):
    """How the exported model is compared with the trainer's, timed and limited."""

    model_name: str = Field(default=MODEL_NAME, pattern=r'^[A-Za-z0-9_-]+$')
    """Name under which TF Serving serves the model; the warm-up requests carry it."""
    samples: int = Field(default=16, ge=1, le=1_000)
    """Images on which the exported model's answers are compared with the trainer's."""
    probability_tolerance: float = Field(default=1e-5, gt=0, le=0.05)
    """Largest absolute difference between the two probabilities of an image. Raise it to 1e-3 where
    the trainer ran on a GPU or in mixed precision: the check runs on the CPU."""
    latency_requests: int = Field(default=48, ge=0, le=10_000)
    """Requests of one image that are timed; 0 skips latency and throughput."""
    throughput_batch: int = Field(default=16, ge=1, le=512)
    """Images per request when throughput is measured."""
    throughput_requests: int = Field(default=4, ge=1, le=1_000)
    """Requests that are timed when throughput is measured."""
    warmup_batches: tuple[Annotated[int, Field(ge=1, le=512)], ...] = Field(
        default=(1, 8), min_length=1, max_length=8
    )
    """Images in each request of the warm-up file, for every signature that takes images."""
    timeout_s: float = Field(default=600.0, gt=0, le=7_200)
    """Seconds after which a model that has not answered all requests counts as not servable."""
    memory_gb: float = Field(default=8.0, gt=0, le=1_024)
    """Resident memory in GiB above which a model counts as not servable."""
