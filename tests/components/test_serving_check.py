"""ServingCheck: which models it blesses or refuses, its reasons, and what it hands to Pusher."""

from __future__ import annotations

import dataclasses
import functools
import json
import shutil
from pathlib import Path

import keras as keras3
import numpy as np
import pytest
import tensorflow as tf
from pydantic import ValidationError
from tensorflow_serving.apis import prediction_log_pb2
from tfx import types
from tfx.types import standard_artifacts
from tfx.utils import path_utils

from components.pusher import blessed, target
from components.serving_check import bad_images, checks, launcher, samples, session_probe, warmup
from components.serving_check.component import ServingCheck
from components.serving_check.executor import REPORT, Executor
from components.serving_check.parameters import ServingCheckParameters
from components.serving_check.session_model import SessionModel
from schemas import image_status
from tests.support import tiny_model
from trainer.artifacts import PREDICTIONS_FILE

_QUICK = ServingCheckParameters(latency_requests=6, throughput_batch=2, throughput_requests=1)
_BAD_IMAGES = 'images that cannot be assessed get their status'
_ALL = {check.name for check in checks.ALL}


@functools.cache
def _sound_model() -> tiny_model.TinyModel:
    return tiny_model.TinyModel()


@pytest.fixture(scope='module')
def export(tmp_path_factory) -> Path:
    """The sound model as a SavedModel. Tests share it, because an export takes seconds."""
    path = tmp_path_factory.mktemp('export')
    tf.saved_model.save(_sound_model(), str(path), signatures=_sound_model().signatures())
    return path


@pytest.fixture(scope='module')
def sound_model(export: Path) -> SessionModel:
    """The sound model, loaded as the probe does."""
    return SessionModel(str(export))


def _case(
    folder: Path,
    model: SessionModel,
    parameters: ServingCheckParameters = _QUICK,
    shift: float = 0.0,
) -> checks.Case:
    """`model` with samples and a warm-up file. The sound model gives the trainer's answers."""
    model_dir = str(folder / 'model')
    tiny_model.write_samples(folder, _sound_model(), shift=shift)
    warmup.write(model_dir, parameters.model_name, parameters.warmup_batches)
    return checks.Case(model, model_dir, samples.read(str(folder)), parameters)


def _reasons(case: checks.Case) -> dict[str, str]:
    """Failed check -> its reasons as one text. Stops at a vital check that fails."""
    reasons_by_check: dict[str, str] = {}
    for check in checks.ALL:
        if reasons := checks.run(check, case):
            reasons_by_check[check.name] = '; '.join(reasons)
            if check.vital:
                break
    return reasons_by_check


def test_sound_model_passes_every_check(tmp_path, sound_model):
    case = _case(tmp_path, sound_model)
    assert _reasons(case) == {}
    # The samples can reveal a broken model: their answers differ, and both flags occur.
    assert np.ptp([item.probability for item in case.samples.items]) > 0.1
    assert {item.flag for item in case.samples.items} == {0, 1}


@pytest.mark.parametrize(
    ('defect', 'check_name', 'reason'),
    [
        (
            'no_image_signature',
            'signatures as promised',
            "signature 'serve_image' is missing; the model has: embed, explain, serving_default, "
            'transform_features',
        ),
        (
            'missing_output',
            'signatures as promised',
            "outputs are ['model_version', 'probability', 'status']",
        ),
        ('double_dtype', 'signatures as promised', 'probability is float64: expected float32'),
        ('fixed_batch', 'signatures as promised', 'examples has shape [2]: expected [batch]'),
        (
            'nan',
            "answers equal the trainer's",
            '4 of 4 probabilities are not finite, e.g. 00000000_000.png: nan',
        ),
        ('out_of_range', "answers equal the trainer's", '4 of 4 probabilities are outside 0..1'),
        ('batch_dependent', 'batch of one equals batch of many', 'serve_image in one batch'),
        (
            'flat_map',
            'signatures as promised',
            'heat_map has shape [3, 3]: expected [batch, height, width]',
        ),
        (
            'blind',
            'heat maps belong to the same answers',
            'is not finite numbers [batch, height, width]',
        ),
        ('explains_another', 'heat maps belong to the same answers', 'explain'),
        ('no_embedding', 'signatures as promised', "signature 'embed' is missing"),
        (
            'embeds_nothing',
            'embeddings belong to the same answers',
            'is not finite numbers [batch, 64]',
        ),
        ('embeds_another', 'embeddings belong to the same answers', 'embed'),
        (
            'refuses',
            'images are assessed',
            "the image of the warm-up file, a good one, gets status 'unsupported'; 4 of 4 sample "
            'images are not',
        ),
        (
            'constant',
            'answers differ between images',
            'the model gives the same answer, 0.700000, for 5 different images',
        ),
        (
            'recovers',
            _BAD_IMAGES,
            "serve_image: text instead of an image gets status 'ok': expected 'undecodable'",
        ),
        ('raises', _BAD_IMAGES, 'INVALID_ARGUMENT'),
        (
            'unsafe',
            _BAD_IMAGES,
            'serve_image: a black image gets probability 0 and flag 0: expected 1',
        ),
        ('disturbs', _BAD_IMAGES, '2 of 2 probabilities differ'),
        (
            'answers_nothing',
            'a request without images is refused',
            'serve_image: a request without images gets',
        ),
    ],
    ids=lambda value: value if ' ' not in value else '',
)
def test_broken_export_is_refused(tmp_path, defect, check_name, reason):
    tiny_model.export(tmp_path / 'model', defect=defect)
    case = _case(tmp_path, SessionModel(str(tmp_path / 'model')))
    (check,) = (check for check in checks.ALL if check.name == check_name)
    assert reason in '; '.join(checks.run(check, case))


def test_a_sample_that_cannot_be_assessed_is_listed_and_not_compared(tmp_path, sound_model):
    """The Trainer also scores blank images, which the data may contain."""
    case = _case(tmp_path, sound_model)
    black = next(
        image
        for image, status in bad_images.examples(warmup.image()).values()
        if status == image_status.BLANK
    )
    first, *rest = case.samples.items
    blank = dataclasses.replace(first, image=black, example=samples.image_only(black))
    with_blank = dataclasses.replace(
        case, samples=samples.Samples((blank, *rest), case.samples.threshold)
    )
    assert with_blank.not_assessed == {first.image_id: image_status.BLANK}
    assert with_blank.ids == [item.image_id for item in rest]
    assert checks.images_assessed(with_blank) == checks.trainer_parity(with_blank) == []


@pytest.mark.parametrize(
    ('shift', 'tolerance', 'refused'),
    [(0.0, 1e-5, False), (-2e-3, 1e-5, True), (-2e-3, 1e-2, False)],
    ids=['equal', 'beyond the tolerance', 'within a wider tolerance'],
)
def test_answers_that_differ_from_the_trainers_are_refused(
    tmp_path, sound_model, shift, tolerance, refused
):
    parameters = _QUICK.model_copy(update={'probability_tolerance': tolerance})
    case = _case(tmp_path, sound_model, parameters, shift)
    reasons = '; '.join(checks.trainer_parity(case))
    assert bool(reasons) == refused
    if refused:
        assert '4 of 4 probabilities differ by more than 1e-05; most for 0000' in reasons


def test_flag_on_the_wrong_side_is_refused(tmp_path, sound_model):
    case = _case(tmp_path, sound_model)
    path = tmp_path / samples.ANSWERS_FILE
    content = json.loads(path.read_text())
    content['operating_point']['threshold'] = 0.999999
    content['samples'][1]['flag'] = 1 - content['samples'][1]['flag']
    path.write_text(json.dumps(content))
    other_threshold = dataclasses.replace(case, samples=samples.read(str(tmp_path)))
    assert 'flags contradict the operating point 0.999999' in '; '.join(
        checks.trainer_parity(other_threshold)
    )
    del content['operating_point']
    path.write_text(json.dumps(content))
    other_flag = dataclasses.replace(case, samples=samples.read(str(tmp_path)))
    reasons = '; '.join(checks.trainer_parity(other_flag))
    assert '1 of 4 flags differ; e.g. 00000001_000.png' in reasons


@pytest.mark.parametrize(
    ('damage', 'text'),
    [
        (lambda data: b'', 'the file is empty'),
        (lambda data: data[:200], 'the file ends inside this record'),
        (lambda data: data.replace(b'serve_image', b'serve_ghost'), 'checksum'),
    ],
    ids=['empty', 'truncated', 'changed'],
)
def test_damaged_warmup_file_is_refused(tmp_path, sound_model, damage, text):
    case = _case(tmp_path, sound_model)
    path = Path(warmup.path_in(case.model_dir))
    path.write_bytes(damage(path.read_bytes()))
    (check,) = (check for check in checks.ALL if check.run is checks.warmup_replay)
    assert text in '; '.join(checks.run(check, case))


def test_warmup_request_that_the_model_refuses_is_a_reason(tmp_path, sound_model, monkeypatch):
    monkeypatch.setattr(warmup, 'image_only', lambda image: b'not an example')
    case = _case(tmp_path, sound_model)
    assert 'warm-up request 0 (serving_default) fails: INVALID_ARGUMENT' in '; '.join(
        checks.warmup_replay(case)
    )


def test_tensorflow_reads_the_warmup_file(tmp_path):
    warmup.write(str(tmp_path), 'cxr', (1, 8))
    path = path_utils.warmup_file_path(str(tmp_path))
    assert path == warmup.path_in(str(tmp_path))
    logs = [
        prediction_log_pb2.PredictionLog.FromString(record.numpy())
        for record in tf.data.TFRecordDataset(path)
    ]
    requests = [log.predict_log.request for log in logs]
    actual = [
        (
            request.model_spec.name,
            request.model_spec.signature_name,
            len(tf.make_ndarray(*request.inputs.values())),
        )
        for request in requests
    ]
    assert actual == [
        ('cxr', name, size)
        for name in ('serving_default', 'serve_image', 'explain', 'embed')
        for size in (1, 8)
    ]
    assert tf.io.decode_image(tf.make_ndarray(requests[2].inputs['image_bytes'])[0]).shape == [
        600,
        600,
        1,
    ]
    before = Path(path).read_bytes()
    warmup.write(str(tmp_path), 'cxr', (1, 8))
    assert Path(path).read_bytes() == before, 'a second write keeps the digest of the model'


class _Keras3Model(tiny_model.TinyModel):
    """TinyModel around a Keras 3 network with BatchNormalization."""

    def __init__(self) -> None:
        super().__init__()
        layers = keras3.layers
        self._network = keras3.Sequential(
            [
                layers.Input([16, 16, 1]),
                layers.Conv2D(4, 3),
                layers.BatchNormalization(),
                layers.GlobalAveragePooling2D(),
                layers.Dense(1),
            ]
        )


def test_keras3_export_loads_eagerly_but_is_refused(tmp_path):
    model = _Keras3Model()
    tf.saved_model.save(model, str(tmp_path / 'model'), signatures=model.signatures())
    eager = tf.saved_model.load(str(tmp_path / 'model')).signatures['serve_image'](
        tf.constant(tiny_model.images(2))
    )
    assert np.isfinite(eager['probability'].numpy()).all()
    tiny_model.write_samples(tmp_path, model)
    case = checks.Case(
        SessionModel(str(tmp_path / 'model')),
        str(tmp_path / 'model'),
        samples.read(str(tmp_path)),
        _QUICK,
    )
    (check,) = (check for check in checks.ALL if check.run is checks.images_assessed)
    assert 'FAILED_PRECONDITION: Could not find variable' in '; '.join(checks.run(check, case))


@pytest.mark.parametrize(
    ('damage', 'text'),
    [
        (lambda answers, records: answers.unlink(), 'No such file'),
        (lambda answers, records: records.unlink(), 'No such file'),
        (lambda answers, records: answers.write_text('{'), 'expected {"samples"'),
        (lambda answers, records: answers.write_text('{"samples": []}'), 'holds 4 records and'),
        (
            lambda answers, records: answers.write_text(
                answers.read_text().replace('00000001_', '00000009_')
            ),
            'not in the same order',
        ),
        (
            lambda answers, records: records.write_bytes(records.read_bytes()[:-5]),
            'ends inside this record',
        ),
        (
            lambda answers, records: answers.write_text(
                answers.read_text().replace('"flag": ', '"flag": 7')
            ),
            'expected 0..1 and 0 or 1',
        ),
    ],
    ids=[
        'no answers',
        'no records',
        'not JSON',
        'no samples',
        'other order',
        'truncated',
        'flag 70',
    ],
)
def test_unusable_samples_are_named(tmp_path, damage, text):
    tiny_model.write_samples(tmp_path, _sound_model())
    damage(tmp_path / samples.ANSWERS_FILE, tmp_path / samples.RECORDS_FILE)
    with pytest.raises(samples.SamplesError, match='serving_samples') as error:
        samples.read(str(tmp_path))
    assert text in str(error.value)


@pytest.mark.parametrize(
    'parameters',
    [{'tolerance': 1}, {'probability_tolerance': 0}, {'warmup_batches': []}, {'model_name': 'a/b'}],
    ids=lambda parameters: next(iter(parameters)),
)
def test_invalid_parameters_are_refused(parameters):
    with pytest.raises(ValidationError, match=next(iter(parameters))):
        ServingCheckParameters(**parameters)


def _artifacts(folder: Path, export: Path) -> dict[str, types.Artifact]:
    """The artifacts of a run that trained the sound model and exported `export`."""
    artifacts = {}
    for kind, name in (
        (standard_artifacts.Model, 'model'),
        (standard_artifacts.ModelRun, 'model_run'),
        (standard_artifacts.Examples, 'examples'),
        (standard_artifacts.InfraBlessing, 'blessing'),
    ):
        artifact = kind()
        artifact.uri = str(folder / name)
        Path(artifact.uri).mkdir(parents=True)
        artifacts[name] = artifact
    artifacts['examples'].split_names = '["val"]'
    shutil.copytree(export, folder / 'model' / 'Format-Serving')
    tiny_model.write_run(folder / 'model_run', folder / 'examples', _sound_model())
    return artifacts


def _report(
    artifacts: dict[str, types.Artifact], parameters: ServingCheckParameters = _QUICK
) -> dict:
    """Runs the executor and reads its report."""
    inputs = {name: [artifacts[name]] for name in ('model', 'model_run', 'examples')}
    Executor().Do(
        inputs,
        {'blessing': [artifacts['blessing']]},
        {'parameters': parameters.model_dump_json(), 'code_digest': ''},
    )
    return json.loads((Path(artifacts['blessing'].uri) / REPORT).read_text())


@pytest.mark.slow
def test_executor_blesses_and_hands_the_model_on(tmp_path, export):
    artifacts = _artifacts(tmp_path, export)
    report, blessing = _report(artifacts), artifacts['blessing']
    assert (
        blessing.get_int_custom_property('blessed'),
        blessing.get_int_custom_property('has_model'),
    ) == (1, 1)
    assert report['blessed'] and report['reasons'] == []
    assert {check['name'] for check in report['checks']} == {'loads in a session', *_ALL}
    assert report['latency']['requests'] == 6
    assert (
        0
        < report['latency']['p50_ms']
        <= report['latency']['p95_ms']
        <= report['latency']['p99_ms']
    )
    stamped = Path(path_utils.stamped_model_path(blessing.uri))
    assert Path(path_utils.warmup_file_path(str(stamped))).exists()
    original = tmp_path / 'model' / 'Format-Serving'
    for path, key in ((original, blessed.MODEL), (stamped, blessed.STAMPED)):
        assert blessing.get_string_custom_property(key) == target.model_digest(
            target.digests(str(path))
        )
    for file in (file for file in original.rglob('*') if file.is_file()):
        assert (stamped / file.relative_to(original)).read_bytes() == file.read_bytes()
    assert not Path(warmup.path_in(str(original))).exists(), 'the input artifact does not change'
    assert sorted(entry.name for entry in Path(blessing.uri).iterdir() if entry.is_file()) == [
        'INFRA_BLESSED',
        REPORT,
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ('defect', 'limits', 'reason'),
    [
        ('no_image_signature', {}, "signatures as promised: signature 'serve_image' is missing"),
        ('hungry', {'memory_gb': 1.5}, 'of memory (memory_gb is 1.5)'),
        ('hangs', {'timeout_s': 15}, 'was killed after 15 s (timeout_s)'),
    ],
)
def test_executor_refuses_without_an_exception(tmp_path, defect, limits, reason):
    tiny_model.export(tmp_path / 'export', defect=defect)
    artifacts = _artifacts(tmp_path, tmp_path / 'export')
    report = _report(artifacts, _QUICK.model_copy(update=limits))
    blessing = artifacts['blessing']
    assert (
        blessing.get_int_custom_property('blessed'),
        blessing.get_int_custom_property('has_model'),
    ) == (0, 0)
    assert not report['blessed'] and reason in '; '.join(report['reasons'])
    assert sorted(entry.name for entry in Path(blessing.uri).iterdir()) == [
        'INFRA_NOT_BLESSED',
        REPORT,
    ]


@pytest.mark.slow
def test_model_that_cannot_be_loaded_is_refused(tmp_path, export):
    artifacts = _artifacts(tmp_path, export)
    (variables,) = (tmp_path / 'model' / 'Format-Serving' / 'variables').glob('*.data-*')
    variables.write_bytes(variables.read_bytes()[:100])
    report = _report(artifacts)
    assert not report['blessed'] and report['reasons'][0].startswith('loads in a session: ')


def _rename_images(predictions: Path, examples: Path) -> None:
    predictions.write_text(predictions.read_text().replace('_000.png', '_001.png'))


def _truncate_examples(predictions: Path, examples: Path) -> None:
    examples.write_bytes(examples.read_bytes()[:-5])


@pytest.mark.parametrize(
    ('damage', 'text'),
    [
        (
            lambda predictions, examples: predictions.unlink(),
            'predictions.json is missing: .* run the Trainer again',
        ),
        (
            lambda predictions, examples: predictions.write_text('{}'),
            'not what the Trainer writes',
        ),
        (_rename_images, "none of its images is among the examples of split 'val'"),
        (_truncate_examples, 'the file ends inside this record'),
    ],
    ids=['missing', 'no answers', 'other images', 'truncated examples'],
)
def test_answers_without_their_examples_stop_the_run(tmp_path, export, damage, text):
    artifacts = _artifacts(tmp_path, export)
    (examples,) = (tmp_path / 'examples' / 'Split-val').iterdir()
    damage(tmp_path / 'model_run' / PREDICTIONS_FILE, examples)
    with pytest.raises(samples.SamplesError, match=text):
        _report(artifacts)


def test_probe_that_fails_before_loading_the_model_is_an_error(tmp_path):
    (tmp_path / session_probe.PARAMETERS).write_text(_QUICK.model_dump_json())
    with pytest.raises(launcher.ProbeError, match='before it loaded the model') as error:
        launcher.run(str(tmp_path), _QUICK)
    assert 'serving_samples.json' in str(error.value), 'the message ends with what the probe wrote'


def test_component_has_its_output_and_executor():
    component = ServingCheck(
        model=types.Channel(type=standard_artifacts.Model),
        model_run=types.Channel(type=standard_artifacts.ModelRun),
        examples=types.Channel(type=standard_artifacts.Examples),
        parameters=_QUICK.model_dump_json(),
        code_digest='abc',
    )
    assert component.outputs['blessing'].type is standard_artifacts.InfraBlessing
    assert component.executor_spec.class_path == 'components.serving_check.executor.Executor'
