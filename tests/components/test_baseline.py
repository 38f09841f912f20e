"""Baseline copies a served version completely or fails; Evaluator works with and without one."""

from __future__ import annotations

import contextlib
import gzip
import shutil
from pathlib import Path

import pytest
from google.protobuf import json_format
from tensorflow.core.example import example_pb2
from tensorflow_model_analysis.proto import config_pb2
from tfx import types
from tfx.components.evaluator import component as tfx_evaluator
from tfx.dsl.components.base import base_beam_executor
from tfx.types import artifact_utils, standard_artifacts
from tfx.utils import path_utils

from components.baseline.component import Baseline
from components.baseline.executor import Executor, has_model
from components.evaluator import gallery
from components.evaluator.component import Evaluator
from components.evaluator.executor import Executor as EvaluatorExecutor
from components.pusher import blessed as pusher_blessed
from components.pusher import executor as pusher_executor
from components.pusher import target
from pipeline import evaluation
from pipeline.create_pipeline import SCHEMA_FILE
from pipeline.evaluation_parameters import EvaluationParameters
from records import examples, tfrecord
from schemas.features import AGE, AGE_BAND, FOLLOW_UP, PATIENT_ID, SEX, VIEW, WEIGHT
from tests.support import tiny_model
from tests.support.push_targets import model, publish
from trainer.tasks import TASKS


def _artifact(kind: type[types.Artifact], path: Path) -> types.Artifact:
    artifact = kind()
    artifact.uri = str(path)
    path.mkdir(parents=True, exist_ok=True)
    return artifact


def _baseline(folder: Path, directory: Path, version: str) -> types.Artifact:
    """Runs the executor: copies a version of the push directory `directory` to `folder`."""
    baseline = _artifact(standard_artifacts.Model, folder)
    Executor().Do(
        {},
        {'model': [baseline]},
        {'target': str(directory), 'version': version, 'code_digest': ''},
    )
    return baseline


def test_copies_the_requested_version(tmp_path):
    old = publish(model(tmp_path / 'a', 'a'), tmp_path / 'target')
    publish(model(tmp_path / 'b', 'b'), tmp_path / 'target')
    baseline = _baseline(tmp_path / 'baseline', tmp_path / 'target', old.version)
    serving = path_utils.serving_model_path(baseline.uri)
    manifest = target.read_manifest(old.path)
    assert target.verify(serving) == [] and target.read_manifest(serving) == manifest
    assert Path(serving, 'variables', 'variables.data').read_text() == 'a'
    assert baseline.get_int_custom_property('has_model') == 1 and has_model(baseline)
    assert baseline.get_string_custom_property('served_version') == old.version
    assert baseline.get_string_custom_property('model_digest') == manifest.model_digest


def test_without_a_served_version_the_artifact_is_empty(tmp_path):
    baseline = _baseline(tmp_path / 'baseline', tmp_path / 'nowhere', '')
    assert [path.name for path in Path(baseline.uri).iterdir()] == ['NOTHING_SERVED']
    assert baseline.get_int_custom_property('has_model') == 0 and not has_model(baseline)
    assert not (tmp_path / 'nowhere').exists()


@pytest.mark.parametrize(
    ('damage', 'text'),
    [
        (shutil.rmtree, 'is no longer in .*: run again'),
        (lambda path: (path / 'saved_model.pb').unlink(), r'saved_model\.pb is missing; run again'),
        (
            lambda path: (path / 'variables' / 'variables.data').unlink(),
            r'variables/variables\.data is missing; run again',
        ),
        (
            lambda path: (path / 'variables' / 'variables.data').write_text('rot'),
            r'variables/variables\.data differs: 3 bytes',
        ),
        (lambda path: (path / 'manifest.json').unlink(), r'manifest\.json is missing'),
    ],
    ids=['deleted', 'no saved_model.pb', 'a missing file', 'changed', 'no manifest'],
)
def test_damaged_version_is_an_error(tmp_path, damage, text):
    pushed = publish(model(tmp_path / 'a'), tmp_path / 'target')
    damage(Path(pushed.path))
    with pytest.raises(target.TargetError, match=text):
        _baseline(tmp_path / 'baseline', tmp_path / 'target', pushed.version)


@pytest.mark.parametrize(
    'damage',
    [
        lambda path: (path / 'Format-Serving' / 'saved_model.pb').unlink(),
        lambda path: (path / 'Format-Serving' / 'variables' / 'variables.data').write_text('rot'),
        lambda path: shutil.rmtree(path / 'Format-Serving'),
        lambda path: (path / 'NOTHING_SERVED').unlink(),
    ],
    ids=['no saved_model.pb', 'changed', 'no model', 'no NOTHING_SERVED'],
)
def test_damaged_artifact_is_an_error(tmp_path, damage):
    """Otherwise Evaluator would judge the candidate without a baseline."""
    served = publish(model(tmp_path / 'a'), tmp_path / 'target').version
    for number, version in enumerate(['', served]):
        baseline = _baseline(tmp_path / str(number), tmp_path / 'target', version)
        with contextlib.suppress(FileNotFoundError):
            damage(Path(baseline.uri))
            with pytest.raises(
                target.TargetError,
                match=rf'{baseline.uri} is damaged: .*Delete that folder and run again',
            ):
                has_model(baseline)


def test_error_lists_the_served_versions(tmp_path):
    pushed = publish(model(tmp_path / 'a'), tmp_path / 'target')
    with pytest.raises(
        target.TargetError,
        match=rf'version 5 is no longer in .*target \(versions: {pushed.version}\)',
    ):
        _baseline(tmp_path / 'baseline', tmp_path / 'target', '5')


def test_components_connect():
    baseline = Baseline(target='/target', version='', code_digest='abc')
    assert baseline.outputs['model'].type is standard_artifacts.Model
    assert baseline.executor_spec.class_path == 'components.baseline.executor.Executor'
    evaluator = Evaluator(
        examples=types.Channel(type=standard_artifacts.Examples),
        model=types.Channel(type=standard_artifacts.Model),
        baseline_model=baseline.outputs['model'],
        eval_config=_eval_config(0.0),
        code_digest='c',
    )
    assert isinstance(evaluator, tfx_evaluator.Evaluator) and set(evaluator.outputs) == {
        'evaluation',
        'blessing',
    }
    assert evaluator.executor_spec.class_path == 'components.evaluator.executor.Executor'


def _eval_config(min_auc: float) -> config_pb2.EvalConfig:
    """A gate: AUC of at least `min_auc`, and better than the baseline's by 0.01."""
    parameters = EvaluationParameters(
        thresholds=[{'metric': 'auc', 'min': 0.0, 'max_worse': 0.0}], slices=['sex'], replicates=100
    )
    config = evaluation.eval_config(parameters, TASKS['nih_triage'])
    # Beyond what a configuration can ask for, so that the outcome is certain.
    bound = config.metrics_specs[0].per_slice_thresholds['auc'].thresholds[0].threshold
    bound.value_threshold.lower_bound.value = min_auc
    bound.change_threshold.absolute.value = 0.01
    return config


def _examples(folder: Path) -> types.Artifact:
    """Ingested examples: every second image is abnormal."""
    artifact = _artifact(standard_artifacts.Examples, folder)
    artifact.split_names = artifact_utils.encode_split_names(['test'])
    (folder / 'Split-test').mkdir()
    with gzip.open(folder / 'Split-test' / 'data_tfrecord-00000-of-00001.gz', 'wb') as stream:
        for number, image in enumerate(tiny_model.images()):
            stream.write(tfrecord.frame(_ingested(number, image)))
    return artifact


def _ingested(number: int, image: bytes) -> bytes:
    payload = examples.build(image, f'{number:08d}_000.png', {'No Finding': number % 2})
    example = example_pb2.Example.FromString(payload)
    texts = {PATIENT_ID: f'{number:08d}', SEX: 'F', VIEW: 'PA', AGE_BAND: '40-59'}
    for name, text in texts.items():
        examples.put_bytes(example, name, text.encode())
    for name, value in {AGE: 50, FOLLOW_UP: 0, 'abnormal': 1 - number % 2}.items():
        examples.put_int(example, name, value)
    examples.put_float(example, WEIGHT, 1.0)
    return examples.serialize(example)


def _schema(folder: Path) -> types.Artifact:
    artifact = _artifact(standard_artifacts.Schema, folder)
    shutil.copy(SCHEMA_FILE, folder / 'schema.pbtxt')
    return artifact


@pytest.mark.slow
@pytest.mark.parametrize(
    ('served', 'min_auc', 'blessed'),
    [(False, 0.0, 1), (False, 1.1, 0), (True, 0.0, 0)],
    ids=['first run passes', 'first run below the gate', 'no better than the baseline'],
)
def test_evaluator_with_and_without_baseline(tmp_path, served, min_auc, blessed):
    tiny_model.export(tmp_path / 'candidate' / 'Format-Serving')
    version = (
        publish(str(tmp_path / 'candidate' / 'Format-Serving'), tmp_path / 'target').version
        if served
        else ''
    )
    inputs = {
        'examples': [_examples(tmp_path / 'examples')],
        'schema': [_schema(tmp_path / 'schema')],
        'model': [_artifact(standard_artifacts.Model, tmp_path / 'candidate')],
        'baseline_model': [_baseline(tmp_path / 'baseline', tmp_path / 'target', version)],
    }
    result = _artifact(standard_artifacts.ModelEvaluation, tmp_path / 'evaluation')
    blessing = _artifact(standard_artifacts.ModelBlessing, tmp_path / 'blessing')
    properties = {
        'eval_config': json_format.MessageToJson(
            _eval_config(min_auc), preserving_proto_field_name=True
        ),
        'example_splits': '["test"]',
        'fairness_indicator_thresholds': 'null',
    }
    context = base_beam_executor.BaseBeamExecutor.Context(
        beam_pipeline_args=['--runner=DirectRunner', '--direct_num_workers=1'],
        tmp_dir=str(tmp_path / 'tmp'),
        unique_id='1',
    )
    EvaluatorExecutor(context).Do(
        inputs, {'evaluation': [result], 'blessing': [blessing]}, properties
    )
    assert blessing.get_int_custom_property('blessed') == blessed
    assert blessing.get_string_custom_property('model_digest') == pusher_blessed.model_digest(
        inputs['model'][0]
    )
    assert len(inputs['baseline_model']) == 1, 'the executor does not change its input dictionary'

    shown = gallery.read(result.uri)
    assert shown is not None and shown[gallery.THUMBNAIL].notna().sum() == 4

    metrics = pusher_executor.candidate_results([result])['metrics']
    assert metrics['example_count'] == 4.0, 'the candidate on all examples, not on a slice'
    assert 0.0 <= metrics['auc'] <= 1.0
