"""The network: trainable and fixed layers, precision, pooling and evidence."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from trainer import model as model_lib
from trainer import pooling
from trainer.parameters import ModelParameters

IMAGES = tf.random.stateless_uniform([4, 32, 32, 1], [0, 1], maxval=255.0)


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
    # Statistics must fit the filters: with those of a new network, the features are almost 0.
    backbone(tf.random.stateless_uniform([16, 32, 32, 3], [5, 6], -1.0, 1.0), training=True)
    backbone.save_weights(path)
    return ModelParameters(weights=str(path), image_size=32, dropout=0)


LARGE_IMAGES = tf.random.stateless_uniform([4, 64, 64, 1], [3, 4], maxval=255)
SCRATCH = ModelParameters(backbone='scratch_cnn', image_size=32)


def _layers(network: model_lib.Network, kind: type, include: bool) -> list[keras.layers.Layer]:
    return [
        layer
        for layer in network.backbone.layers
        if layer.weights and isinstance(layer, kind) is include
    ]


def test_shapes(pretrained: ModelParameters) -> None:
    network = model_lib.build(pretrained)
    logits = network.model(IMAGES)
    assert (logits.shape, logits.dtype) == ((4, 1), tf.float32)
    assert network.extractor(IMAGES).shape == (4, 1280)
    assert np.allclose(network.head(network.extractor(IMAGES)), logits, atol=1e-6)


def test_integers_and_floats_give_the_same_logit(pretrained: ModelParameters) -> None:
    network = model_lib.build(pretrained)
    grey = tf.cast(tf.round(IMAGES), tf.uint8)
    assert np.array_equal(network.model(grey), network.model(tf.cast(grey, tf.float32)))


@pytest.mark.slow
def test_trained_batch_normalisation_learns_the_statistics_of_the_images(
    pretrained: ModelParameters,
) -> None:
    network = model_lib.build(pretrained.model_copy(update={'batch_norm': 'trained'}))
    norms = _layers(network, keras.layers.BatchNormalization, True)
    before = [layer.get_weights() for layer in norms]
    features = network.extractor(IMAGES, training=False)
    assert np.array_equal(features, model_lib.build(pretrained).extractor(IMAGES)), (
        'outside of training, both networks must be the same'
    )
    model_lib.unfreeze(network, 0.6)
    network.model.compile(
        keras.optimizers.SGD(0.5),
        keras.losses.BinaryCrossentropy(from_logits=True),
        run_eagerly=True,
    )
    network.model.train_on_batch(IMAGES, tf.constant([[0.0], [1.0], [1.0], [0.0]]))
    assert 0.4 * len(norms) < sum(layer.trainable for layer in norms) < len(norms)
    for layer, weights in zip(norms, before, strict=True):
        changed = [
            not np.array_equal(weight, weight_before)
            for weight, weight_before in zip(layer.get_weights(), weights, strict=True)
        ]
        # Gradients change scale and shift, the batch changes mean and variance. Fixed layers do not
        # change.
        assert changed == [layer.trainable] * 4, layer.name
        assert not layer.trainable or layer.momentum < 0.95, (
            'statistics must settle in a short training'
        )


@pytest.mark.parametrize('share', [0.6, pytest.param(1.0, marks=pytest.mark.slow)])
def test_training_does_not_change_frozen_batch_normalisation(
    share: float, pretrained: ModelParameters
) -> None:
    network = model_lib.build(pretrained)
    model_lib.unfreeze(network, share)
    norms = _layers(network, keras.layers.BatchNormalization, True)
    other_layers = [
        layer
        for layer in _layers(network, keras.layers.BatchNormalization, False)
        if layer.trainable
    ]
    before = (
        [layer.get_weights() for layer in norms],
        [layer.get_weights() for layer in other_layers],
    )
    network.model.compile(
        keras.optimizers.SGD(0.5),
        keras.losses.BinaryCrossentropy(from_logits=True),
        run_eagerly=True,
    )
    network.model.train_on_batch(IMAGES, tf.constant([[0.0], [1.0], [1.0], [0.0]]))
    assert len(norms) == 52
    for layer, weights in zip(norms, before[0], strict=True):
        assert all(
            np.array_equal(weight, weight_before)
            for weight, weight_before in zip(layer.get_weights(), weights, strict=True)
        ), layer.name
    changed = [
        not np.array_equal(layer.get_weights()[0], weights[0])
        for layer, weights in zip(other_layers, before[1], strict=True)
    ]
    assert sum(changed) > 0.9 * len(changed)


@pytest.mark.parametrize(
    'share',
    [pytest.param(0.0, marks=pytest.mark.slow), 0.6, pytest.param(1.0, marks=pytest.mark.slow)],
)
def test_only_the_top_share_of_the_layers_is_trainable(
    share: float, pretrained: ModelParameters
) -> None:
    network = model_lib.build(pretrained)
    backbone = network.backbone
    count = model_lib.unfreeze(network, share)
    first = round(len(backbone.layers) * (1 - share))
    trainable = [bool(layer.trainable_weights) for layer in backbone.layers]
    assert not any(trainable[: max(0, first - 1)])
    convolutions = [
        layer for layer in backbone.layers[first:] if isinstance(layer, keras.layers.Conv2D)
    ]
    assert all(layer.trainable_weights for layer in convolutions)
    assert count == sum(trainable)
    assert (count == 0) is (share == 0)


def test_training_from_scratch_changes_every_weight() -> None:
    network = model_lib.build(ModelParameters(backbone='scratch_cnn', image_size=32))
    before = network.model.get_weights()
    network.model.compile(
        keras.optimizers.SGD(0.1),
        keras.losses.BinaryCrossentropy(from_logits=True),
        run_eagerly=True,
    )
    network.model.train_on_batch(IMAGES, tf.constant([[0.0], [1.0], [1.0], [0.0]]))
    same = [
        np.array_equal(weight, weight_before)
        for weight, weight_before in zip(network.model.get_weights(), before, strict=True)
    ]
    assert not any(same), [
        weight.name
        for weight, unchanged in zip(network.model.weights, same, strict=True)
        if unchanged
    ]


def test_dropout_is_off_outside_of_training() -> None:
    network = model_lib.build(ModelParameters(backbone='scratch_cnn', image_size=32, dropout=0.5))
    assert np.array_equal(network.model(IMAGES), network.model(IMAGES))
    assert not np.array_equal(
        network.model(IMAGES, training=True), network.model(IMAGES, training=True)
    )


def test_with_mixed_precision_the_logit_is_float32() -> None:
    keras.mixed_precision.set_global_policy('mixed_float16')
    network = model_lib.build(ModelParameters(backbone='scratch_cnn', image_size=32))
    assert network.feature_maps(IMAGES)[0].dtype == tf.float16
    assert network.extractor(IMAGES).dtype == tf.float32
    assert network.model(IMAGES).dtype == tf.float32
    assert {weight.dtype for weight in network.model.weights} == {tf.float32}


@pytest.mark.parametrize('labels', [1, 15])
def test_a_logit_for_each_label(labels: int) -> None:
    assert model_lib.build(SCRATCH, labels).model(IMAGES).shape == (4, labels)


@pytest.mark.parametrize('kind', ['average', 'attention'])
def test_a_logit_is_the_sum_of_its_contributions_and_its_bias(kind: str) -> None:
    network = model_lib.build(SCRATCH.model_copy(update={'image_size': 64, 'pooling': kind}), 3)
    network.model.set_weights(
        [
            np.random.default_rng(0).uniform(0.05, 0.3, weight.shape)
            for weight in network.model.weights
        ]
    )
    for label in range(3):
        logits, contributions = model_lib.evidence(network, LARGE_IMAGES, label)
        assert contributions.shape == (4, 2, 2)
        assert np.allclose(logits, network.model(LARGE_IMAGES, training=False), atol=1e-5)
        bias = network.head.get_layer(model_lib.HEAD).bias[label]
        assert np.allclose(
            tf.reduce_sum(contributions, axis=[1, 2]) + bias, logits[:, label], atol=1e-5
        )


def test_untrained_attention_is_the_average() -> None:
    keras.utils.set_random_seed(1)
    network = model_lib.build(SCRATCH.model_copy(update={'image_size': 64, 'pooling': 'attention'}))
    maps, attention = network.feature_maps(LARGE_IMAGES)
    assert np.allclose(attention, 1 / 4)
    assert np.allclose(
        network.extractor(LARGE_IMAGES), tf.reduce_mean(maps, axis=[1, 2]), atol=1e-6
    )


def test_attention_learns_the_position_that_matters() -> None:
    """One corner shows the label; the rest is noise."""
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
    # One long epoch, as the start of an epoch takes longer than its few steps.
    model.fit(batches.repeat(40), verbose=0)
    weights = keras.Model(inputs, attention)(maps).numpy()
    assert weights[:, 0, 0, 0].mean() > 0.5
    assert ((model(maps).numpy()[:, 0] > 0) == labels).mean() > 0.95
