"""What ServingCheck can be told: part of the pipeline's configuration. No TensorFlow or TFX
here.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class ServingCheckParameters(BaseModel):
    """Limits and sizes of the serving check.

    Attributes:
      model_name: the name under which TF Serving serves the model; stands in the warm-up requests.
      samples: how many images the served answers are compared with the trainer's on.
      probability_tolerance: how far a served probability may lie from the trainer's, absolute.
        Raise it (1e-3) where the trainer ran on a GPU or in mixed precision: the check runs on the
        CPU.
      latency_requests: how many requests of one image are timed; 0 leaves latency and throughput
        out.
      throughput_batch: images a request for the throughput figure.
      throughput_requests: how many such requests are timed.
      warmup_batches: images a request of the warm-up file, for each signature that takes images.
      timeout_s: seconds after which a model that has not answered everything counts as not
        servable.
      memory_gb: resident memory, GiB, above which it counts as not servable.
    """

    model_config = ConfigDict(extra='forbid', frozen=True, protected_namespaces=())

    model_name: str = Field(default='cxr_triage', pattern=r'^[A-Za-z0-9_-]+$')
    samples: int = Field(default=16, ge=1, le=1_000)
    probability_tolerance: float = Field(default=1e-5, gt=0, le=0.05)
    latency_requests: int = Field(default=48, ge=0, le=10_000)
    throughput_batch: int = Field(default=16, ge=1, le=512)
    throughput_requests: int = Field(default=4, ge=1, le=1_000)
    warmup_batches: tuple[Annotated[int, Field(ge=1, le=512)], ...] = Field(
        default=(1, 8), min_length=1, max_length=8
    )
    timeout_s: float = Field(default=600.0, gt=0, le=7_200)
    memory_gb: float = Field(default=8.0, gt=0, le=1_024)
