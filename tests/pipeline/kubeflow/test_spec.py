"""The graph of local runs compiles to a valid specification for Kubeflow."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path

import pytest
import yaml
from tfx.orchestration.pipeline import Pipeline

from pipeline.config import Config
from pipeline.kubeflow import spec, validation
from pipeline.kubeflow.parameters import KubeflowParameters
from pipeline.kubeflow.spec import SpecError


def _parameters(**content) -> KubeflowParameters:
    return KubeflowParameters.model_validate({'image': 'cxr-triage:test', **content})


def test_the_schema_version_is_supported(compiled: dict) -> None:
    assert compiled['schemaVersion'] == validation.SCHEMA_VERSION
    assert validation.problems(compiled) == []


def test_every_component_runs_in_a_container(compiled: dict) -> None:
    executors = compiled['deploymentSpec']['executors']
    assert len(executors) == len(compiled['root']['dag']['tasks']) == 12
    # Kubeflow supports neither a Resolver nor TFX's InfraValidator.
    assert {kind for executor in executors.values() for kind in executor} == {'container'}
    assert {executor['container']['image'] for executor in executors.values()} == {
        'cxr-triage:test'
    }
    assert all(
        executor['container']['command'] == spec.ENTRYPOINT for executor in executors.values()
    )


def test_transform_waits_for_the_data_gate(compiled: dict) -> None:
    # Transform reads no artifact of DataGate, so it must depend on it explicitly.
    assert 'DataGate' in compiled['root']['dag']['tasks']['Transform']['dependentTasks']


def test_the_specification_has_no_local_paths(compiled: dict, config: Config) -> None:
    text = yaml.dump(compiled, width=10**9)
    project = str(Path(spec.__file__).resolve().parents[2])
    assert f'{project}/' not in text
    assert '--setup_file=/opt/cxr-triage/setup.py' in text
    # The specification has the text of the schema, not its path.
    schema = compiled['root']['dag']['tasks']['CuratedSchema']['inputs']['parameters'][
        'schema_text'
    ]['runtimeValue']['constant']
    assert 'feature {' in schema
    assert config.push_directory in text


def test_only_beam_steps_get_beam_arguments(compiled: dict) -> None:
    steps = {
        name
        for name in compiled['root']['dag']['tasks']
        if '--runner=FnApiRunner' in spec.executor_of(compiled, name)['container']['args']
    }
    assert steps == {'XrayExampleGen', 'StatisticsGen', 'DataAudit', 'Transform', 'Evaluator'}


def test_vertex_uses_the_entry_point_of_tfx(pipeline: Pipeline, config: Config) -> None:
    (document,) = spec.documents(
        pipeline, _parameters(volumes=[{'claim': 'c', 'mount': '/data'}]), 'vertex'
    )
    commands = {
        tuple(executor['container']['command'])
        for executor in document['deploymentSpec']['executors'].values()
    }
    assert commands == {
        ('python', '-m', 'tfx.orchestration.kubeflow.v2.container.kubeflow_v2_run_executor')
    }


def test_artifact_types_can_be_imported_by_their_titles(compiled: dict) -> None:
    from tfx.utils import import_utils

    titles = set(re.findall(r'title: (components\.\w+)', yaml.dump(compiled)))
    assert len(titles) == 4
    for title in titles:
        assert title == import_utils.import_class_by_path(title).TYPE_NAME


def test_values_that_change_between_runs_are_pipeline_parameters(
    compiled: dict, config: Config
) -> None:
    definitions = compiled['root']['inputDefinitions']['parameters']
    assert set(definitions) == set(spec.PIPELINE_PARAMETERS)
    tasks = compiled['root']['dag']['tasks']
    for name, (task, key) in spec.PIPELINE_PARAMETERS.items():
        assert tasks[task]['inputs']['parameters'][key] == {'componentInputParameter': name}
    # The compiled values are the defaults.
    assert definitions['fingerprint']['defaultValue'] == 'fingerprint'
    assert json.loads(definitions['data']['defaultValue'])['root'] == '/data'
    assert json.loads(definitions['push']['defaultValue'])['target'] == config.push_directory
    assert 'kubeflow' not in json.loads(definitions['push']['defaultValue'])['config']
    assert json.loads(definitions['training']['defaultValue'])['task'] == config.task


def test_resources_and_retries(pipeline: Pipeline) -> None:
    gpu = {'cpu': 8, 'memory_gb': 30, 'accelerator': 'nvidia.com/gpu', 'accelerators': 2}
    settings = _parameters(
        gpu_image='cxr-triage:gpu',
        default={'cpu': 1, 'memory_gb': 4},
        steps={'Trainer': gpu},
        retries={'count': 3, 'wait_s': 30},
    )
    (document,) = spec.documents(pipeline, settings)
    trainer, evaluator = (
        spec.executor_of(document, name)['container'] for name in ('Trainer', 'Evaluator')
    )
    assert trainer['image'] == 'cxr-triage:gpu'
    assert trainer['resources'] == {
        **{'cpuLimit': 8, 'cpuRequest': 8, 'memoryLimit': 30, 'memoryRequest': 30},
        'accelerator': {'type': 'nvidia.com/gpu', 'count': '2'},
    }
    assert evaluator['image'] == 'cxr-triage:test'
    assert evaluator['resources'] == {
        'cpuLimit': 1,
        'cpuRequest': 1,
        'memoryLimit': 4,
        'memoryRequest': 4,
    }
    for task in document['root']['dag']['tasks'].values():
        assert task['retryPolicy'] == {
            **{
                'maxRetryCount': 3,
                'backoffDuration': '30s',
                'backoffFactor': 2,
                'backoffMaxDuration': '604800s',
            }
        }
    (no_retries,) = spec.documents(pipeline, _parameters(retries={'count': 0}))
    assert not any('retryPolicy' in task for task in no_retries['root']['dag']['tasks'].values())


def test_nodes_secrets_and_volumes_of_pods(pipeline: Pipeline) -> None:
    settings = _parameters(
        steps={
            'Trainer': {
                'node_selector': {'gpu': 'l4'},
                'tolerations': [{'key': 'nvidia.com/gpu', 'effect': 'NoSchedule'}],
                'spot': True,
            }
        },
        secrets=[
            {'name': 'key', 'env': {'token': 'TOKEN'}},
            {'name': 'files', 'mount': '/secrets'},
        ],
        volumes=[{'claim': 'images', 'mount': '/data'}],
    )
    document, platform = spec.documents(pipeline, settings)
    executors = platform['platforms']['kubernetes']['deploymentSpec']['executors']
    assert set(executors) == set(document['deploymentSpec']['executors'])
    for executor in executors.values():
        assert executor['secretAsEnv'] == [
            {'secretName': 'key', 'keyToEnv': [{'secretKey': 'token', 'envVar': 'TOKEN'}]}
        ]
        assert executor['secretAsVolume'] == [{'secretName': 'files', 'mountPath': '/secrets'}]
        assert executor['pvcMount'] == [{'constant': 'images', 'mountPath': '/data'}]
    trainer = executors['Trainer_executor']
    assert trainer['nodeSelector']['labels'] == {'gpu': 'l4', 'cloud.google.com/gke-spot': 'true'}
    assert [toleration['key'] for toleration in trainer['tolerations']] == [
        'nvidia.com/gpu',
        'cloud.google.com/gke-spot',
    ]
    assert 'nodeSelector' not in executors['Evaluator_executor']


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ({'image': None}, 'no image'),
        ({'steps': {'Training': {}}}, 'names Training: no such step. The steps are: Baseline'),
    ],
    ids=['no image', 'unknown step'],
)
def test_invalid_parameters_are_rejected(pipeline: Pipeline, content: dict, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        spec.documents(pipeline, _parameters(**content))


def test_a_specification_is_written_completely_or_not_at_all(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    with pytest.raises(SpecError, match=r'spec\.json: .* ends in \.yaml'):
        spec.compile_spec(pipeline, _parameters(), str(tmp_path / 'spec.json'))
    path = tmp_path / 'new' / 'spec.yaml'
    spec.compile_spec(pipeline, _parameters(volumes=[{'claim': 'c', 'mount': '/data'}]), str(path))
    assert len(list(yaml.safe_load_all(path.read_text()))) == 2
    assert list(path.parent.iterdir()) == [path]


def _with_task_name(document: dict) -> None:
    document['root']['dag']['tasks']['data_gate'] = document['root']['dag']['tasks'].pop('DataGate')


def _with_resolver(document: dict) -> None:
    document['deploymentSpec']['executors']['Baseline_executor'] = {'resolver': {}}


def _without_default(document: dict) -> None:
    del document['root']['inputDefinitions']['parameters']['data']['defaultValue']


def _with_old_schema(document: dict) -> None:
    document['schemaVersion'] = '2.0.0'


def _without_image(document: dict) -> None:
    del document['deploymentSpec']['executors']['Trainer_executor']['container']['image']


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (_with_task_name, "step 'data_gate': Argo accepts only letters, digits and dashes"),
        (_with_task_name, "step Transform waits for 'DataGate', which is not a step"),
        (
            _with_resolver,
            'Baseline_executor is a resolver: Kubeflow runs only container and importer',
        ),
        (_without_default, "pipeline parameter 'data' has no default"),
        (_with_old_schema, "schemaVersion is '2.0.0': Kubeflow accepts only 2.1.0"),
        (_without_image, 'Trainer_executor has no image'),
    ],
)
def test_an_invalid_specification_is_rejected(compiled: dict, change, message: str) -> None:
    document = copy.deepcopy(compiled)
    change(document)
    assert any(message in problem for problem in validation.problems(document))


@pytest.mark.parametrize('root', ['gs://b/r', 's3://b/r', 'minio://b/r'])
def test_a_bucket_is_a_valid_root(root: str) -> None:
    assert validation.root_problem(root) is None


@pytest.mark.parametrize('root', ['/runs', 'file:///runs', 'hdfs://b/r'])
def test_other_roots_are_rejected(root: str) -> None:
    assert f'{root}: Kubeflow cannot write to' in (validation.root_problem(root) or '')


@pytest.mark.parametrize(
    ('path', 'is_reachable'),
    [
        *(('gs://b/served', True), ('/volume/served', True), ('/volume', True)),
        *(('/volumes/served', False), ('/srv', False), ('s3://b/served', False)),
    ],
)
def test_pods_reach_buckets_and_mounted_folders(path: str, is_reachable: bool) -> None:
    assert (validation.push_problem(path, ('/volume/',)) is None) is is_reachable
    assert (validation.read_problem('data.root', path, ('/volume',)) is None) is is_reachable
