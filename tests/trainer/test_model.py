"""The network: what trains, what stays fixed, in which precision."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from trainer import model as model_lib
from trainer import pooling
from trainer.parameters import ModelParameters

FILMS = tf.random.stateless_uniform([4, 32, 32, 1], [0, 1], maxval=255.0)


@pytest.fixture(scope='module')
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> ModelParameters:
    path = tmp_path_factory.mktemp('weights') / 'mobilenet_v2_no_top.h5'
    keras.utils.set_random_seed(3)
    backbone = keras.applications.MobileNetV2(
        input_shape=(32, 32, 3), include_top=False, weights=None, pooling='avg'
    )
    for layer in backbone.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    # Statistics that fit the filters: with those of a fresh network the signal dies on its way up.
    backbone(tf.random.stateless_uniform([16, 32, 32, 3], [5, 6], -1.0, 1.0), training=True)
    backbone.save_weights(path)
    return ModelParameters(weights=str(path), image_size=32, dropout=0)


LARGE = tf.random.stateless_uniform([4, 64, 64, 1], [3, 4], maxval=255)
SCRATCH = ModelParameters(backbone='scratch_cnn', image_size=32)


def _of_type(network: model_lib.Network, kind: type, norm: bool) -> list[keras.layers.Layer]:
    return [
        layer
        for layer in network.backbone.layers
        if layer.weights and isinstance(layer, kind) is norm
    ]


def test_shapes(pretrained: ModelParameters) -> None:
    network = model_lib.build(pretrained)
    logits = network.model(FILMS)
    assert (logits.shape, logits.dtype) == ((4, 1), tf.float32)
    assert network.extractor(FILMS).shape == (4, 1280)
    assert np.allclose(network.head(network.extractor(FILMS)), logits, atol=1e-6)


def test_bytes_and_floats_give_the_same_logit(pretrained: ModelParameters) -> None:
    network = model_lib.build(pretrained)
    grey = tf.cast(tf.round(FILMS), tf.uint8)
    assert np.array_equal(network.model(grey), network.model(tf.cast(grey, tf.float32)))


@pytest.mark.slow
def test_trained_batch_normalisation_learns_the_statistics_of_the_images(
    pretrained: ModelParameters,
) -> None:
    network = model_lib.build(pretrained.model_copy(update={'batch_norm': 'trained'}))
    norms = _of_type(network, keras.layers.BatchNormalization, True)
    before = [layer.get_weights() for layer in norms]
    features = network.extractor(FILMS, training=False)
    assert np.array_equal(features, model_lib.build(pretrained).extractor(FILMS)), (
        'outside of training it is the same network'
    )
    model_lib.unfreeze(network, 0.6)
    network.model.compile(
        keras.optimizers.SGD(0.5),
        keras.losses.BinaryCrossentropy(from_logits=True),
        run_eagerly=True,
    )
    network.model.train_on_batch(FILMS, tf.constant([[0.0], [1.0], [1.0], [0.0]]))
    assert 0.4 * len(norms) < sum(layer.trainable for layer in norms) < len(norms)
    for layer, weights in zip(norms, before, strict=True):
        changed = [
            not np.array_equal(now, then)
            for now, then in zip(layer.get_weights(), weights, strict=True)
        ]
        # Scale and shift by gradients, mean and variance by the batch; below the share none of
        # them.
        assert changed == [layer.trainable] * 4, layer.name
        assert not layer.trainable or layer.momentum < 0.95, (
            'a short training has to settle its statistics'
        )


@pytest.mark.parametrize('share', [0.6, pytest.param(1.0, marks=pytest.mark.slow)])
def test_training_leaves_batch_normalisation_as_it_is(
    share: float, pretrained: ModelParameters
) -> None:
    network = model_lib.build(pretrained)
    model_lib.unfreeze(network, share)
    norms = _of_type(network, keras.layers.BatchNormalization, True)
    others = [
        layer
        for layer in _of_type(network, keras.layers.BatchNormalization, False)
        if layer.trainable
    ]
    before = [layer.get_weights() for layer in norms], [layer.get_weights() for layer in others]
    network.model.compile(
        keras.optimizers.SGD(0.5),
        keras.losses.BinaryCrossentropy(from_logits=True),
        run_eagerly=True,
    )
    network.model.train_on_batch(FILMS, tf.constant([[0.0], [1.0], [1.0], [0.0]]))
    assert len(norms) == 52
    for layer, weights in zip(norms, before[0], strict=True):
        assert all(
            np.array_equal(now, then)
            for now, then in zip(layer.get_weights(), weights, strict=True)
        ), layer.name
    changed = [
        not np.array_equal(layer.get_weights()[0], weights[0])
        for layer, weights in zip(others, before[1], strict=True)
    ]
    assert sum(changed) > 0.9 * len(changed)


@pytest.mark.parametrize(
    'share',
    [pytest.param(0.0, marks=pytest.mark.slow), 0.6, pytest.param(1.0, marks=pytest.mark.slow)],
)
def test_the_top_share_of_the_layers_trains_and_nothing_below(
    share: float, pretrained: ModelParameters
) -> None:
    network = model_lib.build(pretrained)
    backbone = network.backbone
    count = model_lib.unfreeze(network, share)
    first = round(len(backbone.layers) * (1 - share))
    trains = [bool(layer.trainable_weights) for layer in backbone.layers]
    assert not any(trains[: max(0, first - 1)])
    convolutions = [
        layer for layer in backbone.layers[first:] if isinstance(layer, keras.layers.Conv2D)
    ]
    assert all(layer.trainable_weights for layer in convolutions)
    assert count == sum(trains)
    assert (count == 0) is (share == 0)


def test_a_network_from_scratch_trains_as_a_whole_and_settles_its_statistics() -> None:
    network = model_lib.build(ModelParameters(backbone='scratch_cnn', image_size=32))
    before = network.model.get_weights()
    network.model.compile(
        keras.optimizers.SGD(0.1),
        keras.losses.BinaryCrossentropy(from_logits=True),
        run_eagerly=True,
    )
    network.model.train_on_batch(FILMS, tf.constant([[0.0], [1.0], [1.0], [0.0]]))
    same = [
        np.array_equal(now, then)
        for now, then in zip(network.model.get_weights(), before, strict=True)
    ]
    assert not any(same), [
        weight.name
        for weight, unchanged in zip(network.model.weights, same, strict=True)
        if unchanged
    ]


def test_dropout_is_off_outside_of_training() -> None:
    network = model_lib.build(ModelParameters(backbone='scratch_cnn', image_size=32, dropout=0.5))
    assert np.array_equal(network.model(FILMS), network.model(FILMS))
    assert not np.array_equal(
        network.model(FILMS, training=True), network.model(FILMS, training=True)
    )


def test_under_mixed_precision_the_logit_is_float32() -> None:
    keras.mixed_precision.set_global_policy('mixed_float16')
    network = model_lib.build(ModelParameters(backbone='scratch_cnn', image_size=32))
    assert network.feature_maps(FILMS)[0].dtype == tf.float16
    assert network.extractor(FILMS).dtype == tf.float32
    assert network.model(FILMS).dtype == tf.float32
    assert {weight.dtype for weight in network.model.weights} == {tf.float32}


@pytest.mark.parametrize('labels', [1, 15])
def test_a_logit_for_each_label(labels: int) -> None:
    assert model_lib.build(SCRATCH, labels).model(FILMS).shape == (4, labels)


@pytest.mark.parametrize('kind', ['average', 'attention'])
def test_the_parts_of_a_logit_and_its_bias_sum_to_it(kind: str) -> None:
    network = model_lib.build(SCRATCH.model_copy(update={'image_size': 64, 'pooling': kind}), 3)
    network.model.set_weights(
        [
            np.random.default_rng(0).uniform(0.05, 0.3, weight.shape)
            for weight in network.model.weights
        ]
    )
    for label in range(3):
        logits, parts = model_lib.evidence(network, LARGE, label)
        assert parts.shape == (4, 2, 2)
        assert np.allclose(logits, network.model(LARGE, training=False), atol=1e-5)
        bias = network.head.get_layer(model_lib.HEAD).bias[label]
        assert np.allclose(tf.reduce_sum(parts, axis=[1, 2]) + bias, logits[:, label], atol=1e-5)


def test_attention_begins_as_the_average() -> None:
    keras.utils.set_random_seed(1)
    network = model_lib.build(SCRATCH.model_copy(update={'image_size': 64, 'pooling': 'attention'}))
    maps, attention = network.feature_maps(LARGE)
    assert np.allclose(attention, 1 / 4)
    assert np.allclose(network.extractor(LARGE), tf.reduce_mean(maps, axis=[1, 2]), atol=1e-6)


def test_attention_learns_the_place_that_matters() -> None:
    """The label shows in one corner; the rest is noise."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 256)
    maps = rng.normal(0, 0.3, (256, 6, 6, 4)).astype(np.float32)
    maps[..., 3] = 0
    maps[:, 0, 0, 3] = 3
    maps[:, 0, 0, 0] = 8 * labels - 4
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6, 6, 4))
    attention = pooling.Attention(name='attention')(inputs)
    outputs = keras.layers.Dense(1)(pooling.Pool()((inputs, attention)))
    model = model_lib.TrainableModel(inputs, outputs)
    model.compile(keras.optimizers.Adam(0.01), keras.losses.BinaryCrossentropy(from_logits=True))
    batches = tf.data.Dataset.from_tensor_slices((maps, labels)).batch(32)
    # One epoch: each one costs more than its few steps.
    model.fit(batches.repeat(40), verbose=0)
    weights = keras.Model(inputs, attention)(maps).numpy()
    assert weights[:, 0, 0, 0].mean() > 0.5
    assert ((model(maps).numpy()[:, 0] > 0) == labels).mean() > 0.95
