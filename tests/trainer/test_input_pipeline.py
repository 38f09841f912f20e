"""Batches: every record once per epoch, in an order that depends on seed and epoch only."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.support import synthetic_images
from trainer import input_pipeline
from trainer.input_pipeline import Split
from trainer.parameters import AugmentationParameters, TrainParameters

NO_AUGMENTATION = AugmentationParameters(shift=0, rotation=0, zoom=0, contrast=0, brightness=0)


def _parameters(**changes) -> TrainParameters:
    return TrainParameters(batch_size=8, augmentation=NO_AUGMENTATION, **changes)


def _epoch(split: Split, parameters: TrainParameters, epoch: int) -> tuple[np.ndarray, np.ndarray]:
    batches = list(input_pipeline.training_batches(split, parameters, epoch))
    return np.concatenate([pixels for pixels, _ in batches]), np.concatenate(
        [labels for _, labels in batches]
    )


def _sorted_images(split: Split) -> list[bytes]:
    return sorted(
        _as_bytes(
            np.concatenate([pixels for pixels, _ in input_pipeline.evaluation_batches(split, 8)])
        )
    )


def _as_bytes(pixels: np.ndarray) -> list[bytes]:
    return [image.round().astype(np.uint8).tobytes() for image in np.asarray(pixels)]


def test_counts(splits: dict[str, Split]) -> None:
    assert (splits['train'].records, splits['train'].positives) == (48, 16)
    assert len(splits['train'].files) == 2


@pytest.mark.parametrize('missing', ['no folder', 'no file', 'no records', 'no patterns'])
def test_an_empty_split_is_refused(missing: str, tmp_path: Path) -> None:
    patterns = [str(tmp_path / 'Split-val' / '*')]
    if missing != 'no folder':
        (tmp_path / 'Split-val').mkdir()
    if missing == 'no records':
        tf.io.TFRecordWriter(
            str(tmp_path / 'Split-val' / 'transformed-00000-of-00001.gz'), 'GZIP'
        ).close()
    if missing == 'no patterns':
        patterns = []
    with pytest.raises(ValueError, match='Split-val' if patterns else 'no directory'):
        input_pipeline.open_split(patterns, [synthetic_images.LABEL], synthetic_images.SIDE)


@pytest.mark.parametrize(
    ('limit', 'steps'), [(None, 6), (100, 6), (4, 4)], ids=['all', 'limit above', 'limit']
)
def test_steps_per_epoch(limit: int | None, steps: int, splits: dict[str, Split]) -> None:
    parameters = _parameters(max_steps_per_epoch=limit)
    assert input_pipeline.steps_per_epoch(splits['train'], parameters) == steps
    assert len(_epoch(splits['train'], parameters, 0)[0]) == 8 * steps


def test_the_last_batch_may_be_smaller(splits: dict[str, Split]) -> None:
    assert input_pipeline.steps_per_epoch(splits['val'], _parameters()) == 4
    assert [
        len(labels)
        for _, labels in input_pipeline.training_batches(splits['val'], _parameters(), 0)
    ] == [8, 8, 8, 6]


@pytest.mark.parametrize('buffer', [1, 5, 4096])
def test_an_epoch_has_every_record_once(buffer: int, splits: dict[str, Split]) -> None:
    pixels, labels = _epoch(splits['train'], _parameters(shuffle_buffer=buffer), 3)
    assert sorted(_as_bytes(pixels)) == _sorted_images(splits['train'])
    assert labels.shape == (48, 1)
    assert labels.sum() == 16


def test_shapes_and_types(splits: dict[str, Split]) -> None:
    pixels, labels = next(iter(input_pipeline.training_batches(splits['train'], _parameters(), 0)))
    assert (pixels.dtype, pixels.shape) == (tf.float32, (8, 32, 32, 1))
    assert (labels.dtype, labels.shape) == (tf.float32, (8, 1))
    pixels, labels = next(iter(input_pipeline.evaluation_batches(splits['train'], 8)))
    assert (pixels.dtype, pixels.shape) == (tf.uint8, (8, 32, 32, 1))


def test_labels_stay_with_their_images(splits: dict[str, Split]) -> None:
    expected = dict(zip(_images_of(splits['train']), _labels_of(splits['train']), strict=True))
    pixels, labels = _epoch(splits['train'], _parameters(), 1)
    assert [expected[image] for image in _as_bytes(pixels)] == labels[:, 0].tolist()


def _images_of(split: Split) -> list[bytes]:
    return [
        image
        for pixels, _ in input_pipeline.evaluation_batches(split, 8)
        for image in _as_bytes(pixels)
    ]


def _labels_of(split: Split) -> list[float]:
    return [
        float(label)
        for _, labels in input_pipeline.evaluation_batches(split, 8)
        for label in labels[:, 0]
    ]


@pytest.mark.parametrize(
    'history', ['none', 'after other epochs', 'read twice', 'after a random operation']
)
def test_an_epoch_does_not_depend_on_what_ran_before(
    history: str, splits: dict[str, Split]
) -> None:
    parameters = TrainParameters(batch_size=8)
    tf.random.set_seed(0)
    expected = _epoch(splits['train'], parameters, 5)[0]
    tf.random.set_seed(0)
    batches = input_pipeline.training_batches(splits['train'], parameters, 5)
    if history == 'after other epochs':
        for epoch in range(5):
            _epoch(splits['train'], parameters, epoch)
    if history == 'read twice':
        next(iter(batches))
    if history == 'after a random operation':
        tf.random.uniform([3])
    assert np.array_equal(np.concatenate([pixels for pixels, _ in batches]), expected)


def test_order_and_augmentation_differ_between_epochs_and_seeds(splits: dict[str, Split]) -> None:
    orders = {
        tuple(_as_bytes(_epoch(splits['train'], _parameters(seed=seed), epoch)[0]))
        for seed in (0, 1)
        for epoch in (0, 1)
    }
    assert len(orders) == 4
    augmented = {
        frozenset(
            _as_bytes(_epoch(splits['train'], TrainParameters(batch_size=8, seed=seed), epoch)[0])
        )
        for seed in (0, 1)
        for epoch in (0, 1)
    }
    assert len(augmented) == 4


def test_image_ids_are_in_the_order_of_the_evaluation_batches(splits: dict[str, Split]) -> None:
    ids = input_pipeline.image_ids(splits['train'])
    assert len(set(ids)) == 48
    numbers = [int(image_id.split('-')[1]) for image_id in ids]
    expected = [synthetic_images.draw(int(number % 3 == 0), number).tobytes() for number in numbers]
    assert expected == _images_of(splits['train'])


def test_no_dataset_uses_autotuning(splits: dict[str, Split]) -> None:
    datasets = [
        input_pipeline.training_batches(splits['train'], _parameters(), 0),
        input_pipeline.evaluation_batches(splits['val'], 8),
    ]
    assert [dataset.options().autotune.enabled for dataset in datasets] == [False] * 2


def _undersampling(**changes) -> TrainParameters:
    return _parameters(balance='undersample', **changes)


def test_undersampling_takes_all_positives_and_new_negatives_in_each_epoch(
    splits: dict[str, Split],
) -> None:
    parameters = _undersampling(negatives_per_positive=1.0)
    negatives = []
    for epoch in (0, 1, 0):
        pixels, labels = _epoch(splits['train'], parameters, epoch)
        assert (len(labels), labels.sum()) == (32, 16)
        negatives.append(sorted(_as_bytes(pixels[labels[:, 0] == 0])))
        positives = [
            image
            for image, label in zip(
                _images_of(splits['train']), _labels_of(splits['train']), strict=True
            )
            if label
        ]
        assert sorted(_as_bytes(pixels[labels[:, 0] == 1])) == sorted(positives)
    assert negatives[0] == negatives[2] != negatives[1]
    assert input_pipeline.steps_per_epoch(splits['train'], parameters) == 4


def test_undersampling_takes_at_most_all_negatives(splits: dict[str, Split]) -> None:
    pixels, _ = _epoch(splits['train'], _undersampling(negatives_per_positive=9.0), 0)
    assert sorted(_as_bytes(pixels)) == _sorted_images(splits['train'])


def test_several_labels_stay_with_their_images(splits: dict[str, Split]) -> None:
    split = input_pipeline.open_split(
        splits['train'].files,
        [synthetic_images.LABEL, synthetic_images.OTHER],
        synthetic_images.SIDE,
    )
    assert split.values.shape == (48, 2)
    assert split.values.sum(axis=0).tolist() == [16, 12]
    expected = dict(zip(_images_of(split), split.values.tolist(), strict=True))
    pixels, labels = _epoch(split, _parameters(), 1)
    assert [expected[image] for image in _as_bytes(pixels)] == labels.tolist()
