"""Backbones: pixel scaling, and weights that fit, do not fit, or are missing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from pipeline import weights
from trainer import backbones
from trainer import model as model_lib
from trainer.parameters import PRETRAINED, Backbone, ModelParameters

WEIGHTS = 'weights/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5'
GREYS = tf.reshape(tf.range(256.0), [1, 16, 16, 1])


def test_every_backbone_of_the_configuration_exists() -> None:
    assert set(backbones.BACKBONES) == set(get_args(Backbone)) == {'scratch_cnn', *PRETRAINED}


# Backbone -> its module in keras.applications, and the scaled channels of grey level 255.
KERAS = {
    'mobilenet_v2': ('mobilenet_v2', [1.0, 1.0, 1.0]),
    'xception': ('xception', [1.0, 1.0, 1.0]),
    'vgg16': ('vgg16', [151.061, 138.221, 131.32]),
    'densenet121': ('densenet', [2.2489, 2.4286, 2.64]),
    'efficientnet_v2_b0': ('efficientnet_v2', [255.0, 255.0, 255.0]),
}


@pytest.mark.parametrize('name', PRETRAINED)
def test_the_scaling_of_a_pretrained_backbone_equals_that_of_keras(name: str) -> None:
    module, white = KERAS[name]
    colour = np.repeat(GREYS.numpy(), 3, axis=-1)
    expected = getattr(keras.applications, module).preprocess_input(colour.copy())
    scaled = backbones.BACKBONES[name].scale(GREYS)
    assert np.allclose(scaled, expected, atol=1e-5)
    assert np.allclose(scaled[0, -1, -1], white, atol=1e-3)


def test_the_layers_of_efficientnet_scale_the_pixels() -> None:
    """Its first layers standardise the channels with ImageNet's mean and deviation."""
    network = backbones.BACKBONES['efficientnet_v2_b0'].build(64, None)
    first_convolution = next(
        layer for layer in network.layers if isinstance(layer, keras.layers.Conv2D)
    )
    grey = tf.fill([1, 64, 64, 3], 128.0)
    scaled = keras.Model(network.input, first_convolution.input)(grey)[0, 0, 0]
    expected = (128 / 255 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
    assert np.allclose(scaled, expected, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize('name', PRETRAINED)
def test_a_backbone_with_weights_gives_the_features_of_keras(name: str, tmp_path: Path) -> None:
    """Covers everything from grey levels to the feature map, so pixels are scaled exactly once."""
    keras.utils.set_random_seed(5)
    application = {
        'vgg16': 'VGG16',
        'xception': 'Xception',
        'densenet121': 'DenseNet121',
        'mobilenet_v2': 'MobileNetV2',
    }
    build = getattr(keras.applications, application.get(name, 'EfficientNetV2B0'))
    reference = build(input_shape=(96, 96, 3), include_top=False, weights=None)
    reference.save_weights(tmp_path / 'no_top.h5')
    parameters = ModelParameters(backbone=name, weights=str(tmp_path / 'no_top.h5'), image_size=96)
    # The check before a run knows the number of weights of each backbone.
    weights.check(parameters)
    network = model_lib.build(parameters)
    image = tf.random.stateless_uniform([1, 96, 96, 1], [1, 2], maxval=255)
    preprocess = getattr(keras.applications, KERAS[name][0]).preprocess_input
    expected = reference(preprocess(tf.repeat(image, 3, axis=-1)), training=False)
    assert np.abs(expected).max() > 0
    assert np.allclose(network.feature_maps(image)[0], expected, atol=1e-5 * np.abs(expected).max())
    assert (
        0
        < model_lib.unfreeze(network, 0.3)
        < sum(bool(layer.weights) for layer in network.backbone.layers)
    )


def test_xception_needs_71_pixels() -> None:
    with pytest.raises(
        ValueError,
        match="image_size 64 is too small for backbone 'xception', which needs at least 71",
    ):
        ModelParameters(backbone='xception', image_size=64)


def test_scratch_cnn_gets_each_image_standardised() -> None:
    scale = backbones.BACKBONES['scratch_cnn'].scale
    scaled = scale(
        tf.concat([GREYS, 0.3 * GREYS + 90, tf.fill([1, 16, 16, 1], 77.0)], axis=0)
    ).numpy()
    assert np.allclose(scaled.mean(axis=(1, 2, 3)), 0, atol=1e-5)
    assert np.allclose(scaled.std(axis=(1, 2, 3)), [1, 1, 0], atol=2e-3)
    # Exposure and contrast make no difference.
    assert np.allclose(scaled[0], scaled[1], atol=2e-3)


@pytest.mark.parametrize('side', [32, 65, 128])
def test_scratch_cnn_takes_any_side(side: int) -> None:
    model = backbones.build(ModelParameters(backbone='scratch_cnn', image_size=side))
    assert model.output_shape[-1] == 128
    assert np.isfinite(model(tf.random.stateless_normal([2, side, side, 1], [1, 2]))).all()


@pytest.fixture(scope='module')
def random_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Untrained weights of MobileNetV2, in the file format of the published ones."""
    path = tmp_path_factory.mktemp('weights') / 'mobilenet_v2_no_top.h5'
    keras.utils.set_random_seed(3)
    keras.applications.MobileNetV2(
        input_shape=(32, 32, 3), include_top=False, weights=None, pooling='avg'
    ).save_weights(path)
    return path


@pytest.mark.parametrize(
    'uri', [False, pytest.param(True, marks=pytest.mark.slow)], ids=['path', 'URI']
)
def test_weights_from_a_file(random_weights: Path, uri: bool) -> None:
    path = random_weights.as_uri() if uri else str(random_weights)
    first = backbones.build(ModelParameters(weights=path, image_size=64))
    second = backbones.build(ModelParameters(weights=path, image_size=64))
    assert all(
        np.array_equal(first_weights, second_weights)
        for first_weights, second_weights in zip(
            first.get_weights(), second.get_weights(), strict=True
        )
    )
    pixels = tf.random.stateless_uniform([1, 64, 64, 3], [1, 2])
    assert np.array_equal(first(pixels, training=False), second(pixels, training=False))


def _of_another_network(path: Path) -> None:
    keras.Sequential([keras.layers.Dense(3, input_shape=(5,))]).save_weights(path)


def _of_another_width(path: Path) -> None:
    keras.applications.MobileNetV2(
        input_shape=(32, 32, 3), include_top=False, weights=None, alpha=0.35
    ).save_weights(path)


def _with_top(path: Path) -> None:
    keras.applications.MobileNetV2(input_shape=(32, 32, 3), weights=None).save_weights(path)


@pytest.mark.parametrize(
    ('name', 'write'),
    [
        pytest.param('w.h5', _of_another_network, id='another network'),
        pytest.param(
            'w.h5', _of_another_width, marks=pytest.mark.slow, id='MobileNetV2 of another width'
        ),
        pytest.param('w.h5', _with_top, marks=pytest.mark.slow, id='MobileNetV2 with its top'),
        pytest.param('w.h5', lambda path: path.write_bytes(b''), id='empty'),
        pytest.param('w.h5', lambda path: path.write_bytes(b'not HDF5'), id='not HDF5'),
        pytest.param(
            'w.weights', lambda path: path.write_bytes(b'nothing'), id='another extension'
        ),
        pytest.param(
            'w.keras', lambda path: path.write_bytes(b'nothing'), id='not a Keras archive'
        ),
        pytest.param('w.h5', lambda path: path.mkdir(), id='a directory'),
        pytest.param('w', lambda path: path.mkdir(), id='a directory without extension'),
    ],
)
def test_weights_that_do_not_fit_are_refused(name: str, write, tmp_path: Path) -> None:
    path = tmp_path / name
    write(path)
    with pytest.raises(
        backbones.WeightsError, match=r'not the weights of mobilenet_v2 without its top'
    ) as caught:
        backbones.build(ModelParameters(weights=str(path), image_size=32))
    assert str(path) in str(caught.value)


def test_truncated_weights_are_refused(random_weights: Path, tmp_path: Path) -> None:
    path = tmp_path / 'cut.h5'
    path.write_bytes(random_weights.read_bytes()[:100_000])
    with pytest.raises(backbones.WeightsError, match=r'cut\.h5: not the weights'):
        backbones.build(ModelParameters(weights=str(path), image_size=32))


def test_missing_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(backbones.WeightsError, match=r'none\.h5: no such file\. .*--weights'):
        backbones.build(ModelParameters(weights=str(tmp_path / 'none.h5'), image_size=32))


@pytest.mark.slow
def test_without_weights_cache_and_network_the_error_says_what_to_do(tmp_path: Path) -> None:
    """Runs in a subprocess: Keras reads the path of its cache from the environment on import."""
    code = (
        'from trainer import backbones; from trainer.parameters import ModelParameters\n'
        'try:\n    backbones.build(ModelParameters())\n'
        'except backbones.WeightsError as error:\n    print("message:", error)\n'
    )
    proxies = {f'{kind}_proxy': 'http://127.0.0.1:9' for kind in ('http', 'https')}
    env = {
        **os.environ,
        **proxies,
        'HOME': str(tmp_path),
        'KERAS_HOME': str(tmp_path / 'keras'),
        'no_proxy': '',
    }
    process = subprocess.run(
        [sys.executable, '-c', code], env=env, capture_output=True, text=True, check=True
    )
    message = process.stdout[process.stdout.index('message:') :]
    for part in ('no ImageNet weights for mobilenet_v2', '--weights', '~/.keras/models'):
        assert part in message


@pytest.mark.slow
@pytest.mark.real_data
def test_the_published_weights_load(real_data: Path) -> None:
    """The filters are trained ones: their statistics are not 0 and 1, and Keras agrees."""
    parameters = ModelParameters(weights=str(real_data / WEIGHTS), image_size=224)
    model = backbones.build(parameters)
    assert model.count_params() == 2_257_984
    normalised = model.get_layer('Conv1_relu').input
    statistics = model.get_layer('bn_Conv1').get_weights()
    assert normalised.shape[-1] == 32
    assert np.abs(statistics[3] - 1).mean() > 0.1
    network = model_lib.build(parameters)
    image = tf.random.stateless_uniform([1, 224, 224, 1], [1, 2], maxval=255)
    expected = keras.applications.MobileNetV2(
        include_top=False, weights=parameters.weights, pooling='avg', input_shape=(224, 224, 3)
    )(
        keras.applications.mobilenet_v2.preprocess_input(tf.repeat(image, 3, axis=-1)),
        training=False,
    )
    assert np.allclose(network.extractor(image), expected, atol=1e-4)
