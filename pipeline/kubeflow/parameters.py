"""How steps run on a cluster: the `kubeflow` part of a configuration. No TFX here."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator


class _Strict(BaseModel):
    model_config = ConfigDict(extra='forbid', frozen=True, allow_inf_nan=False)


class Toleration(_Strict):
    """A taint that a pod may stand beside, in Kubernetes' terms."""

    key: str | None = None
    operator: Literal['Exists', 'Equal'] = 'Exists'
    value: str | None = None
    effect: Literal['NoSchedule', 'PreferNoSchedule', 'NoExecute'] | None = None


class StepResources(_Strict):
    """What the pod of a step asks for, and where it may run.

    Attributes:
      cpu: cores, requested and at most.
      memory_gb: GB of memory, requested and at most.
      accelerator: the resource that stands for a GPU, e.g. `nvidia.com/gpu`; null for a step on
        CPUs alone.
      accelerators: how many of it.
      node_selector: labels that the node has to have, e.g. {cloud.google.com/gke-accelerator:
        nvidia-l4}.
      tolerations: taints that the pod may stand beside.
      spot: on GKE's spot nodes, at a fraction of the price. A step whose node shuts down fails:
        Kubeflow Pipelines 2.15 and 2.16 try it again, a stock 2.17 does not (docs/kubeflow.md,
        "Retries"). With a gs:// root the next training goes on from the last epoch.
    """

    cpu: float = Field(2, gt=0)
    memory_gb: float = Field(8, gt=0)
    accelerator: str | None = None
    accelerators: int = Field(1, ge=1)
    node_selector: dict[str, str] = Field(default_factory=dict)
    tolerations: tuple[Toleration, ...] = ()
    spot: bool = False


class Secret(_Strict):
    """A Kubernetes secret that every step gets: keys as environment variables, or all of it as
    files.

    Attributes:
      name: of the secret.
      env: key of the secret -> environment variable.
      mount: folder for its keys as files; null for none.
    """

    name: str = Field(min_length=1)
    env: dict[str, str] = Field(default_factory=dict)
    mount: str | None = Field(None, pattern='^/.')


class Volume(_Strict):
    """A persistent volume claim of the namespace that every step mounts: its name, and the folder
    that it becomes.
    """

    claim: str = Field(min_length=1)
    mount: str = Field(pattern='^/.')


class Retries(_Strict):
    """How often a failed step is tried again.

    Attributes:
      count: times, on Kubeflow Pipelines 2.15 and 2.16. A stock 2.17 tries no failed step again
        (docs/kubeflow.md, "Retries").
      wait_s: seconds before the first.
      factor: by which the wait grows each time; a whole number, Argo reads no other.
      give_up_after_s: seconds from the start of the first attempt after which no other is made,
        however many are left; a training that loses its node later than that is lost.
    """

    count: int = Field(2, ge=0, le=10)
    wait_s: int = Field(60, ge=1)
    factor: int = Field(2, ge=1)
    give_up_after_s: int = Field(7 * 24 * 3600, ge=1)


class KubeflowParameters(_Strict):
    """The cluster.

    Attributes:
      image: of every step (`--image`).
      gpu_image: of the Trainer and the Tuner where they ask for an accelerator; null: `image`.
      steps: what a step asks for, by its name, with the keys of `default`; the others ask for
        `default`.
      secrets: that every step gets, each with `name`, and `env` (key of the secret -> environment
        variable) or `mount` (a folder).
      volumes: that every step mounts, each with `claim` and `mount`, for data, weights or the push
        target.
      service_account: the Kubernetes service account that every pod acts as; null: the server's
        choice, `pipeline-runner` (`default-editor` where Kubeflow serves several users). `submit`
        sends it with the run, so that a change needs no new specification.
    """

    image: str | None = None
    gpu_image: str | None = None
    default: StepResources = StepResources()
    steps: dict[str, StepResources] = Field(default_factory=dict)
    secrets: tuple[Secret, ...] = ()
    volumes: tuple[Volume, ...] = ()
    retries: Retries = Retries()
    service_account: str | None = Field(
        None, pattern=r'^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$', max_length=253
    )

    @field_validator('image', 'gpu_image')
    @classmethod
    def _an_image(cls, value: str | None) -> str | None:
        if value is not None and (not value or value != value.strip() or ' ' in value):
            raise ValueError(f'{value!r} is no name of an image')
        return value

    def of(self, step: str) -> StepResources:
        """What a step asks for."""
        return self.steps.get(step, self.default)
