"""ServingCheck: what it blesses, what it refuses and why, and what it leaves for Pusher."""

from __future__ import annotations

import dataclasses
import functools
import json
import tempfile
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
_BAD_IMAGES = 'images that cannot be assessed get a status, and no others'
_ALL = {check.name for check in checks.ALL}


@functools.cache
def _sound() -> tiny_model.TinyModel:
    return tiny_model.TinyModel()


@functools.cache
def _loaded() -> SessionModel:
    """The sound model, exported and loaded as the probe does: once, as that takes seconds."""
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(_sound(), folder, signatures=_sound().signatures())
        return SessionModel(folder)


def _case(
    folder: Path, defect: str = '', parameters: ServingCheckParameters = _QUICK, shift: float = 0.0
) -> checks.Case:
    """A model with its samples and its warm-up file; the sound model answers for the trainer."""
    model_dir = str(folder / 'model')
    tiny_model.write_samples(folder, _sound(), shift=shift)
    if defect:
        tiny_model.export(folder / 'model', defect=defect)
    warmup.write(model_dir, parameters.model_name, parameters.warmup_batches)
    model = SessionModel(model_dir) if defect else _loaded()
    return checks.Case(model, model_dir, samples.read(str(folder)), parameters)


def _reasons(case: checks.Case) -> dict[str, str]:
    """Check -> its reasons as one text, of the checks that fail, up to a vital one."""
    failed: dict[str, str] = {}
    for check in checks.ALL:
        if reasons := checks.run(check, case):
            failed[check.name] = '; '.join(reasons)
            if check.vital:
                break
    return failed


def test_sound_model_passes_every_check(tmp_path):
    case = _case(tmp_path)
    assert _reasons(case) == {}
    # The samples tell something: their answers differ, and both flags are there.
    assert np.ptp([item.probability for item in case.samples.items]) > 0.1
    assert {item.flag for item in case.samples.items} == {0, 1}


@pytest.mark.parametrize(
    ('defect', 'check', 'text'),
    [
        (
            'no_image_signature',
            'signatures as promised',
            "signature 'serve_image' is missing; there are: explain, serving_default, "
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
            'heat maps are of the same answers',
            'is not finite numbers [batch, height, width]',
        ),
        ('explains_another', 'heat maps are of the same answers', 'explain'),
        (
            'refuses',
            'films are assessed',
            "a good film, that of the warm-up file, gets status 'unsupported'; 4 of 4 sample "
            'films are not',
        ),
        (
            'constant',
            'answers differ between films',
            'the model gives the same answer, 0.700000, for 5 different films',
        ),
        (
            'recovers',
            _BAD_IMAGES,
            "serve_image: text in place of an image gets status 'ok': expected 'undecodable'",
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
def test_broken_export_is_refused(tmp_path, defect, check, text):
    case = _case(tmp_path, defect)
    (failing,) = (each for each in checks.ALL if each.name == check)
    assert text in '; '.join(checks.run(failing, case))


def test_a_sample_that_cannot_be_assessed_is_left_out_and_named(tmp_path):
    """The data may hold a blank film, to which the Trainer gives some score."""
    case = _case(tmp_path)
    (_, black), *_ = (
        (what, image)
        for what, (image, status) in bad_images.examples(warmup.film()).items()
        if status == image_status.BLANK
    )
    first, *others = case.samples.items
    blank = dataclasses.replace(first, image=black, example=samples.image_only(black))
    with_blank = checks.Case(
        case.model,
        case.model_dir,
        samples.Samples((blank, *others), case.samples.threshold),
        case.parameters,
    )
    assert with_blank.not_assessed == {first.image_id: image_status.BLANK}
    assert with_blank.ids == [item.image_id for item in others]
    assert checks.films_assessed(with_blank) == checks.trainer_parity(with_blank) == []


@pytest.mark.parametrize(
    ('shift', 'tolerance', 'refused'),
    [(0.0, 1e-5, False), (-2e-3, 1e-5, True), (-2e-3, 1e-2, False)],
    ids=['equal', 'beyond the tolerance', 'within a wider tolerance'],
)
def test_answers_of_another_model_are_refused(tmp_path, shift, tolerance, refused):
    parameters = _QUICK.model_copy(update={'probability_tolerance': tolerance})
    reasons = '; '.join(checks.trainer_parity(_case(tmp_path, parameters=parameters, shift=shift)))
    assert bool(reasons) == refused
    if refused:
        assert '4 of 4 probabilities differ by more than 1e-05; most for 0000' in reasons


def test_flag_on_the_wrong_side_is_refused(tmp_path):
    case = _case(tmp_path)
    path = tmp_path / samples.ANSWERS_FILE
    content = json.loads(path.read_text())
    content['operating_point']['threshold'] = 0.999999
    content['samples'][1]['flag'] = 1 - content['samples'][1]['flag']
    path.write_text(json.dumps(content))
    moved = checks.Case(case.model, case.model_dir, samples.read(str(tmp_path)), case.parameters)
    assert 'flags contradict the operating point 0.999999' in '; '.join(
        checks.trainer_parity(moved)
    )
    del content['operating_point']
    path.write_text(json.dumps(content))
    flipped = checks.Case(case.model, case.model_dir, samples.read(str(tmp_path)), case.parameters)
    assert '1 of 4 flags differ; e.g. 00000001_000.png' in '; '.join(checks.trainer_parity(flipped))


@pytest.mark.parametrize(
    ('damage', 'text'),
    [
        (lambda data: b'', 'the file is empty'),
        (lambda data: data[:200], 'the file ends inside this record'),
        (lambda data: data.replace(b'serve_image', b'serve_ghost'), 'checksum'),
    ],
    ids=['empty', 'truncated', 'changed'],
)
def test_damaged_warmup_file_is_refused(tmp_path, damage, text):
    case = _case(tmp_path)
    path = Path(warmup.path_in(case.model_dir))
    path.write_bytes(damage(path.read_bytes()))
    (replay,) = (check for check in checks.ALL if check.run is checks.warmup_replay)
    assert text in '; '.join(checks.run(replay, case))


def test_warmup_request_that_the_model_refuses(tmp_path, monkeypatch):
    monkeypatch.setattr(warmup, 'image_only', lambda film: b'not an example')
    case = _case(tmp_path)
    assert 'warm-up request 0 (serving_default) fails: INVALID_ARGUMENT' in '; '.join(
        checks.warmup_replay(case)
    )


def test_warmup_file_as_tensorflow_reads_it(tmp_path):
    warmup.write(str(tmp_path), 'cxr', (1, 8))
    path = path_utils.warmup_file_path(str(tmp_path))
    assert path == warmup.path_in(str(tmp_path))
    logs = [
        prediction_log_pb2.PredictionLog.FromString(record.numpy())
        for record in tf.data.TFRecordDataset(path)
    ]
    requests = [log.predict_log.request for log in logs]
    found = [
        (
            request.model_spec.name,
            request.model_spec.signature_name,
            len(tf.make_ndarray(*request.inputs.values())),
        )
        for request in requests
    ]
    assert found == [
        ('cxr', name, size)
        for name in ('serving_default', 'serve_image', 'explain')
        for size in (1, 8)
    ]
    assert tf.io.decode_image(tf.make_ndarray(requests[2].inputs['image_bytes'])[0]).shape == [
        600,
        600,
        1,
    ]
    before = Path(path).read_bytes()
    warmup.write(str(tmp_path), 'cxr', (1, 8))
    assert Path(path).read_bytes() == before, 'the same model must keep its digest'


class _Keras3Model(tiny_model.TinyModel):
    """The same around a Keras 3 network with BatchNormalization."""

    def __init__(self) -> None:
        super().__init__()
        layers = keras3.layers
        self.net = keras3.Sequential(
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
    (assessed,) = (check for check in checks.ALL if check.run is checks.films_assessed)
    assert 'FAILED_PRECONDITION: Could not find variable' in '; '.join(checks.run(assessed, case))


@pytest.mark.parametrize(
    ('spoil', 'text'),
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
        'no JSON',
        'no samples',
        'other order',
        'truncated',
        'flag 70',
    ],
)
def test_unusable_samples_are_named(tmp_path, spoil, text):
    tiny_model.write_samples(tmp_path, tiny_model.TinyModel())
    spoil(tmp_path / samples.ANSWERS_FILE, tmp_path / samples.RECORDS_FILE)
    with pytest.raises(samples.SamplesError, match='serving_samples') as error:
        samples.read(str(tmp_path))
    assert text in str(error.value)


@pytest.mark.parametrize(
    'wrong',
    [{'tolerance': 1}, {'probability_tolerance': 0}, {'warmup_batches': []}, {'model_name': 'a/b'}],
    ids=lambda wrong: next(iter(wrong)),
)
def test_parameters_are_strict(wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        ServingCheckParameters(**wrong)


def _artifacts(folder: Path) -> dict[str, types.Artifact]:
    found = {}
    for kind, name in (
        (standard_artifacts.Model, 'model'),
        (standard_artifacts.ModelRun, 'model_run'),
        (standard_artifacts.Examples, 'examples'),
        (standard_artifacts.InfraBlessing, 'blessing'),
    ):
        artifact = kind()
        artifact.uri = str(folder / name)
        Path(artifact.uri).mkdir(parents=True)
        found[name] = artifact
    found['examples'].split_names = '["val"]'
    return found


def _check(found: dict[str, types.Artifact], parameters: ServingCheckParameters = _QUICK) -> dict:
    inputs = {name: [found[name]] for name in ('model', 'model_run', 'examples')}
    Executor().Do(
        inputs,
        {'blessing': [found['blessing']]},
        {'parameters': parameters.model_dump_json(), 'code_digest': ''},
    )
    return json.loads((Path(found['blessing'].uri) / REPORT).read_text())


def _do(
    folder: Path, defect: str = '', parameters: ServingCheckParameters = _QUICK
) -> tuple[types.Artifact, dict]:
    found = _artifacts(folder)
    tiny_model.export(Path(found['model'].uri) / 'Format-Serving', defect=defect)
    tiny_model.write_run(
        Path(found['model_run'].uri), Path(found['examples'].uri), tiny_model.TinyModel()
    )
    return found['blessing'], _check(found, parameters)


@pytest.mark.slow
def test_executor_blesses_and_hands_the_model_on(tmp_path):
    blessing, report = _do(tmp_path)
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
    for judged, key in ((original, blessed.MODEL), (stamped, blessed.STAMPED)):
        assert blessing.get_string_custom_property(key) == target.model_digest(
            target.digests(str(judged))
        )
    for file in (file for file in original.rglob('*') if file.is_file()):
        assert (stamped / file.relative_to(original)).read_bytes() == file.read_bytes()
    assert not Path(warmup.path_in(str(original))).exists(), 'the input artifact stays as it was'
    assert sorted(entry.name for entry in Path(blessing.uri).iterdir() if entry.is_file()) == [
        'INFRA_BLESSED',
        REPORT,
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ('defect', 'limits', 'text'),
    [
        ('no_image_signature', {}, "signatures as promised: signature 'serve_image' is missing"),
        ('hungry', {'memory_gb': 1.5}, 'of memory (memory_gb is 1.5)'),
        ('hangs', {'timeout_s': 15}, 'was ended after 15 s (timeout_s)'),
    ],
)
def test_executor_refuses_without_an_exception(tmp_path, defect, limits, text):
    blessing, report = _do(tmp_path, defect, _QUICK.model_copy(update=limits))
    assert (
        blessing.get_int_custom_property('blessed'),
        blessing.get_int_custom_property('has_model'),
    ) == (0, 0)
    assert not report['blessed'] and any(text in reason for reason in report['reasons'])
    assert sorted(entry.name for entry in Path(blessing.uri).iterdir()) == [
        'INFRA_NOT_BLESSED',
        REPORT,
    ]


@pytest.mark.slow
def test_model_that_cannot_be_loaded_is_refused(tmp_path):
    found = _artifacts(tmp_path)
    serving = Path(found['model'].uri) / 'Format-Serving'
    tiny_model.export(serving)
    tiny_model.write_run(
        Path(found['model_run'].uri), Path(found['examples'].uri), tiny_model.TinyModel()
    )
    variables = next((serving / 'variables').glob('*.data-*'))
    variables.write_bytes(variables.read_bytes()[:100])
    report = _check(found)
    assert not report['blessed'] and report['reasons'][0].startswith('loads in a session: ')


def _of_other_images(found):
    path = Path(found['model_run'].uri) / PREDICTIONS_FILE
    path.write_text(path.read_text().replace('_000.png', '_001.png'))


def _cut_examples(found):
    (path,) = (Path(found['examples'].uri) / 'Split-val').iterdir()
    path.write_bytes(path.read_bytes()[:-5])


@pytest.mark.parametrize(
    ('spoil', 'text'),
    [
        (
            lambda found: (Path(found['model_run'].uri) / PREDICTIONS_FILE).unlink(),
            'predictions.json is missing: .* run the Trainer again',
        ),
        (
            lambda found: (Path(found['model_run'].uri) / PREDICTIONS_FILE).write_text('{}'),
            'not what the Trainer writes',
        ),
        (_of_other_images, "none of its images is among the examples of split 'val'"),
        (_cut_examples, 'the file ends inside this record'),
    ],
    ids=['missing', 'no answers', 'other images', 'cut examples'],
)
def test_answers_that_fit_no_examples_stop_the_run(tmp_path, spoil, text):
    found = _artifacts(tmp_path)
    tiny_model.export(Path(found['model'].uri) / 'Format-Serving')
    tiny_model.write_run(
        Path(found['model_run'].uri), Path(found['examples'].uri), tiny_model.TinyModel()
    )
    spoil(found)
    with pytest.raises(samples.SamplesError, match=text):
        _check(found)


def test_probe_that_never_reaches_the_model_is_an_error(tmp_path):
    (tmp_path / session_probe.PARAMETERS).write_text(_QUICK.model_dump_json())
    with pytest.raises(launcher.ProbeError, match='before it came to the model') as error:
        launcher.run(str(tmp_path), _QUICK)
    assert 'serving_samples.json' in str(error.value), 'its last words tell why'


def test_component_connects():
    component = ServingCheck(
        model=types.Channel(type=standard_artifacts.Model),
        model_run=types.Channel(type=standard_artifacts.ModelRun),
        examples=types.Channel(type=standard_artifacts.Examples),
        parameters=_QUICK.model_dump_json(),
        code_digest='abc',
    )
    assert component.outputs['blessing'].type is standard_artifacts.InfraBlessing
    assert component.executor_spec.class_path == 'components.serving_check.executor.Executor'
