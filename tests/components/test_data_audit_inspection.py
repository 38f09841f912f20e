"""Decoding: what TensorFlow refuses is refused, and what is kept of an image is right."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from components.data_audit import table
from components.data_audit.inspection import SIDE, Inspection, inspect
from records import tfrecord
from records.examples import parse
from records.images import ImageError
from schemas import image_status
from tests.support import audit_data as data
from tests.support import bad_images

_MAX = 50_000_000
_FILM = data.drawn(1)
_PNG = data.encode(data.opened(_FILM), format='PNG', quality=None)


def _tensorflow_refuses(image: bytes) -> bool:
    try:
        tf.io.decode_jpeg(image, channels=1)
    except tf.errors.InvalidArgumentError:
        return True
    return False


def _flip(image: bytes, place: int) -> bytes:
    return image[:place] + bytes([image[place] ^ 0xFF]) + image[place + 1 :]


@pytest.mark.parametrize(
    'image',
    [
        pytest.param(_FILM[:-2], id='jpeg without its end marker'),
        pytest.param(_FILM[:-200], id='jpeg, last rows missing'),
        pytest.param(_FILM[: len(_FILM) // 2], id='jpeg cut in the middle'),
        pytest.param(_FILM[:300], id='jpeg, header only'),
        pytest.param(
            data.encode(data.opened(_FILM), progressive=True)[:-3000], id='progressive jpeg cut'
        ),
        pytest.param(_PNG[:-12], id='png without IEND'),
        pytest.param(_PNG[:-5000], id='png cut'),
        pytest.param(_flip(_PNG, 5000), id='png with a flipped byte'),
        pytest.param(data.encode(data.opened(_FILM).convert('CMYK')), id='cmyk'),
        pytest.param(data.encode(data.opened(_FILM), format='TIFF', quality=None), id='tiff'),
        pytest.param(data.encode(data.opened(_FILM), format='WEBP'), id='webp'),
        pytest.param(data.encode(data.opened(_FILM), format='BMP'), id='bmp'),
        pytest.param(b'', id='no bytes'),
        pytest.param(b'hello' * 50, id='text'),
    ],
)
def test_refuses_what_tensorflow_refuses(image):
    assert _tensorflow_refuses(image)
    with pytest.raises(ImageError) as caught:
        inspect(image, _MAX)
    assert caught.value.kind in (
        image_status.UNDECODABLE,
        image_status.TRUNCATED,
        image_status.UNSUPPORTED,
    )


@pytest.mark.parametrize(
    ('image', 'kind'),
    [
        pytest.param(*case, id=name)
        for name, case in {**bad_images.BY_HEADER, **bad_images.BY_DECODING}.items()
        if case[1] != image_status.TOO_SMALL
    ],
)
def test_refuses_bad_images_under_the_name_of_the_problem(image, kind):
    with pytest.raises(ImageError) as caught:
        inspect(image, image_status.MAX_PIXELS)
    assert caught.value.kind == kind


@pytest.mark.parametrize(
    'image', [pytest.param(image, id=name) for name, image in bad_images.UNSUPPORTED.items()]
)
def test_refuses_what_a_viewer_shows_otherwise(image):
    with pytest.raises(ImageError) as caught:
        inspect(image, _MAX)
    assert caught.value.kind == image_status.UNSUPPORTED


@pytest.mark.parametrize(
    ('image', 'mode', 'channels'),
    [
        pytest.param(_FILM, 'L', 1, id='grey jpeg'),
        pytest.param(_FILM + b'trailing', 'L', 1, id='bytes behind the end'),
        pytest.param(data.encode(data.opened(_FILM), progressive=True), 'L', 1, id='progressive'),
        pytest.param(data.encode(data.opened(_FILM).convert('RGB')), 'RGB', 3, id='rgb jpeg'),
        pytest.param(_PNG, 'L', 1, id='png'),
        pytest.param(
            data.encode(data.opened(_FILM).convert('RGB'), format='PNG', quality=None),
            'RGB',
            3,
            id='rgb png',
        ),
    ],
)
def test_decodes_what_tensorflow_decodes(image, mode, channels):
    assert not _tensorflow_refuses(image)
    found = inspect(image, _MAX)
    assert (found.mode, found.channels, found.width, found.height) == (mode, channels, 600, 600)
    # The same grey levels as TensorFlow's, but for rounding and the weights of the colours.
    assert found.mean == pytest.approx(
        float(tf.reduce_mean(tf.cast(tf.io.decode_jpeg(image, channels=1), tf.float32))), abs=1.5
    )


@pytest.mark.real_data
def test_agrees_with_tensorflow_on_damaged_real_films(real_data):
    film = next(iter(tfrecord.read(str(min((real_data / 'nih/data').glob('*.tfrec')))))).payload
    image = parse(film).image
    random = np.random.default_rng(5)
    cut = [
        image[:-size]
        for size in (*range(1, 60), *(int(n) for n in random.integers(60, len(image), 40)))
    ]
    flipped = [_flip(image, int(place)) for place in random.integers(2, len(image), 150)]
    refused = 0
    for damaged in cut + flipped:
        try:
            inspect(damaged, _MAX)
        except ImageError:
            refused += 1
        else:
            assert not _tensorflow_refuses(damaged)
    assert refused >= len(cut) - 1


def test_does_not_decode_huge_images():
    huge = data.encode(Image.new('L', (20_000, 20_000)), quality=10)
    for image, most in ((huge, _MAX), (_FILM, 1000)):
        with pytest.raises(ImageError, match=f'at most {most:,} pixels in all') as caught:
            inspect(image, most)
        assert caught.value.kind == image_status.TOO_LARGE


def test_keeps_statistics_of_the_pixels():
    pixels = np.full((100, 200), 10, dtype=np.uint8)
    pixels[:, :50] = 0
    pixels[:, 150:] = 255
    found = inspect(data.encode(Image.fromarray(pixels), format='PNG', quality=None), _MAX)
    assert (found.width, found.height, found.format) == (200, 100, 'PNG')
    assert found.black == 0.25
    assert found.white == 0.25
    assert found.mean == pytest.approx(pixels.mean())
    assert found.std == pytest.approx(pixels.std())
    assert (found.low, found.high) == (0, 255)
    assert np.isnan(found.quality)


@pytest.mark.parametrize('quality', [30, 50, 75, 90, 95])
def test_tells_jpeg_quality(quality):
    assert inspect(data.drawn(1, quality=quality), _MAX).quality == pytest.approx(quality, abs=1)


def test_one_pixel_is_an_image():
    found = inspect(data.encode(Image.new('L', (1, 1), 7)), _MAX)
    assert (found.width, found.height, found.std) == (1, 1, 0)


def test_hash_is_of_pixels():
    png_again = data.encode(data.opened(_PNG), format='PNG', quality=None, compress_level=1)
    other = np.asarray(data.opened(_PNG)).copy()
    other[300, 300] ^= 1
    first, again, changed = (
        inspect(image, _MAX)
        for image in (
            _PNG,
            png_again,
            data.encode(Image.fromarray(other), format='PNG', quality=None),
        )
    )
    assert first.pixel_hash == again.pixel_hash
    assert first.byte_hash != again.byte_hash
    assert first.pixel_hash != changed.pixel_hash


@pytest.mark.parametrize('place', [0.3, 0.6, 0.9])
def test_data_missing_inside_is_seen_although_it_decodes(place):
    start = int(len(_FILM) * place)
    hole = _FILM[:start] + _FILM[start + 1000 :]
    assert not _tensorflow_refuses(hole)
    with pytest.raises(ImageError, match='premature end') as caught:
        inspect(hole, _MAX)
    assert caught.value.kind == image_status.TRUNCATED


def _polarity(found: Inspection) -> float:
    return float(
        table.polarity(np.frombuffer(found.thumbnail, dtype=np.uint8).reshape(1, SIDE, SIDE))[0]
    )


def test_polarity_of_a_negative_is_the_negative():
    film = inspect(_FILM, _MAX)
    negative = inspect(data.encode(data.opened(_FILM).point(lambda value: 255 - value)), _MAX)
    assert _polarity(film) > 0.2
    assert _polarity(negative) == pytest.approx(-_polarity(film), abs=0.02)


def test_border_is_black():
    framed = np.full((2, SIDE, SIDE), 100, dtype=np.uint8)
    framed[0, :2] = framed[0, -2:] = 0
    assert table.border_black(framed) == pytest.approx(
        [2 * 2 * SIDE / (SIDE**2 - (SIDE - 4) ** 2), 0]
    )
