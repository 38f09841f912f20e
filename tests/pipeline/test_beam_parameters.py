"""Where the Beam steps run: what Beam is told for each engine, and what is missing for it."""

from __future__ import annotations

import re
import tarfile
from pathlib import Path

import pytest
from apache_beam.options.pipeline_options import (
    DebugOptions,
    GoogleCloudOptions,
    PipelineOptions,
    PortableOptions,
    SetupOptions,
    StandardOptions,
    WorkerOptions,
)
from apache_beam.runners.portability.stager import Stager
from pydantic import ValidationError

from pipeline.beam_parameters import BeamParameters
from pipeline.config import Config
from pipeline.create_pipeline import SETUP_FILE

SETUP = '/opt/cxr-triage/setup.py'


def _options(beam: BeamParameters) -> PipelineOptions:
    """As Beam reads them; it leaves out what it does not know."""
    options = PipelineOptions(beam.arguments(SETUP))
    unknown = set(options.get_all_options(drop_default=True)) - set(
        PipelineOptions([]).get_all_options()
    )
    assert not unknown
    return options


def test_direct() -> None:
    options = _options(BeamParameters(args=('--direct_num_workers=1',)))
    assert options.view_as(StandardOptions).runner == 'FnApiRunner'
    assert options.get_all_options()['direct_num_workers'] == 1
    assert options.view_as(SetupOptions).setup_file == SETUP


def test_flink() -> None:
    beam = BeamParameters.model_validate(
        {'engine': 'flink', 'flink': {'job_server': 'jobs:8099', 'parallelism': 4}}
    )
    options = _options(beam)
    portable = options.view_as(PortableOptions)
    assert options.view_as(StandardOptions).runner == 'PortableRunner'
    assert (portable.job_endpoint, portable.environment_type, portable.environment_config) == (
        'jobs:8099',
        'EXTERNAL',
        'localhost:50000',
    )
    assert int(portable.environment_cache_millis) > 0
    assert '--parallelism=4' in beam.arguments(SETUP)


def test_dataflow() -> None:
    content = {
        'project': 'p',
        'region': 'europe-west4',
        'temp': 'gs://b/temp',
        'machine_type': 'n2-standard-4',
        'max_workers': 8,
    }
    content |= {
        'service_account': 'w@p.iam.gserviceaccount.com',
        'subnetwork': 'regions/europe-west4/subnetworks/s',
        'public_ips': False,
    }
    options = _options(BeamParameters.model_validate({'engine': 'dataflow', 'dataflow': content}))
    cloud, worker = options.view_as(GoogleCloudOptions), options.view_as(WorkerOptions)
    assert options.view_as(StandardOptions).runner == 'DataflowRunner'
    assert (cloud.project, cloud.region, cloud.temp_location) == (
        'p',
        'europe-west4',
        'gs://b/temp',
    )
    assert (worker.machine_type, worker.max_num_workers, worker.use_public_ips) == (
        'n2-standard-4',
        8,
        False,
    )
    assert (worker.subnetwork, cloud.service_account_email) == (
        content['subnetwork'],
        content['service_account'],
    )
    # Without an image of their own the workers install the project.
    assert options.view_as(SetupOptions).setup_file == SETUP


def test_an_image_of_workers_needs_no_installation(tmp_path: Path) -> None:
    content = {
        'engine': 'dataflow',
        'dataflow': {'project': 'p', 'region': 'r', 'temp': 'gs://b', 'image': 'i:1'},
    }
    options = _options(BeamParameters.model_validate(content))
    assert options.view_as(WorkerOptions).sdk_container_image == 'i:1'
    # Neither the project nor Beam is sent along, only a list of what is installed here.
    Stager.create_job_resources(options, str(tmp_path))
    assert {path.name for path in tmp_path.iterdir()} <= {'submission_environment_dependencies.txt'}


def test_further_arguments_win() -> None:
    beam = BeamParameters.model_validate(
        {
            'engine': 'flink',
            'flink': {'job_server': 'jobs:8099'},
            'args': ['--environment_cache_millis=1', '--experiments=x'],
        }
    )
    options = _options(beam)
    assert int(options.view_as(PortableOptions).environment_cache_millis) == 1
    assert options.view_as(DebugOptions).experiments == ['x']


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ({'beam': {'engine': 'flink'}}, 'beam.engine is flink: give beam.flink.job_server'),
        (
            {'beam': {'engine': 'dataflow'}},
            'give beam.dataflow.project, beam.dataflow.region, beam.dataflow.temp',
        ),
        ({'beam': {'flink': {'job_server': 'http://jobs:8099'}}}, 'beam.flink.job_server'),
        ({'beam': {'dataflow': {'temp': '/tmp'}}}, 'beam.dataflow.temp'),
        (
            {'root': '/runs', 'artifacts': 'gs://b/a', 'data': {'root': '/films'}},
            'give a gs:// folder as data.root',
        ),
        ({'root': '/runs', 'data': {'root': 'gs://b/films'}}, 'give a gs:// folder as artifacts'),
    ],
)
def test_what_is_missing_is_named(content: dict, message: str) -> None:
    if 'data' in content:
        content['beam'] = {
            'engine': 'dataflow',
            'dataflow': {'project': 'p', 'region': 'r', 'temp': 'gs://b'},
        }
    with pytest.raises(ValidationError, match=re.escape(message)):
        Config.model_validate({'pipeline': 'p', 'task': 'nih_triage', **content})


def test_workers_that_install_the_project_get_all_of_it(tmp_path: Path) -> None:
    beam = BeamParameters.model_validate(
        {'engine': 'dataflow', 'dataflow': {'project': 'p', 'region': 'r', 'temp': 'gs://b'}}
    )
    assert SETUP_FILE is not None
    options = PipelineOptions(beam.arguments(SETUP_FILE))
    # As the runner packs it before it uploads anything.
    resources = Stager.create_job_resources(options, str(tmp_path))
    (archive,) = (path for path in tmp_path.iterdir() if path.name.endswith('.tar.gz'))
    assert any(resource.role_urn and archive.name in str(resource) for resource in resources)
    with tarfile.open(archive) as packed:
        names = {name.split('/', 1)[1] for name in packed.getnames() if '/' in name}
    for module in (
        'components/evaluator/executor.py',
        'trainer/preprocessing.py',
        'records/tfrecord.py',
        'schemas/raw_schema.pbtxt',
        'setup.py',
        'pyproject.toml',
    ):
        assert module in names
