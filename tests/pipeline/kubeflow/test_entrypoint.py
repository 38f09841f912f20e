"""Our entry point adapts Kubeflow's executor input for TFX, which fails without it."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2
from tensorflow import errors
from tfx.dsl.io import fileio
from tfx.orchestration.kubeflow.v2.container import kubeflow_v2_entrypoint_utils

from pipeline.kubeflow import entrypoint
from pipeline.kubeflow.entrypoint import EntrypointError, adapt

# Components of both the captured pipeline and this one.
SHARED = ('StatisticsGen', 'ExampleValidator', 'Transform', 'Trainer', 'Evaluator')


def _argv(executor_input: dict, compiled: dict, component: str) -> list[str]:
    """Returns the arguments of a compiled component, with the executor input inserted."""
    label = compiled['components'][component]['executorLabel']
    args = compiled['deploymentSpec']['executors'][label]['container']['args']
    return ['entrypoint', *(arg.replace('{{$}}', json.dumps(executor_input)) for arg in args)]


def _parsed(invocation: dict, group: str) -> dict:
    """Parses the artifacts of a group as TFX's entry point does."""
    message = pipeline_spec_pb2.ExecutorInput()
    json_format.Parse(json.dumps(invocation), message, ignore_unknown_fields=True)
    return kubeflow_v2_entrypoint_utils.parse_raw_artifact_dict(
        getattr(message, group).artifacts, {}
    )


def _invocation(argv: list[str]) -> dict:
    return json.loads(argv[argv.index(entrypoint.INVOCATION) + 1])


@pytest.mark.parametrize('component', SHARED)
def test_tfx_parses_the_adapted_executor_input(
    captured: dict, compiled: dict, component: str
) -> None:
    executor_input = captured[component]
    adapted = adapt(_argv(executor_input, compiled, component))
    invocation = _invocation(adapted.argv)
    inputs, outputs = _parsed(invocation, 'inputs'), _parsed(invocation, 'outputs')
    assert set(inputs) == set(executor_input['inputs']['artifacts'])
    assert set(outputs) == set(executor_input['outputs']['artifacts']) - {'executor-logs'}
    assert adapted.output_file == executor_input['outputs']['outputFile']
    for artifact in (*inputs.values(), *outputs.values()):
        assert artifact[0].uri.startswith('/minio/mlpipeline/v2/artifacts/')
    if 'examples' in inputs:
        assert inputs['examples'][0].type_name == 'Examples'
        assert json.loads(inputs['examples'][0].split_names)
    # Parameters are not changed.
    assert invocation['inputs']['parameterValues'] == executor_input['inputs']['parameterValues']


def test_tfx_fails_without_artifact_types(captured: dict) -> None:
    with pytest.raises(AttributeError, match="'NoneType' object has no attribute 'get'"):
        _parsed(captured['Trainer'], 'inputs')


def test_tfx_fails_with_executor_logs(captured: dict) -> None:
    with pytest.raises(Exception, match=r'system\.Artifact'):
        _parsed(captured['Trainer'], 'outputs')


@pytest.mark.parametrize('scheme', ['s3', 'minio'])
def test_tfx_cannot_open_object_stores(scheme: str) -> None:
    # This is why TFX gets the paths of the launcher.
    with pytest.raises(
        errors.UnimplementedError, match=f"File system scheme '{scheme}' not implemented"
    ):
        fileio.exists(f'{scheme}://bucket/schema.pbtxt')


@pytest.mark.parametrize(
    ('uri', 'path'),
    [
        ('gs://bucket/root/x', '/gcs/bucket/root/x'),
        ('s3://bucket/x', '/s3/bucket/x'),
        ('minio://bucket/x', '/minio/bucket/x'),
        ('/mnt/data/x', '/mnt/data/x'),
    ],
)
def test_local_paths_of_artifacts(uri: str, path: str) -> None:
    assert entrypoint.local_path(uri) == path


@pytest.mark.parametrize('scheme', ['gs://', 's3://', 'minio://'])
def test_reported_paths_become_urls_of_the_store(
    captured: dict, compiled: dict, scheme: str
) -> None:
    executor_input = json.loads(json.dumps(captured['Trainer']).replace('minio://', scheme))
    adapted = adapt(_argv(executor_input, compiled, 'Trainer'))
    model = _invocation(adapted.argv)['outputs']['artifacts']['model']['artifacts'][0]
    assert model['uri'].startswith(entrypoint.MOUNTS[scheme])
    reported = {
        'artifacts': {
            'model': {'artifacts': [{'uri': model['uri'] + '/1'}]},
            'other': {'artifacts': [{'uri': '/other'}, {}]},
        }
    }
    report = entrypoint.report(copy.deepcopy(reported), adapted.stores)['artifacts']
    assert (
        report['model']['artifacts'][0]['uri']
        == executor_input['outputs']['artifacts']['model']['artifacts'][0]['uri'] + '/1'
    )
    assert report['other'] == reported['artifacts']['other']


def test_an_existing_type_is_not_changed(captured: dict, compiled: dict) -> None:
    executor_input = copy.deepcopy(captured['Trainer'])
    executor_input['inputs']['artifacts']['schema']['artifacts'][0]['type'] = {
        'instanceSchema': 'title: tfx.Other\ntype: object\n'
    }
    invocation = _invocation(adapt(_argv(executor_input, compiled, 'Trainer')).argv)
    assert (
        'tfx.Other'
        in invocation['inputs']['artifacts']['schema']['artifacts'][0]['type']['instanceSchema']
    )


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda argv: argv[:1], f'{entrypoint.INVOCATION} is missing'),
        (lambda argv: [argv[0], entrypoint.INVOCATION, '{"inputs"'], 'is not valid JSON'),
        (lambda argv: [argv[0], entrypoint.INVOCATION, '[]'], 'is a list: expected an object'),
        (
            lambda argv: [argv[0], entrypoint.INVOCATION, '{"outputs": {}}'],
            'has no outputs.outputFile',
        ),
        (
            lambda argv: argv[: argv.index(entrypoint.INPUTS_SPEC)],
            "input 'examples' has no type",
        ),
    ],
    ids=['no input', 'truncated', 'a list', 'no output file', 'no types'],
)
def test_invalid_arguments_are_rejected(
    captured: dict, compiled: dict, change, message: str
) -> None:
    argv = _argv(captured['StatisticsGen'], compiled, 'StatisticsGen')
    with pytest.raises(EntrypointError, match=message):
        adapt(change(argv))


@pytest.mark.slow
def test_a_component_runs_in_a_new_process(compiled: dict, tmp_path: Path) -> None:
    """CuratedSchema writes and reports its artifact in a folder instead of the volume."""
    component = 'CuratedSchema'
    label = compiled['components'][component]['executorLabel']
    args = compiled['deploymentSpec']['executors'][label]['container']['args']
    kind = compiled['components'][component]['outputDefinitions']['artifacts']['schema'][
        'artifactType'
    ]
    parameters = compiled['root']['dag']['tasks'][component]['inputs']['parameters']
    executor_input = {
        'inputs': {
            'parameterValues': {
                name: value['runtimeValue']['constant'] for name, value in parameters.items()
            }
        },
        'outputs': {
            'artifacts': {
                'schema': {
                    'artifacts': [{'name': 'schema', 'type': kind, 'uri': str(tmp_path / 'schema')}]
                },
                'executor-logs': {
                    'artifacts': [
                        {
                            'name': 'executor-logs',
                            'type': {'schemaTitle': 'system.Artifact'},
                            'uri': 'minio://b/l',
                        }
                    ]
                },
            },
            'outputFile': str(tmp_path / 'out' / 'output_metadata.json'),
        },
    }
    command = [
        sys.executable,
        '-m',
        'pipeline.kubeflow.entrypoint',
        *(arg.replace('{{$}}', json.dumps(executor_input)) for arg in args),
    ]
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-3000:]
    assert list((tmp_path / 'schema').iterdir())
    reported = json.loads((tmp_path / 'out' / 'output_metadata.json').read_text())
    assert reported['artifacts']['schema']['artifacts'][0]['uri'] == str(tmp_path / 'schema')


@pytest.mark.parametrize(
    ('runner', 'uses_store'),
    [('FnApiRunner', False), ('PortableRunner', True), ('DataflowRunner', True)],
)
def test_remote_workers_get_urls_of_the_store(
    captured: dict, compiled: dict, runner: str, uses_store: bool
) -> None:
    executor_input = json.loads(json.dumps(captured['StatisticsGen']).replace('minio://', 'gs://'))
    argv = [
        arg
        for arg in _argv(executor_input, compiled, 'StatisticsGen')
        if not arg.startswith('--runner=')
    ]
    adapted = adapt([*argv, f'--runner={runner}'])
    invocation = _invocation(adapted.argv)
    uris = [
        artifact['uri']
        for group in ('inputs', 'outputs')
        for _, artifact in entrypoint._artifacts(invocation[group]['artifacts'])
    ]
    assert all(uri.startswith('gs://' if uses_store else '/gcs/') for uri in uris)
    assert bool(adapted.stores) is not uses_store


def test_files_of_a_step_are_not_writable_for_everybody(
    compiled: dict, captured: dict[str, dict], tmp_path: Path, monkeypatch
) -> None:
    """Argo starts pods with umask 0."""
    from tfx.orchestration.kubeflow.v2.container import kubeflow_v2_run_executor

    executor_input = copy.deepcopy(captured['StatisticsGen'])
    executor_input['outputs']['outputFile'] = str(tmp_path / 'outputs' / 'output_metadata.json')
    modes: dict[str, int] = {}

    def push(_parsed: object) -> None:
        (tmp_path / 'served').mkdir()
        (tmp_path / 'served' / 'saved_model.pb').write_text('graph')
        Path(executor_input['outputs']['outputFile']).write_text('{}')
        modes.update({path.name: path.stat().st_mode & 0o777 for path in tmp_path.rglob('*')})

    monkeypatch.setattr(kubeflow_v2_run_executor, 'main', push)
    monkeypatch.setattr('sys.argv', _argv(executor_input, compiled, 'StatisticsGen'))
    umask = os.umask(0)
    try:
        with pytest.raises(SystemExit) as caught:
            entrypoint.main()
    finally:
        os.umask(umask)
    assert not caught.value.code
    assert modes == {
        'outputs': 0o755,
        'served': 0o755,
        'saved_model.pb': 0o644,
        'output_metadata.json': 0o644,
    }
