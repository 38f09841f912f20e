"""The `beam` part of a configuration: where the Beam steps run.

Does not import Beam.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from trainer.strict_parameters import StrictParameters

Engine = Literal['direct', 'flink', 'dataflow']
_HOST_AND_PORT = r'^[^\s:/]+:\d+$'


class FlinkParameters(StrictParameters):
    """A Flink cluster, reached through Beam's job server."""

    job_server: str | None = Field(None, pattern=_HOST_AND_PORT)
    """Address of Beam's job server for Flink, as host:port."""
    workers: str = Field('localhost:50000', pattern=_HOST_AND_PORT)
    """Address of a pool of Python workers with this project installed, as host:port. Each task
    manager resolves the name itself. With localhost, each uses the pool beside it. It needs its own
    pool, since all pools number their workers in the same way."""
    parallelism: int | None = Field(None, ge=1)
    """Slots that a step uses; null uses the cluster's default."""


class DataflowParameters(StrictParameters):
    """Google's Dataflow."""

    project: str | None = None
    """Google Cloud project that pays for the jobs."""
    region: str | None = None
    """Region of the workers; the region of the bucket is the cheapest."""
    temp: str | None = Field(None, pattern='^gs://.')
    """A gs:// folder for staged files and temporary data."""
    image: str | None = None
    """Container image of the workers: `cxr-triage:beam` in a registry. Jobs must then be submitted
    with the same versions of Beam and Python, from the environment `current`. With null, Beam's own
    image is used and each worker installs the project when it starts."""
    machine_type: str | None = None
    """Machine type of the workers; null leaves the choice to Dataflow."""
    max_workers: int | None = Field(None, ge=1)
    """Most workers of a job; null leaves the choice to Dataflow."""
    service_account: str | None = None
    """E-mail address of the workers' service account; null uses the project's default."""
    subnetwork: str | None = None
    """Subnetwork of the workers, as regions/REGION/subnetworks/NAME; null uses the default
    network."""
    public_ips: bool = True
    """Whether workers get public addresses. Without them the subnetwork needs Private Google
    Access."""


class BeamParameters(StrictParameters):
    """The Beam runner of XrayExampleGen, StatisticsGen, DataAudit, Transform and Evaluator."""

    engine: Engine = 'direct'
    """Where these steps run (`--beam`): `direct` in the process of the pipeline, `flink` on a Flink
    cluster, `dataflow` on Google's Dataflow."""
    args: tuple[str, ...] = ()
    """More options for Beam, as on its command line. They override the keys of this section."""
    flink: FlinkParameters = FlinkParameters()
    dataflow: DataflowParameters = DataflowParameters()

    def missing(self) -> Iterator[str]:
        """The keys that the engine needs but that have no value."""
        if self.engine == 'flink' and not self.flink.job_server:
            yield 'beam.flink.job_server'
        if self.engine == 'dataflow':
            yield from (
                f'beam.dataflow.{key}'
                for key in ('project', 'region', 'temp')
                if not getattr(self.dataflow, key)
            )

    def arguments(self, setup_file: str | None) -> list[str]:
        """The options for Beam's command line.

        Args:
          setup_file: path of the setup.py of the package that remote workers install; None if they
            install nothing.
        """
        return [*_ENGINES[self.engine](self), *self._setup_options(setup_file), *self.args]

    def _setup_options(self, setup_file: str | None) -> list[str]:
        """The option with the package that workers install, unless `args` or an image gives it.

        Without any such option, TFX packs itself into an archive for every step, which takes some
        seconds.
        """
        is_in_args = any(
            arg.startswith(
                ('--setup_file', '--extra_package', '--requirements_file', '--sdk_container_image')
            )
            for arg in self.args
        )
        image = self.engine == 'dataflow' and self.dataflow.image
        return [] if is_in_args or image or not setup_file else [f'--setup_file={setup_file}']


def _direct(beam: BeamParameters) -> list[str]:
    # Explicit, because Beam's default first tries to download another runner.
    return ['--runner=FnApiRunner']


def _flink(beam: BeamParameters) -> list[str]:
    flink = beam.flink
    return [
        '--runner=PortableRunner',
        f'--job_endpoint={flink.job_server}',
        '--environment_type=EXTERNAL',
        f'--environment_config={flink.workers}',
        # Reuses workers between stages, because each new one imports TensorFlow.
        '--environment_cache_millis=600000',
        *([f'--parallelism={flink.parallelism}'] if flink.parallelism else []),
    ]


def _dataflow(beam: BeamParameters) -> list[str]:
    dataflow = beam.dataflow
    options = {
        'project': dataflow.project,
        'region': dataflow.region,
        'temp_location': dataflow.temp,
        'sdk_container_image': dataflow.image,
        'machine_type': dataflow.machine_type,
        'max_num_workers': dataflow.max_workers,
        'service_account_email': dataflow.service_account,
        'subnetwork': dataflow.subnetwork,
    }
    arguments = [f'--{name}={value}' for name, value in options.items() if value is not None]
    return [
        '--runner=DataflowRunner',
        *arguments,
        *([] if dataflow.public_ips else ['--no_use_public_ips']),
    ]


_ENGINES = {'direct': _direct, 'flink': _flink, 'dataflow': _dataflow}
