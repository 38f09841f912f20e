"""The graph that runs here compiles for Kubeflow, with nothing in it that Kubeflow refuses."""

from __future__ import annotations

import re

import pytest
import yaml

from kubeflow import spec
from pipeline import config as config_lib
from pipeline.create_pipeline import create_pipeline


@pytest.fixture(scope='module')
def compiled(tmp_path_factory) -> dict:
    folder = tmp_path_factory.mktemp('spec')
    config = config_lib.load('pipeline/configs/demo.yaml', root=str(folder / 'root'), data__root='/data')
    path = folder / 'demo.yaml'
    spec.compile_spec(create_pipeline(config, 'fingerprint'), 'cxr-triage:test', str(path))
    return yaml.safe_load(path.read_text())


def test_schema_is_the_one_that_kubeflow_takes(compiled):
    assert compiled['schemaVersion'] == spec.SCHEMA_VERSION


def test_every_component_runs_in_a_container(compiled):
    executors = compiled['deploymentSpec']['executors']
    assert len(executors) == len(compiled['root']['dag']['tasks']) == 12
    # Kubeflow runs neither a Resolver nor TFX's InfraValidator.
    assert {kind for executor in executors.values() for kind in executor} == {'container'}
    assert {executor['container']['image'] for executor in executors.values()} == {'cxr-triage:test'}


def test_task_names_are_what_argo_allows(compiled):
    for name in compiled['root']['dag']['tasks']:
        assert re.fullmatch('[a-zA-Z0-9-]+', name), name


def test_transform_waits_for_the_gate(compiled):
    # No artifact goes from DataGate to Transform: without the dependency bad data would be trained on.
    assert 'DataGate' in compiled['root']['dag']['tasks']['Transform']['dependentTasks']


def test_other_file_names_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r'spec\.json: .* ends in \.yaml'):
        spec.compile_spec(None, 'image', str(tmp_path / 'spec.json'))


def test_own_artifact_types_are_found_by_their_names(compiled):
    from tfx.utils import import_utils

    titles = set(re.findall(r'title: (components\.\w+)', yaml.dump(compiled)))
    assert len(titles) == 4
    for title in titles:
        assert title == import_utils.import_class_by_path(title).TYPE_NAME
