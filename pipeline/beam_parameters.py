"""Where the Beam steps run: the `beam` part of a configuration. No Beam here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Engine = Literal['direct', 'flink', 'dataflow']
_HOST_AND_PORT = r'^[^\s:/]+:\d+$'


class _Strict(BaseModel):
    model_config = ConfigDict(extra='forbid', frozen=True)


class FlinkParameters(_Strict):
    """A Flink cluster, reached through Beam's job server.

    Attributes:
      job_server: host:port of Beam's job server for Flink.
      workers: host:port at which each task manager finds Python workers with this project in them.
        The name is looked up on the task manager: with localhost each has a worker pool of its own
        beside it, as it must be, since pools number their workers alike.
      parallelism: how many slots a step takes; null: as many as the cluster says.
    """

    job_server: str | None = Field(None, pattern=_HOST_AND_PORT)
    workers: str = Field('localhost:50000', pattern=_HOST_AND_PORT)
    parallelism: int | None = Field(None, ge=1)


class DataflowParameters(_Strict):
    """Google's Dataflow.

    Attributes:
      project: that is billed.
      region: of the workers; that of the bucket is the cheapest.
      temp: a gs:// folder for what is staged and spilled.
      image: container image of the workers, `cxr-triage:beam` in a registry; jobs are then
        submitted from its versions of Beam and Python, the environment `current`; null: Beam's own
        image, in which each worker installs the project anew.
      machine_type: of the workers; null: Dataflow's choice.
      max_workers: at most so many; null: Dataflow's choice.
      service_account: e-mail address of the one that workers act as; null: the project's default.
      subnetwork: regions/REGION/subnetworks/NAME; null: the default network.
      public_ips: whether workers get public addresses; without them the subnetwork needs Private
        Google Access.
    """

    project: str | None = None
    region: str | None = None
    temp: str | None = Field(None, pattern='^gs://.')
    image: str | None = None
    machine_type: str | None = None
    max_workers: int | None = Field(None, ge=1)
    service_account: str | None = None
    subnetwork: str | None = None
    public_ips: bool = True


class BeamParameters(_Strict):
    """The engine of XrayExampleGen, StatisticsGen, DataAudit, Transform and Evaluator.

    Attributes:
      engine: `direct`, in this process; `flink`; `dataflow` (`--beam`).
      args: further options of Beam, as on its command line; they win over what stands here.
    """

    engine: Engine = 'direct'
    args: tuple[str, ...] = ()
    flink: FlinkParameters = FlinkParameters()
    dataflow: DataflowParameters = DataflowParameters()

    def missing(self) -> Iterator[str]:
        """Keys that the engine needs and that have no value."""
        if self.engine == 'flink' and not self.flink.job_server:
            yield 'beam.flink.job_server'
        if self.engine == 'dataflow':
            yield from (
                f'beam.dataflow.{key}'
                for key in ('project', 'region', 'temp')
                if not getattr(self.dataflow, key)
            )

    def arguments(self, setup_file: str | None) -> list[str]:
        """The command line that Beam is given.

        Args:
          setup_file: setup.py of what workers elsewhere have to install; None: nothing.
        """
        return [*_ENGINES[self.engine](self), *self._installed(setup_file), *self.args]

    def _installed(self, setup_file: str | None) -> list[str]:
        """TFX packs itself into an archive anew for every step, some seconds each, where nothing
        else is to be installed.
        """
        named = any(
            arg.startswith(
                ('--setup_file', '--extra_package', '--requirements_file', '--sdk_container_image')
            )
            for arg in self.args
        )
        image = self.engine == 'dataflow' and self.dataflow.image
        return [] if named or image or not setup_file else [f'--setup_file={setup_file}']


def _direct(beam: BeamParameters) -> list[str]:
    # Named outright: Beam's default would try to download another runner first.
    return ['--runner=FnApiRunner']


def _flink(beam: BeamParameters) -> list[str]:
    flink = beam.flink
    return [
        '--runner=PortableRunner',
        f'--job_endpoint={flink.job_server}',
        '--environment_type=EXTERNAL',
        f'--environment_config={flink.workers}',
        # Workers stay from stage to stage: each would import TensorFlow anew.
        '--environment_cache_millis=600000',
        *([f'--parallelism={flink.parallelism}'] if flink.parallelism else []),
    ]


def _dataflow(beam: BeamParameters) -> list[str]:
    dataflow = beam.dataflow
    chosen = {
        'project': dataflow.project,
        'region': dataflow.region,
        'temp_location': dataflow.temp,
        'sdk_container_image': dataflow.image,
        'machine_type': dataflow.machine_type,
        'max_num_workers': dataflow.max_workers,
        'service_account_email': dataflow.service_account,
        'subnetwork': dataflow.subnetwork,
    }
    given = [f'--{name}={value}' for name, value in chosen.items() if value is not None]
    return [
        '--runner=DataflowRunner',
        *given,
        *([] if dataflow.public_ips else ['--no_use_public_ips']),
    ]


_ENGINES = {'direct': _direct, 'flink': _flink, 'dataflow': _dataflow}
