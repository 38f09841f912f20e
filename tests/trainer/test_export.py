"""From transformed examples to an exported model: `run_fn` as TFX calls it, and the model through
TensorFlow's session loader.
"""

from __future__ import annotations

import csv
import dataclasses
import gzip
import io
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft
import tf_keras as keras
from PIL import Image
from tensorflow.core.protobuf import saved_model_pb2

from records.examples import build
from schemas import image_status, signatures
from schemas.features import IMAGE, transformed
from schemas.labels import NO_FINDING
from tests.support import synthetic_images
from trainer import input_pipeline, training
from trainer import model as model_lib
from trainer import run as run_lib
from trainer.artifacts import HISTORY_FILE, MODEL_INFO_FILE, PREDICTIONS_FILE
from trainer.calibration import NONE, Calibration
from trainer.input_pipeline import Split
from trainer.parameters import (
    ModelParameters,
    OperatingPointParameters,
    TrainerParameters,
    TrainParameters,
)
from trainer.preprocessing import decode_stored
from trainer.signatures import TriageModule
from trainer.tasks import TASKS, Task

CALIBRATION = Calibration(offset=0.7, temperature=1.9)


@pytest.fixture(scope='module', autouse=True)
def small_films() -> Iterator[None]:
    """Lowers the smallest side allowed to that of the synthetic images."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(image_status, 'MIN_SIDE', synthetic_images.SIDE)
        yield


def _images() -> list[bytes]:
    """Films of the size and of others, as PNG and as JPEG, grey and colour."""
    images = [
        synthetic_images.png(synthetic_images.draw(number % 2, 50 + number)) for number in range(4)
    ]
    for number, (kind, mode, side) in enumerate(
        (('JPEG', 'L', 90), ('JPEG', 'RGB', 64), ('PNG', 'RGB', 47))
    ):
        out = io.BytesIO()
        Image.fromarray(synthetic_images.draw(1, 60 + number, side)[..., 0]).convert(mode).save(
            out, kind
        )
        images.append(out.getvalue())
    return images


def _serve(path: str, signature: signatures.Signature, batch: list[bytes]) -> dict[str, np.ndarray]:
    """Answers through the session loader, the way TensorFlow Serving loads a model."""
    return _serve_batches(path, signature, [batch])[0]


def _serve_batches(
    path: str, signature: signatures.Signature, batches: list[list[bytes]]
) -> list[dict[str, np.ndarray]]:
    """The answers of a model that is loaded once to each of several batches."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        meta = tf.compat.v1.saved_model.load(session, [tf.saved_model.SERVING], path)
        loaded = meta.signature_def[signature.name]
        outputs = {name: tensor.name for name, tensor in loaded.outputs.items()}
        feed = loaded.inputs[signature.input].name
        return [session.run(outputs, {feed: batch}) for batch in batches]


@pytest.fixture(scope='module')
def exported(
    transform_output: tft.TFTransformOutput, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, keras.Model, float]:
    """An untrained network, its export, and a threshold that stands on the score of an image."""
    keras.utils.set_random_seed(1)
    network = model_lib.build(
        ModelParameters(backbone='scratch_cnn', image_size=synthetic_images.SIDE)
    )
    model = network.model
    probabilities = CALIBRATION.apply(_logits(model, transform_output)).astype(np.float32)
    threshold = float(np.sort(probabilities)[3])
    module = TriageModule(network, synthetic_images.SIDE, [CALIBRATION], threshold, 'p-1')
    path = str(tmp_path_factory.mktemp('exported') / 'model')
    module.export(path)
    return path, model, threshold


def _logits(model: keras.Model, transform_output: tft.TFTransformOutput) -> np.ndarray:
    """Of what Transform's graph stores, as the network saw it in training."""
    stored = transform_output.transform_features_layer()({IMAGE: tf.constant(_images())[:, None]})[
        transformed(IMAGE)
    ]
    return model(decode_stored(stored, synthetic_images.SIDE), training=False).numpy()[:, 0]


def _as_examples(images: list[bytes]) -> list[bytes]:
    return [build(image, None, {NO_FINDING: 1}) for image in images]


@pytest.mark.parametrize('signature', signatures.SIGNATURES, ids=lambda signature: signature.name)
def test_the_session_loader_gives_what_python_gives(
    signature: signatures.Signature, exported, transform_output
) -> None:
    path, model, threshold = exported
    batch = _images() if signature is signatures.IMAGES else _as_examples(_images())
    answers = _serve(path, signature, batch)
    assert set(answers) == set(signature.outputs)
    expected = 1 / (
        1
        + np.exp(
            -(_logits(model, transform_output).astype(float) - CALIBRATION.offset)
            / CALIBRATION.temperature
        )
    )
    assert np.allclose(answers[signatures.PROBABILITY], expected, atol=1e-6)
    assert np.array_equal(
        answers[signatures.FLAG],
        (answers[signatures.PROBABILITY] >= np.float32(threshold)).astype(np.float32),
    )
    assert set(answers[signatures.MODEL_VERSION]) == {b'p-1'}


def test_no_png_is_written_between_an_image_and_its_score(exported) -> None:
    for function in tf.saved_model.load(exported[0]).signatures.values():
        graph = function.graph.as_graph_def()
        operations = {
            node.op
            for nodes in (graph.node, *(each.node_def for each in graph.library.function))
            for node in nodes
        }
        assert 'EncodePng' not in operations
        assert 'ScaleAndTranslate' in operations


def test_both_signatures_give_the_very_same(exported) -> None:
    images, examples = (
        _serve(exported[0], signatures.IMAGES, _images()),
        _serve(exported[0], signatures.EXAMPLES, _as_examples(_images())),
    )
    assert all(np.array_equal(images[name], examples[name]) for name in signatures.SCORES)


def test_shapes_and_types_are_those_of_the_contract(exported) -> None:
    loaded = tf.saved_model.load(exported[0])
    for signature in signatures.SIGNATURES:
        function = loaded.signatures[signature.name]
        assert {
            name: tensor.dtype.name for name, tensor in function.structured_outputs.items()
        } == signature.outputs
        assert all(tensor.shape.rank == 1 for tensor in function.structured_outputs.values())
        (argument,) = function.structured_input_signature[1].values()
        assert (argument.name, argument.shape.as_list(), argument.dtype) == (
            signature.input,
            [None],
            tf.string,
        )


def test_an_export_holds_the_weights_and_nothing_of_keras(exported) -> None:
    path, model, _ = exported
    nodes = (
        saved_model_pb2.SavedModel.FromString((Path(path) / 'saved_model.pb').read_bytes())
        .meta_graphs[0]
        .object_graph_def.nodes
    )
    assert not [
        node.user_object.identifier for node in nodes if 'keras' in node.user_object.identifier
    ]
    assert sum(node.HasField('variable') for node in nodes) == len(model.weights)


def test_alone_or_in_a_batch_an_image_has_the_same_score(exported) -> None:
    together = _serve(exported[0], signatures.IMAGES, _images())[signatures.PROBABILITY]
    batches = [[image] for image in _images()]
    answers = _serve_batches(exported[0], signatures.IMAGES, batches)
    alone = [answer[signatures.PROBABILITY][0] for answer in answers]
    assert np.allclose(together, alone, atol=1e-6)


def test_a_case_at_the_threshold_is_flagged() -> None:
    """A logit that is known exactly: the bias alone, with weights of 0."""
    network = model_lib.build(
        ModelParameters(backbone='scratch_cnn', image_size=synthetic_images.SIDE)
    )
    model = network.model
    kernel, _ = model.layers[-1].get_weights()
    model.layers[-1].set_weights([kernel * 0, np.zeros(1)])
    flags = []
    for threshold in (
        0.5,
        float(np.nextafter(np.float32(0.5), np.float32(1))),
        float(np.nextafter(np.float32(0.5), np.float32(0))),
    ):
        module = TriageModule(network, synthetic_images.SIDE, [NONE], threshold, 'p-1')
        answer = module.serve_images(tf.constant(_images()[:1]))
        assert answer[signatures.PROBABILITY].numpy()[0] == 0.5
        flags.append(float(answer[signatures.FLAG][0]))
    assert flags == [1.0, 0.0, 1.0]


@pytest.mark.parametrize(
    'signature', signatures.ALL_SIGNATURES, ids=lambda signature: signature.name
)
def test_an_image_that_is_not_assessed_goes_to_a_reader_and_its_neighbours_keep_their_answers(
    signature, exported
) -> None:
    """Also beside bytes that are no tf.Example, and an example without an image."""
    good = _images()
    mixed = [good[0], b'', good[1], b'not an image', good[5][: len(good[5]) // 2], *good[2:]]
    if signature is signatures.EXAMPLES:
        mixed = [
            *_as_examples(mixed),
            b'\xff not an example',
            tf.train.Example().SerializeToString(),
        ]
        good = _as_examples(good)
    expected, answers = _serve(exported[0], signature, good), _serve(exported[0], signature, mixed)
    is_ok = np.isin(np.arange(len(mixed)), [0, 2, *range(5, len(good) + 3)])
    assert {*answers[signatures.STATUS][is_ok]} == {*expected[signatures.STATUS]} == {b'ok'}
    assert answers[signatures.STATUS][~is_ok].tolist()[:3] == [
        b'undecodable',
        b'undecodable',
        b'truncated',
    ]
    # Another batch size rounds the last bit in another way, so the flag of a score on the threshold
    # is open.
    off_threshold = np.abs(expected[signatures.PROBABILITY] - exported[2]) > 1e-6
    assert off_threshold.sum() >= len(good) - 1
    for name in answers:
        if answers[name].dtype == np.float32:
            compared = off_threshold if name == signatures.FLAG else np.full(len(good), True)
            assert np.allclose(answers[name][is_ok][compared], expected[name][compared], atol=1e-6)
            assert {*answers[name][~is_ok].ravel()} == {0.0 if name == signatures.HEAT_MAP else 1.0}
        else:
            assert np.array_equal(answers[name][is_ok], expected[name])


@pytest.mark.parametrize(
    'signature', signatures.ALL_SIGNATURES, ids=lambda signature: signature.name
)
def test_a_request_without_images_gets_a_reason(signature, exported) -> None:
    with pytest.raises(
        tf.errors.InvalidArgumentError, match='The request holds no images: expected at least one'
    ):
        _serve(exported[0], signature, [])


def test_an_answer_that_is_no_number_is_flagged() -> None:
    network = model_lib.build(
        ModelParameters(backbone='scratch_cnn', image_size=synthetic_images.SIDE)
    )
    network.model.set_weights(
        [np.full_like(weights, np.nan) for weights in network.model.get_weights()]
    )
    module = TriageModule(network, synthetic_images.SIDE, [NONE], 0.5, 'p-1')
    answers = module.serve_images(tf.constant(_images()[:1]))
    assert np.isnan(answers[signatures.PROBABILITY].numpy()).all()
    assert answers[signatures.FLAG].numpy().tolist() == [1.0]


PARAMETERS = TrainerParameters(
    model=ModelParameters(backbone='scratch_cnn', image_size=synthetic_images.SIDE),
    train=TrainParameters(batch_size=16, epochs=1, learning_rate=1e-3),
    operating_point=OperatingPointParameters(sensitivity=0.8),
)


def _arguments(
    folder: Path, splits: dict[str, Split], transform_output: tft.TFTransformOutput, **config
) -> SimpleNamespace:
    def pattern(name: str) -> str:
        return str(Path(splits[name].files[0]).parent / '*')

    return SimpleNamespace(
        custom_config={
            'parameters': PARAMETERS.model_dump_json(),
            'task': 'nih_triage',
            'pipeline': 'p',
            'weights_digest': '',
            'code_digest': 'c',
            'checkpoints': str(folder / 'checkpoints'),
            **config,
        },
        hyperparameters=None,
        train_files=[pattern('train')],
        eval_files=[pattern('val'), pattern('calibration')],
        transform_graph_path=transform_output.transform_savedmodel_dir.removesuffix(
            '/transform_fn'
        ),
        serving_model_dir=str(folder / 'Format-Serving'),
        model_run_dir=str(folder / 'run'),
    )


@pytest.fixture(scope='module')
def trained(
    splits, transform_output, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Split]]:
    folder = tmp_path_factory.mktemp('trained')
    run_lib.run_fn(_arguments(folder, splits, transform_output))
    return folder, splits


def _json(path: Path) -> dict:
    return json.loads(path.read_text())


@pytest.mark.slow
def test_facts_of_the_model(trained) -> None:
    folder, splits = trained
    facts = _json(folder / 'Format-Serving' / MODEL_INFO_FILE)
    assert 'not for clinical use' in facts['intended_use']
    assert (facts['task'], facts['positive'], facts['backbone'], facts['image_size']) == (
        'nih_triage',
        'abnormal',
        'scratch_cnn',
        synthetic_images.SIDE,
    )
    assert TrainerParameters.model_validate(facts['parameters']) == PARAMETERS
    assert facts['records'] == {
        name: {'records': split.records, 'positives': split.positives}
        for name, split in splits.items()
    }
    assert (
        facts['operating_point']['sensitivity']
        >= facts['operating_point']['target_sensitivity']
        == 0.8
    )
    assert facts['model_version'].startswith('p-')


@pytest.mark.slow
def test_the_exported_model_gives_the_answers_that_the_trainer_wrote_down(trained) -> None:
    folder, splits = trained
    predictions = _json(folder / 'run' / PREDICTIONS_FILE)
    facts = _json(folder / 'Format-Serving' / MODEL_INFO_FILE)
    assert predictions['operating_point'] == facts['operating_point']
    assert set(predictions['splits']) == {'val', 'calibration'}
    for name, rows in predictions['splits'].items():
        pixels = np.concatenate(
            [batch.numpy() for batch, _ in input_pipeline.evaluation_batches(splits[name], 8)]
        )
        assert [row['image_id'] for row in rows] == input_pipeline.image_ids(splits[name])
        answers = _serve(
            str(folder / 'Format-Serving'),
            signatures.IMAGES,
            [synthetic_images.png(film) for film in pixels],
        )
        assert np.allclose(
            answers[signatures.PROBABILITY], [row['probability'] for row in rows], atol=1e-6
        )
        assert np.array_equal(answers[signatures.FLAG], [row['flag'] for row in rows])
        assert set(answers[signatures.MODEL_VERSION]) == {facts['model_version'].encode()}


@pytest.mark.slow
def test_the_operating_point_is_that_of_the_calibration_split(trained) -> None:
    predictions = _json(trained[0] / 'run' / PREDICTIONS_FILE)
    rows = predictions['splits']['calibration']
    point = predictions['operating_point']
    for key, label in (('sensitivity', 1), ('specificity', 0)):
        right = [row['flag'] == label for row in rows if row['label'] == label]
        assert point[key] == pytest.approx(sum(right) / len(right))


@pytest.mark.slow
def test_curves_are_kept_and_checkpoints_are_not(trained) -> None:
    folder, _ = trained
    with (folder / 'run' / HISTORY_FILE).open(newline='') as file:
        assert [row['phase'] for row in csv.DictReader(file)] == ['training']
    assert list((folder / 'run' / 'logs').glob('events*'))
    assert list((folder / 'checkpoints').iterdir()) == []


@pytest.mark.slow
def test_a_run_killed_after_training_exports_the_same_without_training_again(
    trained, transform_output, tmp_path: Path, monkeypatch
) -> None:
    folder, splits = trained
    arguments = _arguments(tmp_path, splits, transform_output)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(run_lib, '_export', _raise)
        run_lib.run_fn(arguments)
    monkeypatch.setattr(
        training.Progress, 'on_epoch_begin', lambda *_, **__: pytest.fail('trained again')
    )
    run_lib.run_fn(arguments)
    before, after = (_json(place / 'run' / PREDICTIONS_FILE) for place in (folder, tmp_path))
    assert before == after


def _raise(*_) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize('changed', ['parameters', 'task', 'weights_digest', 'code_digest'])
def test_only_the_same_training_is_resumed(
    changed: str, splits, transform_output, tmp_path: Path
) -> None:
    arguments = _arguments(tmp_path, splits, transform_output)
    key = run_lib._training_key(arguments.custom_config, arguments, splits)
    assert run_lib._training_key(arguments.custom_config, arguments, splits) == key
    assert (
        run_lib._training_key({**arguments.custom_config, changed: 'other'}, arguments, splits)
        != key
    )
    for name, value in (
        ('transform_graph_path', '/other'),
        ('train_files', ['/other/*']),
        ('hyperparameters', {'values': {}}),
    ):
        other = SimpleNamespace(**{**vars(arguments), name: value})
        assert run_lib._training_key(arguments.custom_config, other, splits) != key


@pytest.mark.parametrize('name', ['train', 'val', 'calibration'])
def test_a_training_on_other_films_under_the_same_paths_is_not_resumed(
    name: str, splits, transform_output, tmp_path: Path
) -> None:
    """As after a root's artifacts and metadata store were deleted, but not its checkpoints."""
    copies = {}
    for split, content in splits.items():
        folder = Path(shutil.copytree(Path(content.files[0]).parent, tmp_path / split))
        copies[split] = dataclasses.replace(
            content, files=tuple(map(str, sorted(folder.iterdir())))
        )
    arguments = _arguments(tmp_path, copies, transform_output)
    before = run_lib._training_key(arguments.custom_config, arguments, copies)
    path = Path(copies[name].files[0])
    records = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(records, mtime=0))
    same_films = run_lib._training_key(arguments.custom_config, arguments, copies)
    path.write_bytes(gzip.compress(records[::-1], mtime=0))
    assert run_lib._training_key(arguments.custom_config, arguments, copies) not in (
        before,
        same_films,
    )


def _one_class(folder: Path) -> None:
    synthetic_images.write(folder / 'Split-val', [1] * 4)


def _empty(folder: Path) -> None:
    (folder / 'Split-val').mkdir()


@pytest.mark.parametrize(
    ('make', 'message'),
    [
        (_one_class, 'the val split has 4 records with abnormal=1 of 4: both classes are needed'),
        (_empty, 'no files of transformed examples'),
    ],
    ids=['one class', 'empty'],
)
def test_a_split_that_nothing_can_be_learned_from(
    make: Callable[[Path], None], message: str, splits, transform_output, tmp_path: Path
) -> None:
    make(tmp_path)
    arguments = _arguments(tmp_path, splits, transform_output)
    arguments.eval_files[0] = str(tmp_path / 'Split-val' / '*')
    with pytest.raises(ValueError, match=message):
        run_lib.run_fn(arguments)


FINDINGS_ALONE = Calibration(offset=-0.4, temperature=0.6)


def test_findings_have_an_output_each_and_those_that_only_help_have_none(tmp_path: Path) -> None:
    keras.utils.set_random_seed(2)
    network = model_lib.build(
        ModelParameters(backbone='scratch_cnn', image_size=synthetic_images.SIDE), 4
    )
    module = TriageModule(
        network,
        synthetic_images.SIDE,
        [CALIBRATION, FINDINGS_ALONE, NONE],
        0.5,
        'p-1',
        ['Mass', 'Hernia'],
    )
    path = str(tmp_path / 'model')
    module.export(path)
    answers = _serve(path, signatures.IMAGES, _images())
    assert set(answers) == {*signatures.SCORES, 'Mass', 'Hernia'}
    logits = network.model(
        np.stack([synthetic_images.draw(number % 2, 50 + number) for number in range(4)]),
        training=False,
    ).numpy()
    for place, (name, calibration) in enumerate(
        ((signatures.PROBABILITY, CALIBRATION), ('Mass', FINDINGS_ALONE), ('Hernia', NONE))
    ):
        assert np.allclose(answers[name][:4], calibration.apply(logits[:, place]), atol=1e-5)


def test_the_heat_map_adds_up_to_the_log_odds(exported) -> None:
    answers = _serve(exported[0], signatures.EXPLAIN, _images())
    scores = _serve(exported[0], signatures.IMAGES, _images())
    assert all(
        np.array_equal(answers[name], scores[name])
        for name in (signatures.FLAG, signatures.STATUS, signatures.MODEL_VERSION)
    )
    assert np.allclose(answers[signatures.PROBABILITY], scores[signatures.PROBABILITY], atol=1e-6)
    assert answers[signatures.HEAT_MAP].shape == (len(_images()), 1, 1)
    log_odds = np.log(answers[signatures.PROBABILITY] / (1 - answers[signatures.PROBABILITY]))
    constants = log_odds - answers[signatures.HEAT_MAP].sum(axis=(1, 2))
    assert np.allclose(constants, constants[0], atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    'changes',
    [{}, {'ema': 0.9, 'label_smoothing': 0.05, 'balance': 'undersample'}],
    ids=['plain', 'with everything'],
)
def test_several_findings_from_training_to_serving(
    changes: dict, transform_output, tmp_path: Path, monkeypatch
) -> None:
    """The task asks for two findings, of which the calibration split lacks one."""
    monkeypatch.setitem(
        TASKS,
        'two',
        Task(
            'two',
            synthetic_images.LABEL,
            'abnormal',
            'normal',
            (synthetic_images.OTHER, synthetic_images.NEVER),
        ),
    )
    whole = {
        name: synthetic_images.split(tmp_path / f'Split-{name}', 48, seed)
        for seed, name in enumerate(('train', 'val', 'calibration'))
    }
    train = PARAMETERS.train.model_copy(update={'auxiliary_weight': 0.5, **changes})
    parameters = PARAMETERS.model_copy(update={'train': train})
    run_lib.run_fn(
        _arguments(
            tmp_path, whole, transform_output, task='two', parameters=parameters.model_dump_json()
        )
    )
    facts = _json(tmp_path / 'Format-Serving' / MODEL_INFO_FILE)
    assert set(facts['calibration']) == {
        synthetic_images.LABEL,
        synthetic_images.OTHER,
        synthetic_images.NEVER,
    }
    assert facts['calibration'][synthetic_images.NEVER] == vars(NONE)
    assert facts['calibration'][synthetic_images.OTHER] != vars(NONE)
    answers = _serve(str(tmp_path / 'Format-Serving'), signatures.IMAGES, _images())
    assert set(answers) == {*signatures.SCORES, synthetic_images.OTHER, synthetic_images.NEVER}
    assert all(
        ((answers[name] >= 0) & (answers[name] <= 1)).all()
        for name in (synthetic_images.OTHER, synthetic_images.NEVER)
    )
