"""The verdict of the served graph on images of every kind: good films pass with their own pixels,
all others are named.
"""

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
_FILM = np.asarray(
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (24, 24), np.uint8)).resize(
        (_SIDE, _SIDE), Image.Resampling.BICUBIC
    )
)
_SCAN, _END = b'\xff\xda', b'\xff\xd9'


def _encode(image: Image.Image | np.ndarray, kind: str = 'JPEG', **options) -> bytes:
    out = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(out, kind, **options)
    return out.getvalue()


_GREY = Image.fromarray(_FILM)
_RGB = Image.merge('RGB', [_GREY, _GREY.rotate(90), _GREY])


def _with_alpha(alpha: int) -> Image.Image:
    image = _RGB.convert('RGBA')
    image.putalpha(alpha)
    return image


def _turned(orientation: int, big_endian: bool = False) -> Image.Exif:
    exif = Image.Exif()
    exif[0x010F] = 'maker'
    exif[0x0112] = orientation
    if big_endian:
        exif.endian = '>'
    return exif


def _png_chunk(data: bytes, kind: bytes, content: bytes, before: bytes) -> bytes:
    """A PNG with one more chunk."""
    place = data.index(before) - 4
    chunk = (
        struct.pack('>I', len(content))
        + kind
        + content
        + struct.pack('>I', zlib.crc32(kind + content))
    )
    return data[:place] + chunk + data[place:]


_TIFF_TURNED = b'II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0'

FILMS = {
    'grey JPEG': _encode(_GREY),
    'RGB JPEG': _encode(_RGB),
    'progressive JPEG': _encode(_GREY, progressive=True),
    'progressive RGB JPEG': _encode(_RGB, progressive=True),
    'JPEG with restart markers': _encode(_GREY, restart_marker_blocks=2),
    'JPEG with bytes behind its end': _encode(_GREY) + b'\0' * 100,
    'JPEG that ends in middle grey': _encode(
        np.pad(_FILM, ((0, 32), (0, 32)), constant_values=128)
    ),
    'upright JPEG': _encode(_GREY, exif=_turned(1)),
    'JPEG with an orientation that does not exist': _encode(_GREY, exif=_turned(9)),
    'JPEG with a cut EXIF block': _encode(_GREY, exif=b'Exif\0\0II*\0\x08\0'),
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
    FILMS['grey JPEG'].index(_SCAN)
    + (len(FILMS['grey JPEG']) - FILMS['grey JPEG'].index(_SCAN)) // 2
)
_PNG = FILMS['grey PNG']

BAD = {
    'PNG cut in half': (_PNG[: len(_PNG) // 2], image_status.TRUNCATED),
    'JPEG cut inside its header': (FILMS['grey JPEG'][:40], image_status.TRUNCATED),
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
        FILMS['grey JPEG'].replace(
            struct.pack('>HH', _SIDE, _SIDE), struct.pack('>HH', 60_000, 60_000)
        ),
        image_status.TOO_LARGE,
    ),
    '16-bit': (_encode(_FILM.astype(np.uint16) * 257, 'PNG'), image_status.UNSUPPORTED),
    '1-bit': (_encode(_GREY.convert('1'), 'PNG'), image_status.UNSUPPORTED),
    'palette': (_encode(_RGB.convert('P'), 'PNG'), image_status.UNSUPPORTED),
    'a little transparent': (_encode(_with_alpha(254), 'PNG'), image_status.UNSUPPORTED),
    'transparent grey level': (_encode(_GREY, 'PNG', transparency=0), image_status.UNSUPPORTED),
    'turned JPEG': (_encode(_GREY, exif=_turned(6)), image_status.UNSUPPORTED),
    'turned JPEG, big-endian': (
        _encode(_GREY, exif=_turned(3, big_endian=True)),
        image_status.UNSUPPORTED,
    ),
    'turned PNG': (_encode(_GREY, 'PNG', exif=_turned(8)), image_status.UNSUPPORTED),
    'turned PNG, said at its end': (
        _png_chunk(_PNG, b'eXIf', _TIFF_TURNED, b'IEND'),
        image_status.UNSUPPORTED,
    ),
    'CMYK': (_encode(_RGB.convert('CMYK')), image_status.UNSUPPORTED),
    'JPEG of many scans': (
        FILMS['progressive JPEG'].replace(_END, _SCAN * image_status.MAX_SCANS + _END),
        image_status.UNSUPPORTED,
    ),
    **bad_images.examples(FILMS['grey JPEG']),
}


_GRAPH = tf.function(
    lambda images: image_assessment.assess(images, 48),
    input_signature=[tf.TensorSpec([None], tf.string)],
    autograph=False,
)


def _in_a_graph(images: list[bytes]) -> tuple[np.ndarray, list[str]]:
    pixels, statuses = _GRAPH(tf.constant(images))
    return pixels.numpy(), [name.decode() for name in statuses.numpy()]


def test_each_image_gets_its_status_in_one_batch_with_all_others() -> None:
    mixed = [(what, data, image_status.OK) for what, data in FILMS.items()] + [
        (what, *case) for what, case in BAD.items()
    ]
    pixels, statuses = _in_a_graph([data for _, data, _ in mixed])
    assert {what: status for (what, *_), status in zip(mixed, statuses, strict=True)} == {
        what: status for what, _, status in mixed
    }
    expected = preprocessing.decode_and_resize(tf.constant(list(FILMS.values())), 48)
    assert np.array_equal(pixels[: len(FILMS)], expected), (
        'a film must keep the pixels that Transform gives it'
    )
    assert set(statuses) == set(image_status.STATUSES), 'no status is left out here'


@pytest.mark.parametrize(
    'options',
    [{}, {'progressive': True}, {'optimize': True}],
    ids=['baseline', 'progressive', 'optimized'],
)
@pytest.mark.parametrize('image', [_GREY, _RGB], ids=['grey', 'RGB'])
def test_a_jpeg_cut_anywhere_is_never_a_film(image: Image.Image, options: dict) -> None:
    """With an end marker behind the cut, so that the decoder only warns.

    The last tenth is left out: a cut in the last bytes may cost no pixel. One of the others may
    fall on the few bytes between two scans of a progressive JPEG and leave a valid one.
    """
    film = _encode(image, **options)
    scan = film.index(_SCAN)
    cuts = [
        film[: scan + round((len(film) - scan) * part)] + _END
        for part in np.linspace(0.05, 0.9, 60)
    ]
    _, statuses = _in_a_graph(cuts)
    assert sum(
        status not in (image_status.TRUNCATED, image_status.UNDECODABLE) for status in statuses
    ) <= bool(options.get('progressive'))


def test_no_mutation_of_a_film_fails_a_batch() -> None:
    """Bytes changed, dropped and doubled at random."""
    rng = np.random.default_rng(5)
    mutated = []
    for film in (
        FILMS['grey JPEG'],
        FILMS['progressive RGB JPEG'],
        FILMS['grey PNG'],
        FILMS['opaque RGBA PNG'],
    ):
        for _ in range(60):
            place, length = int(rng.integers(0, len(film))), int(rng.integers(1, 40))
            mutated.append(
                film[:place] + rng.bytes(length) + film[place + int(rng.integers(0, 2 * length)) :]
            )
    _, statuses = _in_a_graph([*mutated, FILMS['grey JPEG']])
    assert statuses[-1] == image_status.OK
    assert set(statuses) <= set(image_status.STATUSES)
    assert statuses.count(image_status.OK) < len(mutated) / 2
