"""What a run is handed, and what asks for another compilation: dictionaries alone."""

from __future__ import annotations

import copy
import re
from pathlib import Path

import pytest
import yaml

from pipeline.kubeflow import entrypoint, submission
from pipeline.kubeflow.submission import SubmissionError


def _changed(compiled: dict, *path: str, value: object) -> dict:
    """A copy with another value at a path."""
    document = copy.deepcopy(compiled)
    place = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return document


def test_an_unchanged_one_is_handed_nothing(compiled: dict) -> None:
    assert submission.parameters([compiled], [copy.deepcopy(compiled)]) == {}


def test_what_differs_in_a_parameter_is_handed_over(compiled: dict) -> None:
    now = _changed(
        compiled,
        'root',
        'inputDefinitions',
        'parameters',
        'fingerprint',
        'defaultValue',
        value='other',
    )
    assert submission.parameters([compiled], [now]) == {'fingerprint': 'other'}


def test_the_compiler_may_be_another(compiled: dict) -> None:
    assert (
        submission.parameters([compiled], [_changed(compiled, 'sdkVersion', value='tfx-9')]) == {}
    )


@pytest.mark.parametrize(
    ('path', 'value', 'message'),
    [
        (
            (
                'root',
                'dag',
                'tasks',
                'DataGate',
                'inputs',
                'parameters',
                'code_digest',
                'runtimeValue',
                'constant',
            ),
            'edited',
            r'DataGate.inputs.parameters.code_digest: [0-9a-f]{16}, and now edited',
        ),
        (
            ('root', 'dag', 'tasks', 'Trainer', 'retryPolicy'),
            None,
            'Trainer.retryPolicy: {.*, and now nothing',
        ),
        (
            ('deploymentSpec', 'executors', 'Trainer_executor', 'container', 'image'),
            'x:2',
            'Trainer_executor.container.image: cxr-triage:test, and now x:2',
        ),
        (('pipelineInfo', 'name'), 'other', 'pipelineInfo.name: demo, and now other'),
    ],
    ids=['code', 'retries', 'image', 'name'],
)
def test_what_no_parameter_can_change_is_refused(
    compiled: dict, path: tuple[str, ...], value: object, message: str
) -> None:
    with pytest.raises(SubmissionError, match='(?s)compile again.*' + message):
        submission.parameters([compiled], [_changed(compiled, *path, value=value)])


def test_nodes_and_secrets_count_too(compiled: dict) -> None:
    platform = {
        'platforms': {
            'kubernetes': {
                'deploymentSpec': {
                    'executors': {'Trainer_executor': {'nodeSelector': {'labels': {'a': 'b'}}}}
                }
            }
        }
    }
    with pytest.raises(SubmissionError, match='platforms: nothing, and now'):
        submission.parameters([compiled], [compiled, platform])
    other = yaml.safe_load(yaml.safe_dump(platform).replace('a: b', 'a: c'))
    with pytest.raises(
        SubmissionError, match=r'Trainer_executor\.nodeSelector\.labels\.a: b, and now c'
    ):
        submission.parameters([compiled, platform], [compiled, other])


def test_long_values_are_shown_where_they_differ(compiled: dict) -> None:
    path = (
        'root',
        'dag',
        'tasks',
        'CuratedSchema',
        'inputs',
        'parameters',
        'schema_text',
        'runtimeValue',
        'constant',
    )
    text = compiled['root']['dag']['tasks']['CuratedSchema']['inputs']['parameters']['schema_text'][
        'runtimeValue'
    ]['constant']
    with pytest.raises(SubmissionError) as error:
        submission.parameters(
            [compiled], [_changed(compiled, *path, value=text[:900] + 'HERE' + text[900:])]
        )
    assert re.search(r'schema_text: ….*, and now ….*HERE', str(error.value), re.DOTALL)
    assert len(str(error.value)) < 600


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('a: [', 'no YAML'),
        ('just text', 'no pipeline specification'),
        ('a: 1', 'no pipeline specification'),
        ('{root: {}, schemaVersion: 2.0.0}', 'Kubeflow takes 2.1.0 only'),
    ],
)
def test_other_files_are_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / 'spec.yaml').write_text(text)
    with pytest.raises(SubmissionError, match=message):
        submission.load(str(tmp_path / 'spec.yaml'))


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(SubmissionError, match='cannot be read'):
        submission.load(str(tmp_path / 'spec.yaml'))
    with pytest.raises(SubmissionError, match=r'expected the \.yaml file'):
        submission.load('spec.json')


@pytest.mark.parametrize('uri', ['gs://b/x', 's3://b/x', 'minio://b/x', '/mnt/x'])
def test_a_path_in_a_container_goes_back_to_its_store(uri: str) -> None:
    assert entrypoint.store_uri(entrypoint.local_path(uri)) == uri
