"""The `kubeflow` part of a configuration: how steps run on a cluster.

Does not import TFX.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from trainer.strict_parameters import StrictParameters


class Toleration(StrictParameters):
    """A taint that a pod tolerates, in Kubernetes' terms."""

    key: str | None = None
    """Key of the taint; null matches all keys."""
    operator: Literal['Exists', 'Equal'] = 'Exists'
    """Whether the taint's value has to equal `value` (`Equal`) or can be any value (`Exists`)."""
    value: str | None = None
    """Value of the taint, for `operator: Equal`."""
    effect: Literal['NoSchedule', 'PreferNoSchedule', 'NoExecute'] | None = None
    """Effect of the taint; null matches all effects."""


class StepResources(StrictParameters):
    """What the pod of a step requests, and on which nodes it can run."""

    cpu: float = Field(2, gt=0)
    """CPU cores of the pod, both requested and limit."""
    memory_gb: float = Field(8, gt=0)
    """Memory of the pod in GB, both requested and limit."""
    accelerator: str | None = None
    """Kubernetes resource of a GPU, e.g. `nvidia.com/gpu`; null requests none."""
    accelerators: int = Field(1, ge=1)
    """Number of GPUs, where `accelerator` is set."""
    node_selector: dict[str, str] = Field(default_factory=dict)
    """Labels that the node must have, e.g. {cloud.google.com/gke-accelerator: nvidia-l4}."""
    tolerations: tuple[Toleration, ...] = ()
    """Taints of nodes that the pod tolerates."""
    spot: bool = False
    """Whether the pod runs on GKE's spot nodes, at a fraction of the price. A step whose node shuts
    down fails: Kubeflow Pipelines 2.15 and 2.16 retry it, a stock 2.17 does not (docs/kubeflow.md,
    "Retries"). With a gs:// root, the next training continues after the last epoch."""


class Secret(StrictParameters):
    """A Kubernetes secret that every step receives, as environment variables or as files."""

    name: str = Field(min_length=1)
    """Name of the secret."""
    env: dict[str, str] = Field(default_factory=dict)
    """Environment variable for each key of the secret (key -> variable)."""
    mount: str | None = Field(None, pattern='^/.')
    """Folder in which all keys appear as files; null mounts none."""


class Volume(StrictParameters):
    """A persistent volume claim of the namespace that every step mounts."""

    claim: str = Field(min_length=1)
    """Name of the persistent volume claim."""
    mount: str = Field(pattern='^/.')
    """Folder at which the volume is mounted."""


class Retries(StrictParameters):
    """How often a failed step is retried."""

    count: int = Field(2, ge=0, le=10)
    """Most retries of a failed step, on Kubeflow Pipelines 2.15 and 2.16. A stock 2.17 never
    retries (docs/kubeflow.md, "Retries")."""
    wait_s: int = Field(60, ge=1)
    """Seconds before the first retry."""
    factor: int = Field(2, ge=1)
    """Factor by which the wait grows with each retry. Argo reads whole numbers only."""
    give_up_after_s: int = Field(7 * 24 * 3600, ge=1)
    """Seconds after the start of the first attempt from which on no retry starts, however many are
    left; a training that loses its node later than that is lost."""


class KubeflowParameters(StrictParameters):
    """The cluster: images, resources, secrets and volumes of the steps."""

    image: str | None = None
    """Container image of every step (`--image`)."""
    gpu_image: str | None = None
    """Container image of the Trainer and the Tuner where they request a GPU; null uses `image`."""
    default: StepResources = StepResources()
    steps: dict[str, StepResources] = Field(default_factory=dict)
    """Resources of single steps, by the step's name and with the keys of `default`. Steps that are
    not listed use `default`."""
    secrets: tuple[Secret, ...] = ()
    """Kubernetes secrets that every step receives."""
    volumes: tuple[Volume, ...] = ()
    """Volumes that every step mounts, for data, weights or the push directory."""
    retries: Retries = Retries()
    service_account: str | None = Field(
        None, pattern=r'^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$', max_length=253
    )
    """Kubernetes service account of every pod. Null leaves the choice to the server:
    `pipeline-runner`, or `default-editor` where Kubeflow serves several users. `submit` sends it
    with the run, so a change needs no new specification."""

    @field_validator('image', 'gpu_image')
    @classmethod
    def _image_name(cls, value: str | None) -> str | None:
        if value is not None and (not value or value != value.strip() or ' ' in value):
            raise ValueError(f'{value!r} is not the name of an image')
        return value

    def of(self, step: str) -> StepResources:
        """The resources of a step."""
        return self.steps.get(step, self.default)
