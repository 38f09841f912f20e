"""`run_fn` as TFX calls it, and the exported model in TensorFlow's session loader."""

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
from trainer import signatures as signature_lib
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
def small_images() -> Iterator[None]:
    """Lowers the minimum side of an image to that of the synthetic images."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(image_status, 'MIN_SIDE', synthetic_images.SIDE)
        yield


def _images() -> list[bytes]:
    """Images of the model's size and of other sizes, PNG and JPEG, grey and colour."""
    images = [
        synthetic_images.png(synthetic_images.draw(number % 2, 50 + number)) for number in range(4)
    ]
    for number, (kind, mode, side) in enumerate(
        (('JPEG', 'L', 90), ('JPEG', 'RGB', 64), ('PNG', 'RGB', 47))
    ):
        buffer = io.BytesIO()
        Image.fromarray(synthetic_images.draw(1, 60 + number, side)[..., 0]).convert(mode).save(
            buffer, kind
        )
        images.append(buffer.getvalue())
    return images


def _serve(path: str, signature: signatures.Signature, batch: list[bytes]) -> dict[str, np.ndarray]:
    """The outputs from the session loader, which TensorFlow Serving uses."""
    return _serve_batches(path, signature, [batch])[0]


def _serve_batches(
    path: str, signature: signatures.Signature, batches: list[list[bytes]]
) -> list[dict[str, np.ndarray]]:
    """The outputs for each of several batches; the model is loaded once."""
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
    """An untrained network's export, the network, and a threshold equal to an image's score."""
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
    """The logits for what Transform's graph stores, as in training."""
    stored = transform_output.transform_features_layer()({IMAGE: tf.constant(_images())[:, None]})[
        transformed(IMAGE)
    ]
    return model(decode_stored(stored, synthetic_images.SIDE), training=False).numpy()[:, 0]


def _as_examples(images: list[bytes]) -> list[bytes]:
    return [build(image, None, {NO_FINDING: 1}) for image in images]


@pytest.mark.parametrize('signature', signatures.SIGNATURES, ids=lambda signature: signature.name)
def test_the_session_loader_gives_the_outputs_of_python(
    signature: signatures.Signature, exported, transform_output
) -> None:
    path, model, threshold = exported
    batch = _images() if signature is signatures.IMAGES else _as_examples(_images())
    outputs = _serve(path, signature, batch)
    assert set(outputs) == set(signature.outputs)
    expected = 1 / (
        1
        + np.exp(
            -(_logits(model, transform_output).astype(float) - CALIBRATION.offset)
            / CALIBRATION.temperature
        )
    )
    assert np.allclose(outputs[signatures.PROBABILITY], expected, atol=1e-6)
    assert np.array_equal(
        outputs[signatures.FLAG],
        (outputs[signatures.PROBABILITY] >= np.float32(threshold)).astype(np.float32),
    )
    assert set(outputs[signatures.MODEL_VERSION]) == {b'p-1'}


def test_the_served_graph_encodes_no_png(exported) -> None:
    for signature in tf.saved_model.load(exported[0]).signatures.values():
        graph = signature.graph.as_graph_def()
        operations = {
            node.op
            for nodes in (graph.node, *(function.node_def for function in graph.library.function))
            for node in nodes
        }
        assert 'EncodePng' not in operations
        assert 'ScaleAndTranslate' in operations


def test_both_signatures_give_identical_outputs(exported) -> None:
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


def test_an_export_contains_the_weights_but_no_keras_objects(exported) -> None:
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


def test_the_score_of_an_image_does_not_depend_on_its_batch(exported) -> None:
    batch_scores = _serve(exported[0], signatures.IMAGES, _images())[signatures.PROBABILITY]
    batches = [[image] for image in _images()]
    outputs = _serve_batches(exported[0], signatures.IMAGES, batches)
    single_scores = [output[signatures.PROBABILITY][0] for output in outputs]
    assert np.allclose(batch_scores, single_scores, atol=1e-6)


def test_an_image_at_the_threshold_is_flagged() -> None:
    """With weights of 0, the logit equals the bias exactly."""
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
        outputs = module.serve_images(tf.constant(_images()[:1]))
        assert outputs[signatures.PROBABILITY].numpy()[0] == 0.5
        flags.append(float(outputs[signatures.FLAG][0]))
    assert flags == [1.0, 0.0, 1.0]


@pytest.mark.parametrize(
    'signature', signatures.ALL_SIGNATURES, ids=lambda signature: signature.name
)
def test_an_image_that_is_not_assessed_is_flagged_and_does_not_change_its_batch(
    signature, exported
) -> None:
    """The batch also has bytes that are not a tf.Example, and an example without an image."""
    good = _images()
    mixed = [good[0], b'', good[1], b'not an image', good[5][: len(good[5]) // 2], *good[2:]]
    if signature is signatures.EXAMPLES:
        mixed = [
            *_as_examples(mixed),
            b'\xff not an example',
            tf.train.Example().SerializeToString(),
        ]
        good = _as_examples(good)
    expected, outputs = _serve(exported[0], signature, good), _serve(exported[0], signature, mixed)
    is_ok = np.isin(np.arange(len(mixed)), [0, 2, *range(5, len(good) + 3)])
    assert {*outputs[signatures.STATUS][is_ok]} == {*expected[signatures.STATUS]} == {b'ok'}
    assert outputs[signatures.STATUS][~is_ok].tolist()[:3] == [
        b'undecodable',
        b'undecodable',
        b'truncated',
    ]
    # Another batch size can round the last bit differently, so the flag of the score on the
    # threshold is not compared.
    off_threshold = np.abs(expected[signatures.PROBABILITY] - exported[2]) > 1e-6
    assert off_threshold.sum() >= len(good) - 1
    for name in outputs:
        if outputs[name].dtype == np.float32:
            compared = off_threshold if name == signatures.FLAG else np.full(len(good), True)
            assert np.allclose(outputs[name][is_ok][compared], expected[name][compared], atol=1e-6)
            assert {*outputs[name][~is_ok].ravel()} == {
                0.0 if name in (signatures.HEAT_MAP, signatures.EMBEDDING) else 1.0
            }
        else:
            assert np.array_equal(outputs[name][is_ok], expected[name])


@pytest.mark.parametrize(
    'signature', signatures.ALL_SIGNATURES, ids=lambda signature: signature.name
)
def test_a_request_without_images_gets_an_error_message(signature, exported) -> None:
    with pytest.raises(
        tf.errors.InvalidArgumentError, match='The request has no images: expected at least one'
    ):
        _serve(exported[0], signature, [])


def test_a_probability_of_nan_is_flagged() -> None:
    network = model_lib.build(
        ModelParameters(backbone='scratch_cnn', image_size=synthetic_images.SIDE)
    )
    network.model.set_weights(
        [np.full_like(weights, np.nan) for weights in network.model.get_weights()]
    )
    module = TriageModule(network, synthetic_images.SIDE, [NONE], 0.5, 'p-1')
    outputs = module.serve_images(tf.constant(_images()[:1]))
    assert np.isnan(outputs[signatures.PROBABILITY].numpy()).all()
    assert outputs[signatures.FLAG].numpy().tolist() == [1.0]


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
def test_the_model_info_describes_the_model(trained) -> None:
    folder, splits = trained
    info = _json(folder / 'Format-Serving' / MODEL_INFO_FILE)
    assert 'not for clinical use' in info['intended_use']
    assert (info['task'], info['positive'], info['backbone'], info['image_size']) == (
        'nih_triage',
        'abnormal',
        'scratch_cnn',
        synthetic_images.SIDE,
    )
    assert TrainerParameters.model_validate(info['parameters']) == PARAMETERS
    assert info['records'] == {
        name: {'records': split.records, 'positives': split.positives}
        for name, split in splits.items()
    }
    assert (
        info['operating_point']['sensitivity']
        >= info['operating_point']['target_sensitivity']
        == 0.8
    )
    assert info['model_version'].startswith('p-')


@pytest.mark.slow
def test_the_exported_model_gives_the_predictions_that_the_trainer_wrote(trained) -> None:
    folder, splits = trained
    predictions = _json(folder / 'run' / PREDICTIONS_FILE)
    info = _json(folder / 'Format-Serving' / MODEL_INFO_FILE)
    assert predictions['operating_point'] == info['operating_point']
    assert set(predictions['splits']) == {'val', 'calibration'}
    for name, rows in predictions['splits'].items():
        pixels = np.concatenate(
            [batch.numpy() for batch, _ in input_pipeline.evaluation_batches(splits[name], 8)]
        )
        assert [row['image_id'] for row in rows] == input_pipeline.image_ids(splits[name])
        outputs = _serve(
            str(folder / 'Format-Serving'),
            signatures.IMAGES,
            [synthetic_images.png(image) for image in pixels],
        )
        assert np.allclose(
            outputs[signatures.PROBABILITY], [row['probability'] for row in rows], atol=1e-6
        )
        assert np.array_equal(outputs[signatures.FLAG], [row['flag'] for row in rows])
        assert set(outputs[signatures.MODEL_VERSION]) == {info['model_version'].encode()}


@pytest.mark.slow
def test_the_operating_point_is_that_of_the_calibration_split(trained) -> None:
    predictions = _json(trained[0] / 'run' / PREDICTIONS_FILE)
    rows = predictions['splits']['calibration']
    point = predictions['operating_point']
    for key, label in (('sensitivity', 1), ('specificity', 0)):
        correct = [row['flag'] == label for row in rows if row['label'] == label]
        assert point[key] == pytest.approx(sum(correct) / len(correct))


@pytest.mark.slow
def test_a_finished_run_keeps_its_curves_but_no_checkpoints(trained) -> None:
    folder, _ = trained
    with (folder / 'run' / HISTORY_FILE).open(newline='') as file:
        assert [row['phase'] for row in csv.DictReader(file)] == ['training']
    assert list((folder / 'run' / 'logs').glob('events*'))
    assert list((folder / 'checkpoints').iterdir()) == []


@pytest.mark.slow
def test_a_run_killed_after_training_exports_without_training_again(
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
    before, after = (_json(path / 'run' / PREDICTIONS_FILE) for path in (folder, tmp_path))
    assert before == after


def _raise(*_) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize('name', ['parameters', 'task', 'weights_digest', 'code_digest'])
def test_only_the_same_training_is_resumed(
    name: str, splits, transform_output, tmp_path: Path
) -> None:
    arguments = _arguments(tmp_path, splits, transform_output)
    key = run_lib._training_key(arguments.custom_config, arguments, splits)
    assert run_lib._training_key(arguments.custom_config, arguments, splits) == key
    assert (
        run_lib._training_key({**arguments.custom_config, name: 'other'}, arguments, splits) != key
    )
    for attribute, value in (
        ('transform_graph_path', '/other'),
        ('train_files', ['/other/*']),
        ('hyperparameters', {'values': {}}),
    ):
        other = SimpleNamespace(**{**vars(arguments), attribute: value})
        assert run_lib._training_key(arguments.custom_config, other, splits) != key


@pytest.mark.parametrize('name', ['train', 'val', 'calibration'])
def test_a_training_on_new_images_under_the_same_paths_is_not_resumed(
    name: str, splits, transform_output, tmp_path: Path
) -> None:
    """This can happen if someone deletes all of a run root except the checkpoints."""
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
    recompressed = run_lib._training_key(arguments.custom_config, arguments, copies)
    path.write_bytes(gzip.compress(records[::-1], mtime=0))
    assert run_lib._training_key(arguments.custom_config, arguments, copies) not in (
        before,
        recompressed,
    )


def _write_one_class(folder: Path) -> None:
    synthetic_images.write(folder / 'Split-val', [1] * 4)


def _write_nothing(folder: Path) -> None:
    (folder / 'Split-val').mkdir()


@pytest.mark.parametrize(
    ('write', 'message'),
    [
        (
            _write_one_class,
            'the val split has 4 records with abnormal=1 of 4: both classes are needed',
        ),
        (_write_nothing, 'no files of transformed examples'),
    ],
    ids=['one class', 'empty'],
)
def test_a_split_without_both_classes_is_refused(
    write: Callable[[Path], None], message: str, splits, transform_output, tmp_path: Path
) -> None:
    write(tmp_path)
    arguments = _arguments(tmp_path, splits, transform_output)
    arguments.eval_files[0] = str(tmp_path / 'Split-val' / '*')
    with pytest.raises(ValueError, match=message):
        run_lib.run_fn(arguments)


MASS_CALIBRATION = Calibration(offset=-0.4, temperature=0.6)


def test_each_served_finding_has_an_output(tmp_path: Path) -> None:
    keras.utils.set_random_seed(2)
    network = model_lib.build(
        ModelParameters(backbone='scratch_cnn', image_size=synthetic_images.SIDE), 4
    )
    module = TriageModule(
        network,
        synthetic_images.SIDE,
        [CALIBRATION, MASS_CALIBRATION, NONE],
        0.5,
        'p-1',
        ['Mass', 'Hernia'],
    )
    path = str(tmp_path / 'model')
    module.export(path)
    outputs = _serve(path, signatures.IMAGES, _images())
    assert set(outputs) == {*signatures.SCORES, 'Mass', 'Hernia'}
    logits = network.model(
        np.stack([synthetic_images.draw(number % 2, 50 + number) for number in range(4)]),
        training=False,
    ).numpy()
    for index, (name, calibration) in enumerate(
        ((signatures.PROBABILITY, CALIBRATION), ('Mass', MASS_CALIBRATION), ('Hernia', NONE))
    ):
        assert np.allclose(outputs[name][:4], calibration.apply(logits[:, index]), atol=1e-5)


def test_the_heat_map_adds_up_to_the_log_odds(exported) -> None:
    outputs = _serve(exported[0], signatures.EXPLAIN, _images())
    scores = _serve(exported[0], signatures.IMAGES, _images())
    assert all(
        np.array_equal(outputs[name], scores[name])
        for name in (signatures.FLAG, signatures.STATUS, signatures.MODEL_VERSION)
    )
    assert np.allclose(outputs[signatures.PROBABILITY], scores[signatures.PROBABILITY], atol=1e-6)
    assert outputs[signatures.HEAT_MAP].shape == (len(_images()), 1, 1)
    log_odds = np.log(outputs[signatures.PROBABILITY] / (1 - outputs[signatures.PROBABILITY]))
    constants = log_odds - outputs[signatures.HEAT_MAP].sum(axis=(1, 2))
    assert np.allclose(constants, constants[0], atol=1e-4)


def test_an_embedding_keeps_the_distances_of_features(exported) -> None:
    """The same image is at distance 0, and other images are not."""
    images = [*_images(), _images()[0]]
    embedding = _serve(exported[0], signatures.EMBED, images)[signatures.EMBEDDING]
    assert embedding.shape == (len(images), signatures.EMBEDDING_SIZE)
    distances = np.linalg.norm(embedding - embedding[-1], axis=1)
    assert np.isclose(distances[0], 0, atol=1e-5) and distances[1:-1].min() > 1e-3


def test_a_random_projection_hardly_changes_distances() -> None:
    features = np.random.default_rng(1).normal(size=(50, 1280)).astype(np.float32)
    projected = features @ signature_lib.projection(1280) / signatures.EMBEDDING_SIZE**0.5
    first, second = np.triu_indices(50, 1)
    ratios = np.linalg.norm(projected[first] - projected[second], axis=1) / np.linalg.norm(
        features[first] - features[second], axis=1
    )
    assert 0.98 < ratios.mean() < 1.02 and ratios.std() < 0.12


@pytest.mark.slow
@pytest.mark.parametrize(
    'changes',
    [
        pytest.param({}, id='defaults', marks=pytest.mark.long),
        pytest.param(
            {'ema': 0.9, 'label_smoothing': 0.05, 'balance': 'undersample'}, id='with all options'
        ),
    ],
)
def test_several_findings_from_training_to_serving(
    changes: dict, transform_output, tmp_path: Path, monkeypatch
) -> None:
    """The task has two findings; one of them never occurs."""
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
    splits = {
        name: synthetic_images.split(tmp_path / f'Split-{name}', 48, seed)
        for seed, name in enumerate(('train', 'val', 'calibration'))
    }
    train = PARAMETERS.train.model_copy(update={'auxiliary_weight': 0.5, **changes})
    parameters = PARAMETERS.model_copy(update={'train': train})
    run_lib.run_fn(
        _arguments(
            tmp_path, splits, transform_output, task='two', parameters=parameters.model_dump_json()
        )
    )
    info = _json(tmp_path / 'Format-Serving' / MODEL_INFO_FILE)
    assert set(info['calibration']) == {
        synthetic_images.LABEL,
        synthetic_images.OTHER,
        synthetic_images.NEVER,
    }
    assert info['calibration'][synthetic_images.NEVER] == vars(NONE)
    assert info['calibration'][synthetic_images.OTHER] != vars(NONE)
    outputs = _serve(str(tmp_path / 'Format-Serving'), signatures.IMAGES, _images())
    assert set(outputs) == {*signatures.SCORES, synthetic_images.OTHER, synthetic_images.NEVER}
    assert all(
        ((outputs[name] >= 0) & (outputs[name] <= 1)).all()
        for name in (synthetic_images.OTHER, synthetic_images.NEVER)
    )
