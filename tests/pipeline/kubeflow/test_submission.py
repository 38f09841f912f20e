"""The parameters of a submitted run, and differences that require a new compilation."""

from __future__ import annotations

import copy
import re
from pathlib import Path

import pytest
import yaml

from pipeline.kubeflow import entrypoint, submission
from pipeline.kubeflow.submission import SubmissionError


def _changed(compiled: dict, *path: str, value: object) -> dict:
    """Returns a copy with another value at a path."""
    document = copy.deepcopy(compiled)
    section = document
    for key in path[:-1]:
        section = section[key]
    section[path[-1]] = value
    return document


def test_an_unchanged_specification_needs_no_parameters(compiled: dict) -> None:
    assert submission.parameters([compiled], [copy.deepcopy(compiled)]) == {}


def test_a_changed_default_becomes_a_parameter(compiled: dict) -> None:
    edited = _changed(
        compiled,
        'root',
        'inputDefinitions',
        'parameters',
        'fingerprint',
        'defaultValue',
        value='other',
    )
    assert submission.parameters([compiled], [edited]) == {'fingerprint': 'other'}


def test_the_version_of_the_compiler_is_ignored(compiled: dict) -> None:
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
def test_other_changes_require_a_new_compilation(
    compiled: dict, path: tuple[str, ...], value: object, message: str
) -> None:
    with pytest.raises(SubmissionError, match='(?s)compile again.*' + message):
        submission.parameters([compiled], [_changed(compiled, *path, value=value)])


def test_a_changed_platform_requires_a_new_compilation(compiled: dict) -> None:
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


def test_long_values_are_cut_to_their_difference(compiled: dict) -> None:
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
            [compiled], [_changed(compiled, *path, value=text[:900] + 'INSERTED' + text[900:])]
        )
    assert re.search(r'schema_text: ….*, and now ….*INSERTED', str(error.value), re.DOTALL)
    assert len(str(error.value)) < 600


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('a: [', 'not valid YAML'),
        ('just text', 'not a pipeline specification'),
        ('a: 1', 'not a pipeline specification'),
        ('{root: {}, schemaVersion: 2.0.0}', 'Kubeflow accepts only 2.1.0'),
    ],
)
def test_other_files_are_rejected(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / 'spec.yaml').write_text(text)
    with pytest.raises(SubmissionError, match=message):
        submission.load(str(tmp_path / 'spec.yaml'))


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(SubmissionError, match='cannot be read'):
        submission.load(str(tmp_path / 'spec.yaml'))
    with pytest.raises(SubmissionError, match=r'expected the \.yaml file'):
        submission.load('spec.json')


@pytest.mark.parametrize('uri', ['gs://b/x', 's3://b/x', 'minio://b/x', '/mnt/x'])
def test_local_paths_become_urls_of_the_store_again(uri: str) -> None:
    assert entrypoint.store_uri(entrypoint.local_path(uri)) == uri
