"""The search for near duplicates finds copies, but not pairs of similar images.

One test runs it at the size of the full NIH data set.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest
from PIL import Image

from components.data_audit import duplicates
from components.data_audit.inspection import SIDE, thumbnail
from components.data_audit.parameters import AuditParameters
from tests.support import audit_data as data

_MIN_CORRELATION = AuditParameters().near_duplicate_correlation


def _crop(image: Image.Image, left: float, top: float, right: float, bottom: float) -> Image.Image:
    """Cuts off shares of the sides and scales the rest to the old size."""
    width, height = image.size
    box = (
        round(left * width),
        round(top * height),
        round((1 - right) * width),
        round((1 - bottom) * height),
    )
    return image.crop(box).resize((width, height), Image.Resampling.BICUBIC)


def _encode_again(image: Image.Image, quality: int) -> Image.Image:
    return data.decode(data.encode(image, quality=quality))


COPIES = {
    'encoded again, q70': lambda image: _encode_again(image, 70),
    'encoded again, q30': lambda image: _encode_again(image, 30),
    'brightened by 10 %': lambda image: image.point(lambda value: min(255, value * 1.1)),
    'gamma 0.8': lambda image: image.point(lambda value: 255 * (value / 255) ** 0.8),
    'cropped by 1 % a side': lambda image: _crop(image, 0.01, 0.01, 0.01, 0.01),
    'cropped by 2 % a side': lambda image: _crop(image, 0.02, 0.02, 0.02, 0.02),
    'cropped at two sides': lambda image: _crop(image, 0.02, 0, 0, 0.02),
    'resized to 400': lambda image: image.resize((400, 400), Image.Resampling.BICUBIC),
    'all of it': lambda image: _encode_again(
        _crop(image.point(lambda value: min(255, value * 1.1)), 0.02, 0.01, 0, 0.01).resize(
            (512, 512), Image.Resampling.BICUBIC
        ),
        70,
    ),
}


def _thumbnails(images: Iterable[Image.Image]) -> np.ndarray:
    return np.stack([np.asarray(thumbnail(image)) for image in images])


@pytest.fixture(scope='module')
def images() -> list[Image.Image]:
    return [data.decode(data.draw(seed)) for seed in range(12)]


@pytest.fixture(scope='module')
def thumbnails(images: list[Image.Image]) -> np.ndarray:
    return _thumbnails(images)


@pytest.mark.parametrize('change', COPIES.values(), ids=COPIES.keys())
def test_finds_a_copy(images, thumbnails, change):
    thumbnails = np.concatenate([thumbnails, _thumbnails([change(images[3])])])
    pairs = duplicates.near_pairs(np.arange(13), thumbnails, _MIN_CORRELATION)
    assert [(pair.first, pair.second) for pair in pairs] == [(3, 12)]


def test_only_the_requested_rows_are_compared(thumbnails):
    thumbnails = np.concatenate([thumbnails, thumbnails[3:4]])
    assert duplicates.near_pairs(np.arange(12), thumbnails, _MIN_CORRELATION) == []
    assert [
        (pair.first, pair.second)
        for pair in duplicates.near_pairs(np.array([3, 12]), thumbnails, _MIN_CORRELATION)
    ] == [(3, 12)]


@pytest.mark.parametrize('rows', [[], [0]], ids=['none', 'one'])
def test_fewer_than_two_rows_have_no_pairs(thumbnails, rows):
    rows = np.array(rows, dtype=int)
    assert duplicates.near_pairs(rows, thumbnails[:1], _MIN_CORRELATION) == []


def test_exact_groups_have_the_same_hash_and_thumbnail():
    thumbnails = np.zeros((6, SIDE, SIDE), dtype=np.uint8)
    thumbnails[4] = 1
    hashes = np.array([b'a', b'b', b'a', b'', b'a', b''], dtype=object)
    # Row 4 has the hash of rows 0 and 2 but another thumbnail. Rows 3 and 5 have no pixels.
    assert duplicates.exact_groups(hashes, thumbnails) == [[0, 2]]


@pytest.fixture(scope='module')
def real(real_data) -> tuple[list[Image.Image], np.ndarray, np.ndarray]:
    """Every tenth real image, the thumbnails of all, and their patients."""
    examples = data.real_examples(real_data)
    images = [data.decode(example.image) for example in examples[::10]]
    return (
        images,
        _thumbnails(data.decode(example.image) for example in examples),
        np.array([str(example.image_id)[:8] for example in examples]),
    )


@pytest.mark.real_data
@pytest.mark.slow
class TestRealImages:
    """The search in the 1,948 real images."""

    def test_different_images_are_not_copies(self, real):
        _, thumbnails, patients = real
        assert duplicates.near_pairs(np.arange(len(patients)), thumbnails, _MIN_CORRELATION) == []
        closest = [
            pair
            for pair in duplicates.near_pairs(np.arange(len(patients)), thumbnails, 0.75)
            if patients[pair.first] != patients[pair.second]
        ]
        # The limit is well above the correlation of two patients, because the full data set has
        # 3,300 times as many pairs.
        assert max(pair.correlation for pair in closest) < 0.90

    @pytest.mark.parametrize('blocks', [True, False], ids=['all coarse vectors', 'hashing'])
    @pytest.mark.parametrize('change', COPIES.values(), ids=COPIES.keys())
    def test_copies_are_found(self, real, change, blocks, monkeypatch):
        images, thumbnails, _ = real
        if not blocks:
            monkeypatch.setattr(duplicates, '_BLOCK_UP_TO', 0)
        count = len(thumbnails)
        thumbnails = np.concatenate([thumbnails, _thumbnails(change(image) for image in images)])
        rows = np.arange(len(thumbnails))
        actual = {
            (pair.first, pair.second)
            for pair in duplicates.near_pairs(rows, thumbnails, _MIN_CORRELATION)
        }
        expected = {(10 * index, count + index) for index in range(len(images))}
        assert actual <= expected
        assert len(actual) >= 0.99 * len(expected)


@pytest.mark.real_data
@pytest.mark.slow
@pytest.mark.long
def test_the_search_in_the_full_set_does_not_compare_all_pairs(real, monkeypatch):
    _, thumbnails, _ = real
    random = np.random.default_rng(3)
    count, copies, components = 112_120, 500, 300
    # Normally distributed stand-ins for the full set, with the mean and the first 300 principal
    # components of the real thumbnails.
    flat = thumbnails.reshape(len(thumbnails), -1).astype(np.float32)
    mean = flat.mean(axis=0)
    _, scale, axes = np.linalg.svd(flat - mean, full_matrices=False)
    spread = axes[:components] * (scale[:components, None] / np.sqrt(len(flat)))
    spread = spread.astype(np.float32)
    many = np.empty((count, SIDE, SIDE), dtype=np.uint8)
    for start in range(0, count, 8192):
        size = min(8192, count - start)
        weights = random.standard_normal((size, components)).astype(np.float32)
        many[start : start + size] = np.clip(mean + weights @ spread, 0, 255).reshape(
            size, SIDE, SIDE
        )
    sources = random.choice(count - copies, copies, replace=False)
    many[-copies:] = np.clip(
        many[sources].astype(np.float32) * 1.05 + random.normal(0, 1, (copies, SIDE, SIDE)), 0, 255
    )
    search, compared = duplicates._candidates, []

    def counted(*arguments):
        candidates = search(*arguments)
        compared.append(len(candidates))
        return candidates

    monkeypatch.setattr(duplicates, '_candidates', counted)
    pairs = {
        (pair.first, pair.second)
        for pair in duplicates.near_pairs(np.arange(count), many, _MIN_CORRELATION)
    }
    assert pairs == {(int(source), count - copies + index) for index, source in enumerate(sources)}
    assert compared[0] < count
