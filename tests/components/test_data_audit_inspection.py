"""Inspection refuses every image that TensorFlow refuses, and measures the others correctly."""

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
_JPEG = data.draw(1)
_PNG = data.encode(data.decode(_JPEG), format='PNG', quality=None)


def _tensorflow_refuses(image: bytes) -> bool:
    try:
        tf.io.decode_jpeg(image, channels=1)
    except tf.errors.InvalidArgumentError:
        return True
    return False


def _flip(image: bytes, offset: int) -> bytes:
    return image[:offset] + bytes([image[offset] ^ 0xFF]) + image[offset + 1 :]


@pytest.mark.parametrize(
    'image',
    [
        pytest.param(_JPEG[:-2], id='jpeg without its end marker'),
        pytest.param(_JPEG[:-200], id='jpeg, last rows missing'),
        pytest.param(_JPEG[: len(_JPEG) // 2], id='jpeg cut in the middle'),
        pytest.param(_JPEG[:300], id='jpeg, header only'),
        pytest.param(
            data.encode(data.decode(_JPEG), progressive=True)[:-3000], id='progressive jpeg cut'
        ),
        pytest.param(_PNG[:-12], id='png without IEND'),
        pytest.param(_PNG[:-5000], id='png cut'),
        pytest.param(_flip(_PNG, 5000), id='png with a flipped byte'),
        pytest.param(data.encode(data.decode(_JPEG).convert('CMYK')), id='cmyk'),
        pytest.param(data.encode(data.decode(_JPEG), format='TIFF', quality=None), id='tiff'),
        pytest.param(data.encode(data.decode(_JPEG), format='WEBP'), id='webp'),
        pytest.param(data.encode(data.decode(_JPEG), format='BMP'), id='bmp'),
        pytest.param(b'', id='no bytes'),
        pytest.param(b'hello' * 50, id='text'),
    ],
)
def test_refuses_what_tensorflow_refuses(image):
    assert _tensorflow_refuses(image)
    with pytest.raises(ImageError) as error:
        inspect(image, _MAX)
    assert error.value.kind in (
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
def test_refuses_a_bad_image_with_its_status(image, kind):
    with pytest.raises(ImageError) as error:
        inspect(image, image_status.MAX_PIXELS)
    assert error.value.kind == kind


@pytest.mark.parametrize(
    'image', [pytest.param(image, id=name) for name, image in bad_images.UNSUPPORTED.items()]
)
def test_refuses_images_that_a_viewer_shows_differently(image):
    with pytest.raises(ImageError) as error:
        inspect(image, _MAX)
    assert error.value.kind == image_status.UNSUPPORTED


@pytest.mark.parametrize(
    ('image', 'mode', 'channels'),
    [
        pytest.param(_JPEG, 'L', 1, id='grey jpeg'),
        pytest.param(_JPEG + b'trailing', 'L', 1, id='bytes after the end'),
        pytest.param(data.encode(data.decode(_JPEG), progressive=True), 'L', 1, id='progressive'),
        pytest.param(data.encode(data.decode(_JPEG).convert('RGB')), 'RGB', 3, id='rgb jpeg'),
        pytest.param(_PNG, 'L', 1, id='png'),
        pytest.param(
            data.encode(data.decode(_JPEG).convert('RGB'), format='PNG', quality=None),
            'RGB',
            3,
            id='rgb png',
        ),
    ],
)
def test_decodes_what_tensorflow_decodes(image, mode, channels):
    assert not _tensorflow_refuses(image)
    result = inspect(image, _MAX)
    assert (result.mode, result.channels, result.width, result.height) == (mode, channels, 600, 600)
    # TensorFlow rounds differently and has other weights for the colours.
    assert result.mean == pytest.approx(
        float(tf.reduce_mean(tf.cast(tf.io.decode_jpeg(image, channels=1), tf.float32))), abs=1.5
    )


@pytest.mark.real_data
def test_refuses_damaged_real_images_that_tensorflow_refuses(real_data):
    path = min((real_data / 'nih/data').glob('*.tfrec'))
    image = parse(next(iter(tfrecord.read(str(path)))).payload).image
    random = np.random.default_rng(5)
    truncated = [
        image[:-size]
        for size in (*range(1, 60), *(int(n) for n in random.integers(60, len(image), 40)))
    ]
    flipped = [_flip(image, int(offset)) for offset in random.integers(2, len(image), 150)]
    refused = 0
    for damaged in truncated + flipped:
        try:
            inspect(damaged, _MAX)
        except ImageError:
            refused += 1
        else:
            assert not _tensorflow_refuses(damaged)
    assert refused >= len(truncated) - 1


def test_does_not_decode_huge_images():
    huge = data.encode(Image.new('L', (20_000, 20_000)), quality=10)
    for image, max_pixels in ((huge, _MAX), (_JPEG, 1000)):
        with pytest.raises(ImageError, match=f'at most {max_pixels:,} pixels in all') as error:
            inspect(image, max_pixels)
        assert error.value.kind == image_status.TOO_LARGE


def test_measures_the_pixels():
    pixels = np.full((100, 200), 10, dtype=np.uint8)
    pixels[:, :50] = 0
    pixels[:, 150:] = 255
    result = inspect(data.encode(Image.fromarray(pixels), format='PNG', quality=None), _MAX)
    assert (result.width, result.height, result.format) == (200, 100, 'PNG')
    assert result.black == 0.25
    assert result.white == 0.25
    assert result.mean == pytest.approx(pixels.mean())
    assert result.std == pytest.approx(pixels.std())
    assert (result.low, result.high) == (0, 255)
    assert np.isnan(result.quality)


@pytest.mark.parametrize('quality', [30, 50, 75, 90, 95])
def test_estimates_the_jpeg_quality(quality):
    assert inspect(data.draw(1, quality=quality), _MAX).quality == pytest.approx(quality, abs=1)


def test_inspects_an_image_of_one_pixel():
    result = inspect(data.encode(Image.new('L', (1, 1), 7)), _MAX)
    assert (result.width, result.height, result.std) == (1, 1, 0)


def test_pixel_hash_does_not_depend_on_the_compression():
    png_again = data.encode(data.decode(_PNG), format='PNG', quality=None, compress_level=1)
    other = np.asarray(data.decode(_PNG)).copy()
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


@pytest.mark.parametrize('share', [0.3, 0.6, 0.9])
def test_refuses_a_jpeg_with_a_hole_that_tensorflow_decodes(share):
    start = int(len(_JPEG) * share)
    with_hole = _JPEG[:start] + _JPEG[start + 1000 :]
    assert not _tensorflow_refuses(with_hole)
    with pytest.raises(ImageError, match='premature end') as error:
        inspect(with_hole, _MAX)
    assert error.value.kind == image_status.TRUNCATED


def _polarity(inspection: Inspection) -> float:
    thumbnail = np.frombuffer(inspection.thumbnail, dtype=np.uint8).reshape(1, SIDE, SIDE)
    return float(table.polarity(thumbnail)[0])


def test_inverting_an_image_negates_its_polarity():
    original = inspect(_JPEG, _MAX)
    inverted = inspect(data.encode(data.decode(_JPEG).point(lambda value: 255 - value)), _MAX)
    assert _polarity(original) > 0.2
    assert _polarity(inverted) == pytest.approx(-_polarity(original), abs=0.02)


def test_border_black_is_the_share_of_black_in_the_border():
    framed = np.full((2, SIDE, SIDE), 100, dtype=np.uint8)
    framed[0, :2] = framed[0, -2:] = 0
    assert table.border_black(framed) == pytest.approx(
        [2 * 2 * SIDE / (SIDE**2 - (SIDE - 4) ** 2), 0]
    )
