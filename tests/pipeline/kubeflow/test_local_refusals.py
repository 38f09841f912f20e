"""The interpreter rejects unsupported specifications before it runs a step."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import yaml

from tests.support import scripted_steps as scripted
from tests.support.kfp import __main__ as command
from tests.support.kfp import driver
from tests.support.kfp.driver import DriverError
from tests.support.kfp.launcher import command as launcher_command
from tests.support.kfp.objects import ObjectStore, StoreError
from tests.support.kfp.runs import load


def _unknown_field(spec: dict) -> None:
    spec['root']['dag']['tasks']['make']['inputs']['parameter'] = {}


def _iterator(spec: dict) -> None:
    spec['root']['dag']['tasks']['make']['parameterIterator'] = {
        'itemInput': 'text',
        'items': {'raw': '[1]'},
    }


def _condition(spec: dict) -> None:
    spec['root']['dag']['tasks']['use']['triggerPolicy'] = {'condition': 'true'}


def _importer(spec: dict) -> None:
    spec['deploymentSpec']['executors']['make-executor'] = {
        'importer': {'artifactUri': {'constant': 'gs://b/x'}}
    }


def _output_parameter(spec: dict) -> None:
    spec['components']['make']['outputDefinitions']['parameters'] = {
        'number': {'parameterType': 'NUMBER_INTEGER'}
    }


def _no_producer(spec: dict) -> None:
    spec['root']['dag']['tasks']['use']['inputs']['artifacts']['made'] = scripted.of('unknown')


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (_unknown_field, 'not a pipeline specification: .*parameter'),
        (_iterator, 'step make has parameterIterator: not supported here'),
        (_condition, 'step use has triggerPolicy: not supported here'),
        (_importer, 'step make is not a container'),
        (_output_parameter, 'step make has output parameters'),
        (_no_producer, "step use: input 'made' comes from 'unknown', which is not a step"),
    ],
)
def test_an_unsupported_specification_is_rejected(tmp_path: Path, change, message: str) -> None:
    spec = copy.deepcopy(scripted.make_and_use())
    driver.check(spec)
    change(spec)
    path = tmp_path / 'spec.yaml'
    path.write_text(yaml.safe_dump(spec))
    with pytest.raises(DriverError, match=message):
        load(path)


@pytest.mark.parametrize('text', ['', '- a list', '{'], ids=['empty', 'a list', 'not YAML'])
def test_other_files_are_rejected(tmp_path: Path, text: str) -> None:
    path = tmp_path / 'spec.yaml'
    path.write_text(text)
    with pytest.raises(DriverError, match=r'spec\.yaml'):
        load(path)


@pytest.mark.parametrize('uri', ['/minio/bucket/x', 'file:///x', 'gs://', 'gs://bucket/../x'])
def test_the_store_accepts_only_schemes_of_the_launcher(tmp_path: Path, uri: str) -> None:
    with pytest.raises(StoreError, match=uri):
        ObjectStore(tmp_path).path(uri)


def test_a_link_to_a_folder_cannot_be_uploaded(tmp_path: Path) -> None:
    folder = tmp_path / 'artifact'
    (folder / 'real').mkdir(parents=True)
    (folder / 'real' / 'file').write_text('x')
    (folder / 'file').symlink_to('real/file')
    store = ObjectStore(tmp_path / 'store')
    assert store.upload(folder, 'gs://bucket/a')
    assert (tmp_path / 'store/gs/bucket/a/file').read_text() == 'x'
    assert not (tmp_path / 'store/gs/bucket/a/file').is_symlink()
    (folder / 'link').symlink_to('real')
    with pytest.raises(StoreError, match='link is a link to a folder'):
        store.upload(folder, 'gs://bucket/a')


def test_placeholders_of_the_launcher_are_replaced() -> None:
    executor_input = {
        'inputs': {
            'parameterValues': {'p': 'value'},
            'artifacts': {'i': {'artifacts': [{'uri': 'gs://b/i'}]}},
        },
        'outputs': {
            'artifacts': {'o': {'artifacts': [{'uri': 's3://b/o'}]}},
            'outputFile': '/gcs/b/output_metadata.json',
        },
    }
    component = {
        'inputDefinitions': {
            'parameters': {'d': {'parameterType': 'NUMBER_INTEGER', 'defaultValue': 7}}
        }
    }
    arguments = [
        "{{$.inputs.parameters['p']}}-{{$.inputs.parameters['d']}}",
        "{{$.inputs.artifacts['i'].path}}",
    ]
    arguments += [
        "{{$.outputs.artifacts['o'].uri}}",
        "{{$.outputs.artifacts['o'].path}}",
        '{{$.unknown}}',
    ]
    container = {'command': ['program'], 'args': arguments}
    expected = ['program', 'value-7', '/gcs/b/i', 's3://b/o', '/s3/b/o', '{{$.unknown}}']
    assert launcher_command(container, component, executor_input) == expected


def test_the_command_line_reports_invalid_options(tmp_path: Path, capsys) -> None:
    spec = tmp_path / 'spec.yaml'
    spec.write_text(yaml.safe_dump(scripted.make_and_use()))
    options = [str(spec), '--folder', str(tmp_path / 'cluster'), '--processes']
    assert command.main([*options, '--root', '/runs']) == 1
    assert '/runs: Kubeflow cannot write to this pipeline root' in capsys.readouterr().err
    assert command.main([*options, '--root', 'gs://b/r', '--claim', 'images']) == 1
    assert '--claim images: expected NAME=VALUE' in capsys.readouterr().err


@pytest.mark.parametrize(('version', 'attempts'), [('2.16', '3 attempts'), ('2.17', '1 attempt')])
def test_the_command_line_takes_a_kubeflow_version(
    tmp_path: Path, monkeypatch, capsys, version: str, attempts: str
) -> None:
    docker = tmp_path / 'docker'
    docker.write_text('#!/bin/sh\nexit 1\n')
    docker.chmod(0o755)
    monkeypatch.setenv('PATH', str(tmp_path), prepend=':')
    spec = tmp_path / 'spec.yaml'
    retries = {'maxRetryCount': 2, 'backoffDuration': '0s', 'backoffMaxDuration': '3600s'}
    spec.write_text(yaml.safe_dump(scripted.make_and_use(retryPolicy=retries)))
    options = ['--folder', str(tmp_path / 'cluster'), '--root', 'gs://b/r', '--kubeflow', version]
    assert command.main([str(spec), *options]) == 1
    assert f'step make failed after {attempts}.' in capsys.readouterr().err
