"""Copies of films: found when they are, not when two films are merely alike; and at the size of the
full NIH set.
"""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from components.data_audit import duplicates
from components.data_audit.inspection import SIDE, thumbnail
from components.data_audit.parameters import AuditParameters
from tests.support import audit_data as data

_LEAST = AuditParameters().near_duplicate_correlation


def _crop(film: Image.Image, left: float, top: float, right: float, bottom: float) -> Image.Image:
    width, height = film.size
    box = (
        round(left * width),
        round(top * height),
        round((1 - right) * width),
        round((1 - bottom) * height),
    )
    return film.crop(box).resize((width, height), Image.Resampling.BICUBIC)


def _again(film: Image.Image, quality: int) -> Image.Image:
    return data.opened(data.encode(film, quality=quality))


COPIES = {
    'encoded again, q70': lambda film: _again(film, 70),
    'encoded again, q30': lambda film: _again(film, 30),
    'brightened by 10 %': lambda film: film.point(lambda value: min(255, value * 1.1)),
    'gamma 0.8': lambda film: film.point(lambda value: 255 * (value / 255) ** 0.8),
    'cropped by 1 % a side': lambda film: _crop(film, 0.01, 0.01, 0.01, 0.01),
    'cropped by 2 % a side': lambda film: _crop(film, 0.02, 0.02, 0.02, 0.02),
    'cropped at two sides': lambda film: _crop(film, 0.02, 0, 0, 0.02),
    'resized to 400': lambda film: film.resize((400, 400), Image.Resampling.BICUBIC),
    'all of it': lambda film: _again(
        _crop(film.point(lambda value: min(255, value * 1.1)), 0.02, 0.01, 0, 0.01).resize(
            (512, 512), Image.Resampling.BICUBIC
        ),
        70,
    ),
}


def _thumbnails(films) -> np.ndarray:
    return np.stack([np.asarray(thumbnail(film)) for film in films])


@pytest.fixture(scope='module')
def drawn() -> list[Image.Image]:
    return [data.opened(data.drawn(seed)) for seed in range(12)]


@pytest.mark.parametrize('change', COPIES.values(), ids=COPIES.keys())
def test_finds_a_copy_among_drawn_films(drawn, change):
    thumbnails = _thumbnails([*drawn, change(drawn[3])])
    pairs = duplicates.near_pairs(np.arange(13), thumbnails, _LEAST)
    assert [(pair.first, pair.second) for pair in pairs] == [(3, 12)]


def test_only_given_rows_are_compared(drawn):
    thumbnails = _thumbnails([*drawn, drawn[3]])
    assert duplicates.near_pairs(np.arange(12), thumbnails, _LEAST) == []
    assert [
        (pair.first, pair.second)
        for pair in duplicates.near_pairs(np.array([3, 12]), thumbnails, _LEAST)
    ] == [(3, 12)]


@pytest.mark.parametrize('rows', [[], [0]], ids=['none', 'one'])
def test_nothing_to_compare(drawn, rows):
    assert duplicates.near_pairs(np.array(rows, dtype=int), _thumbnails(drawn[:1]), _LEAST) == []


def test_exact_groups():
    thumbnails = np.zeros((6, SIDE, SIDE), dtype=np.uint8)
    thumbnails[4] = 1
    hashes = np.array([b'a', b'b', b'a', b'', b'a', b''], dtype=object)
    # Row 4 has the hash of rows 0 and 2 but other content; rows 3 and 5 have no pixels.
    assert duplicates.exact_groups(hashes, thumbnails) == [[0, 2]]


@pytest.fixture(scope='module')
def real(real_data) -> tuple[list[Image.Image], np.ndarray, np.ndarray]:
    films = data.real_films(real_data)
    images = [data.opened(film.image) for film in films[::10]]
    return (
        images,
        _thumbnails(data.opened(film.image) for film in films),
        np.array([str(film.image_id)[:8] for film in films]),
    )


@pytest.mark.real_data
@pytest.mark.slow
class TestRealFilms:
    """On the 1,948 real films."""

    def test_different_films_are_no_copies(self, real):
        _, thumbnails, patients = real
        assert duplicates.near_pairs(np.arange(len(patients)), thumbnails, _LEAST) == []
        closest = [
            pair
            for pair in duplicates.near_pairs(np.arange(len(patients)), thumbnails, 0.75)
            if patients[pair.first] != patients[pair.second]
        ]
        # The limit keeps a distance from what two patients reach, for the full set has 3,300 times
        # as many pairs.
        assert max(pair.correlation for pair in closest) < 0.90

    @pytest.mark.parametrize('blocks', [True, False], ids=['all coarse vectors', 'hashing'])
    @pytest.mark.parametrize('change', COPIES.values(), ids=COPIES.keys())
    def test_copies_are_found(self, real, change, blocks, monkeypatch):
        images, thumbnails, _ = real
        if not blocks:
            monkeypatch.setattr(duplicates, '_BLOCK_UP_TO', 0)
        count = len(thumbnails)
        everything = np.concatenate([thumbnails, _thumbnails(change(image) for image in images)])
        found = {
            (pair.first, pair.second)
            for pair in duplicates.near_pairs(np.arange(len(everything)), everything, _LEAST)
        }
        wanted = {(10 * place, count + place) for place in range(len(images))}
        assert found <= wanted
        assert len(found) >= 0.99 * len(wanted)


@pytest.mark.real_data
@pytest.mark.slow
def test_the_full_set_is_compared_without_comparing_all_pairs(real):
    _, thumbnails, _ = real
    random = np.random.default_rng(3)
    count, copies, kept = 112_120, 500, 300
    # Stand-ins for the films of the full set: normal, with the mean and the first 300 principal
    # components of the real ones.
    flat = thumbnails.reshape(len(thumbnails), -1).astype(np.float32)
    mean = flat.mean(axis=0)
    _, scale, axes = np.linalg.svd(flat - mean, full_matrices=False)
    spread = (axes[:kept] * (scale[:kept, None] / np.sqrt(len(flat)))).astype(np.float32)
    many = np.empty((count, SIDE, SIDE), dtype=np.uint8)
    for start in range(0, count, 8192):
        size = min(8192, count - start)
        films = mean + random.standard_normal((size, kept)).astype(np.float32) @ spread
        many[start : start + size] = np.clip(films, 0, 255).reshape(size, SIDE, SIDE)
    sources = random.choice(count - copies, copies, replace=False)
    many[-copies:] = np.clip(
        many[sources].astype(np.float32) * 1.05 + random.normal(0, 1, (copies, SIDE, SIDE)), 0, 255
    )
    candidates = duplicates._candidates(many, np.arange(count))
    assert len(candidates) < count
    pairs = {
        (pair.first, pair.second) for pair in duplicates.near_pairs(np.arange(count), many, _LEAST)
    }
    assert pairs == {(int(source), count - copies + place) for place, source in enumerate(sources)}
