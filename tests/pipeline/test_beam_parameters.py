"""The Beam options of each engine, and the parameters that an engine requires."""

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
    """The options as Beam parses them; all are options that Beam has."""
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
    # Without a worker image, the workers install the project.
    assert options.view_as(SetupOptions).setup_file == SETUP


def test_a_worker_image_replaces_the_installation(tmp_path: Path) -> None:
    content = {
        'engine': 'dataflow',
        'dataflow': {'project': 'p', 'region': 'r', 'temp': 'gs://b', 'image': 'i:1'},
    }
    options = _options(BeamParameters.model_validate(content))
    assert options.view_as(WorkerOptions).sdk_container_image == 'i:1'
    # Beam uploads neither the project nor itself, only a list of the installed packages.
    Stager.create_job_resources(options, str(tmp_path))
    assert {path.name for path in tmp_path.iterdir()} <= {'submission_environment_dependencies.txt'}


def test_additional_arguments_override_parameters() -> None:
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
            {'root': '/runs', 'artifacts': 'gs://b/a', 'data': {'root': '/images'}},
            'give a gs:// folder as data.root',
        ),
        ({'root': '/runs', 'data': {'root': 'gs://b/images'}}, 'give a gs:// folder as artifacts'),
    ],
)
def test_missing_and_invalid_parameters_are_named(content: dict, message: str) -> None:
    if 'data' in content:
        content['beam'] = {
            'engine': 'dataflow',
            'dataflow': {'project': 'p', 'region': 'r', 'temp': 'gs://b'},
        }
    with pytest.raises(ValidationError, match=re.escape(message)):
        Config.model_validate({'pipeline': 'p', 'task': 'nih_triage', **content})


def test_the_package_for_workers_contains_the_whole_project(tmp_path: Path) -> None:
    beam = BeamParameters.model_validate(
        {'engine': 'dataflow', 'dataflow': {'project': 'p', 'region': 'r', 'temp': 'gs://b'}}
    )
    assert SETUP_FILE is not None
    options = PipelineOptions(beam.arguments(SETUP_FILE))
    # The runner builds this package before it uploads anything.
    resources = Stager.create_job_resources(options, str(tmp_path))
    (archive,) = tmp_path.glob('*.tar.gz')
    assert any(resource.role_urn and archive.name in str(resource) for resource in resources)
    with tarfile.open(archive) as package:
        names = {name.split('/', 1)[1] for name in package.getnames() if '/' in name}
    for path in (
        'components/evaluator/executor.py',
        'trainer/preprocessing.py',
        'records/tfrecord.py',
        'schemas/raw_schema.pbtxt',
        'setup.py',
        'pyproject.toml',
    ):
        assert path in names
