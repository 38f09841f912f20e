"""The served graph finds the status of images of every kind."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from components.serving_check import bad_images
from schemas import image_status
from trainer import image_assessment, preprocessing

_SIDE = 96
_PIXELS = np.asarray(
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (24, 24), np.uint8)).resize(
        (_SIDE, _SIDE), Image.Resampling.BICUBIC
    )
)
_SCAN, _END = b'\xff\xda', b'\xff\xd9'


def _encode(image: Image.Image | np.ndarray, kind: str = 'JPEG', **options) -> bytes:
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(
        buffer, kind, **options
    )
    return buffer.getvalue()


_GREY = Image.fromarray(_PIXELS)
_RGB = Image.merge('RGB', [_GREY, _GREY.rotate(90), _GREY])


def _with_alpha(alpha: int) -> Image.Image:
    image = _RGB.convert('RGBA')
    image.putalpha(alpha)
    return image


def _exif(orientation: int, big_endian: bool = False) -> Image.Exif:
    exif = Image.Exif()
    exif[0x010F] = 'maker'
    exif[0x0112] = orientation
    if big_endian:
        exif.endian = '>'
    return exif


def _insert_png_chunk(data: bytes, kind: bytes, content: bytes, next_kind: bytes) -> bytes:
    """Inserts a chunk into a PNG, before its chunk of `next_kind`."""
    position = data.index(next_kind) - 4
    chunk = (
        struct.pack('>I', len(content))
        + kind
        + content
        + struct.pack('>I', zlib.crc32(kind + content))
    )
    return data[:position] + chunk + data[position:]


_TIFF_ROTATED = b'II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0'

GOOD = {
    'grey JPEG': _encode(_GREY),
    'RGB JPEG': _encode(_RGB),
    'progressive JPEG': _encode(_GREY, progressive=True),
    'progressive RGB JPEG': _encode(_RGB, progressive=True),
    'JPEG with restart markers': _encode(_GREY, restart_marker_blocks=2),
    'JPEG with bytes after its end': _encode(_GREY) + b'\0' * 100,
    'JPEG that ends in middle grey': _encode(
        np.pad(_PIXELS, ((0, 32), (0, 32)), constant_values=128)
    ),
    'upright JPEG': _encode(_GREY, exif=_exif(1)),
    'JPEG with an orientation that does not exist': _encode(_GREY, exif=_exif(9)),
    'JPEG with a truncated EXIF block': _encode(_GREY, exif=b'Exif\0\0II*\0\x08\0'),
    'grey PNG': _encode(_GREY, 'PNG'),
    'RGB PNG': _encode(_RGB, 'PNG'),
    'interlaced-size PNG': _encode(_GREY.resize((97, 65)), 'PNG'),
    'opaque RGBA PNG': _encode(_with_alpha(255), 'PNG'),
    'grey PNG with opaque alpha': _encode(_GREY.convert('LA'), 'PNG'),
    'smallest': _encode(_GREY.resize((image_status.MIN_SIDE, 300))),
    'just not blank': _encode(
        np.array([[100, 100 + image_status.BLANK_RANGE]] * 64, np.uint8).repeat(32, axis=1), 'PNG'
    ),
}

_HALF = (
    GOOD['grey JPEG'].index(_SCAN) + (len(GOOD['grey JPEG']) - GOOD['grey JPEG'].index(_SCAN)) // 2
)
_PNG = GOOD['grey PNG']

BAD = {
    'PNG cut in half': (_PNG[: len(_PNG) // 2], image_status.TRUNCATED),
    'JPEG cut inside its header': (GOOD['grey JPEG'][:40], image_status.TRUNCATED),
    'PNG header alone': (_PNG[:20], image_status.TRUNCATED),
    'PNG with a changed byte': (
        _PNG[:-30] + bytes([_PNG[-30] ^ 255]) + _PNG[-29:],
        image_status.UNDECODABLE,
    ),
    'start of a JPEG, then text': (b'\xff\xd8\xff and text \xff\xd9', image_status.UNDECODABLE),
    'GIF': (_encode(_GREY, 'GIF'), image_status.UNDECODABLE),
    'BMP': (_encode(_GREY, 'BMP'), image_status.UNDECODABLE),
    'white': (_encode(np.full((80, 80), 255, np.uint8)), image_status.BLANK),
    'nearly black': (
        _encode(
            np.array([[0, image_status.BLANK_RANGE - 1]] * 64, np.uint8).repeat(32, axis=1), 'PNG'
        ),
        image_status.BLANK,
    ),
    '1 x 1 JPEG': (_encode(np.zeros((1, 1), np.uint8)), image_status.TOO_SMALL),
    'one row too few': (
        _encode(_GREY.resize((300, image_status.MIN_SIDE - 1))),
        image_status.TOO_SMALL,
    ),
    'JPEG header of 60,000 x 60,000': (
        GOOD['grey JPEG'].replace(
            struct.pack('>HH', _SIDE, _SIDE), struct.pack('>HH', 60_000, 60_000)
        ),
        image_status.TOO_LARGE,
    ),
    '16-bit': (_encode(_PIXELS.astype(np.uint16) * 257, 'PNG'), image_status.UNSUPPORTED),
    '1-bit': (_encode(_GREY.convert('1'), 'PNG'), image_status.UNSUPPORTED),
    'palette': (_encode(_RGB.convert('P'), 'PNG'), image_status.UNSUPPORTED),
    'a little transparent': (_encode(_with_alpha(254), 'PNG'), image_status.UNSUPPORTED),
    'transparent grey level': (_encode(_GREY, 'PNG', transparency=0), image_status.UNSUPPORTED),
    'rotated JPEG': (_encode(_GREY, exif=_exif(6)), image_status.UNSUPPORTED),
    'rotated JPEG, big-endian': (
        _encode(_GREY, exif=_exif(3, big_endian=True)),
        image_status.UNSUPPORTED,
    ),
    'rotated PNG': (_encode(_GREY, 'PNG', exif=_exif(8)), image_status.UNSUPPORTED),
    'rotated PNG, with EXIF at its end': (
        _insert_png_chunk(_PNG, b'eXIf', _TIFF_ROTATED, b'IEND'),
        image_status.UNSUPPORTED,
    ),
    'CMYK': (_encode(_RGB.convert('CMYK')), image_status.UNSUPPORTED),
    'JPEG of many scans': (
        GOOD['progressive JPEG'].replace(_END, _SCAN * image_status.MAX_SCANS + _END),
        image_status.UNSUPPORTED,
    ),
    **bad_images.examples(GOOD['grey JPEG']),
}


_GRAPH = tf.function(
    lambda images: image_assessment.assess(images, 48),
    input_signature=[tf.TensorSpec([None], tf.string)],
    autograph=False,
)


def _assess(images: list[bytes]) -> tuple[np.ndarray, list[str]]:
    pixels, statuses = _GRAPH(tf.constant(images))
    return pixels.numpy(), [name.decode() for name in statuses.numpy()]


def test_each_image_of_a_mixed_batch_gets_its_status() -> None:
    mixed = [(name, data, image_status.OK) for name, data in GOOD.items()] + [
        (name, *data_and_status) for name, data_and_status in BAD.items()
    ]
    pixels, statuses = _assess([data for _, data, _ in mixed])
    assert {name: status for (name, *_), status in zip(mixed, statuses, strict=True)} == {
        name: status for name, _, status in mixed
    }
    expected = preprocessing.decode_and_resize(tf.constant(list(GOOD.values())), 48)
    assert np.array_equal(pixels[: len(GOOD)], expected), (
        'an image that is ok must have the pixels of Transform'
    )
    assert set(statuses) == set(image_status.STATUSES), 'the test must cover every status'


@pytest.mark.parametrize(
    'options',
    [{}, {'progressive': True}, {'optimize': True}],
    ids=['baseline', 'progressive', 'optimized'],
)
@pytest.mark.parametrize('image', [_GREY, _RGB], ids=['grey', 'RGB'])
def test_a_truncated_jpeg_is_never_ok(image: Image.Image, options: dict) -> None:
    """The JPEG gets an end marker, so that the decoder only warns.

    There are no cuts in the last tenth, which may affect no pixel. One of the cuts may be between
    two scans of a progressive JPEG and leave a valid image.
    """
    encoded = _encode(image, **options)
    scan = encoded.index(_SCAN)
    cuts = [
        encoded[: scan + round((len(encoded) - scan) * share)] + _END
        for share in np.linspace(0.05, 0.9, 60)
    ]
    _, statuses = _assess(cuts)
    assert sum(
        status not in (image_status.TRUNCATED, image_status.UNDECODABLE) for status in statuses
    ) <= bool(options.get('progressive'))


def test_no_mutation_of_an_image_fails_a_batch() -> None:
    """The mutations replace, drop and insert bytes at random."""
    rng = np.random.default_rng(5)
    mutated = []
    for image in (
        GOOD['grey JPEG'],
        GOOD['progressive RGB JPEG'],
        GOOD['grey PNG'],
        GOOD['opaque RGBA PNG'],
    ):
        for _ in range(60):
            position, length = int(rng.integers(0, len(image))), int(rng.integers(1, 40))
            mutated.append(
                image[:position]
                + rng.bytes(length)
                + image[position + int(rng.integers(0, 2 * length)) :]
            )
    _, statuses = _assess([*mutated, GOOD['grey JPEG']])
    assert statuses[-1] == image_status.OK
    assert set(statuses) <= set(image_status.STATUSES)
    assert statuses.count(image_status.OK) < len(mutated) / 2
