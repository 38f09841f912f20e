"""Image checks: each kind of fault has its name, and a bounded cost."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from records import examples, images, tfrecord
from schemas import image_status
from tests.support import bad_images
from tests.support.encoded_images import encode, pixels, png_chunk


def _problem(data: bytes, limits: images.ImageLimits = images.DEFAULT_LIMITS) -> tuple[str, str]:
    """The kind and the reason that reading the image to the last pixel ends with."""
    with pytest.raises(images.ImageError) as caught:
        images.decode(data, images.check(data, limits))
    return caught.value.kind, str(caught.value)


@pytest.mark.parametrize(
    ('data', 'kind'), [pytest.param(*case, id=name) for name, case in bad_images.BY_HEADER.items()]
)
def test_found_before_any_pixel_is_decoded(data: bytes, kind: str) -> None:
    with pytest.raises(images.ImageError) as caught:
        images.check(data)
    assert caught.value.kind == kind
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ('data', 'kind'),
    [pytest.param(*case, id=name) for name, case in bad_images.BY_DECODING.items()],
)
def test_found_by_the_decoder(data: bytes, kind: str) -> None:
    images.check(data)
    actual, reason = _problem(data)
    assert actual == kind
    assert 'premature end' in reason


@pytest.mark.parametrize(
    'data', [pytest.param(data, id=name) for name, data in bad_images.UNSUPPORTED.items()]
)
def test_images_that_viewers_show_differently_are_unsupported(data: bytes) -> None:
    kind, reason = _problem(data)
    assert kind == image_status.UNSUPPORTED
    assert 'expected 8 bits per channel, greyscale or RGB, upright' in reason
    assert 'cxr-triage convert' in reason
    images.check_readable(data)


@pytest.mark.parametrize(
    'data', [pytest.param(data, id=name) for name, data in bad_images.BLANK.items()]
)
def test_blank(data: bytes) -> None:
    assert 'it shows nothing: its grey levels run from' in images.blank(
        images.decode(data, images.check(data))
    )


@pytest.mark.parametrize('share', [0.1, 0.3, 0.7, 0.999])
@pytest.mark.parametrize('progressive', [False, True])
def test_a_cut_anywhere_in_the_pixel_data_is_found(progressive: bool, share: float) -> None:
    whole = encode(pixels(300, 300), quality=95, progressive=progressive)
    assert _problem(bad_images.cut_and_closed(whole, share))[0] == image_status.TRUNCATED


@pytest.mark.parametrize(
    ('data', 'error'),
    [
        pytest.param(encode(pixels()), 0, id='JPEG'),
        pytest.param(encode(pixels()) + b'behind the end', 0, id='JPEG with bytes behind its end'),
        pytest.param(encode(pixels(), progressive=True), 0, id='JPEG progressive'),
        pytest.param(encode(pixels(), mode='RGB'), 1, id='JPEG RGB'),
        pytest.param(encode(pixels(), mode='RGB', progressive=True), 1, id='JPEG RGB progressive'),
        pytest.param(bad_images.turned(pixels(), 1), 0, id='JPEG whose EXIF says upright'),
        pytest.param(encode(pixels(), 'PNG'), 0, id='PNG'),
        pytest.param(encode(pixels(), 'PNG', 'RGB'), 0, id='PNG RGB'),
        pytest.param(encode(pixels(), 'PNG', 'RGBA'), 0, id='PNG RGBA, opaque'),
        pytest.param(encode(pixels(), 'PNG', 'LA'), 0, id='PNG grey with alpha, opaque'),
    ],
)
def test_encoded_images_give_their_pixels(data: bytes, error: int) -> None:
    image = images.decode(data, images.check(data))
    assert (image.mode, image.size) == ('L', (90, 80))
    assert images.blank(image) == ''
    expected = np.asarray(Image.open(io.BytesIO(data)).convert('L'), dtype=int)
    assert np.abs(np.asarray(image) - expected).max() <= error


@pytest.mark.parametrize('width', [1, 3, 4, 5, 90])
@pytest.mark.parametrize('height', [1, 2, 7, 80])
def test_an_interlaced_png_is_whole_or_not(width: int, height: int) -> None:
    """Adam7 by hand: Pillow writes no interlaced PNGs."""
    whole = pixels(height, width)
    rows = []
    for left, top, across, down in (
        (0, 0, 8, 8),
        (4, 0, 8, 8),
        (0, 4, 4, 8),
        (2, 0, 4, 4),
        (0, 2, 2, 4),
        (1, 0, 2, 2),
        (0, 1, 1, 2),
    ):
        rows += [b'\0' + row.tobytes() for row in whole[top::down, left::across] if len(row)]
    limits = images.ImageLimits(min_side=1)

    def interlaced(data: bytes) -> bytes:
        ihdr = struct.pack('>IIBBBBB', width, height, 8, 0, 0, 0, 1)
        chunks = ((b'IHDR', ihdr), (b'IDAT', zlib.compress(data)), (b'IEND', b''))
        return b'\x89PNG\r\n\x1a\n' + b''.join(png_chunk(*chunk) for chunk in chunks)

    data = interlaced(b''.join(rows))
    assert np.array_equal(images.decode(data, images.check(data, limits)), whole)
    assert _problem(interlaced(b''.join(rows[:-1])), limits)[0] == image_status.TRUNCATED


@pytest.mark.parametrize(
    ('limits', 'kind', 'message'),
    [
        (
            {'min_side': 200},
            image_status.TOO_SMALL,
            '160x160 pixels: expected at least 200 on each side (min_side)',
        ),
        (
            {'max_side': 100},
            image_status.TOO_LARGE,
            '160x160 pixels: expected at most 100 on each side (max_side)',
        ),
        (
            {'max_pixels': 20_000},
            image_status.TOO_LARGE,
            '160x160 pixels: expected at most 20,000 pixels in all (max_pixels)',
        ),
    ],
)
def test_limits_are_named(limits: dict, kind: str, message: str) -> None:
    actual, reason = _problem(encode(bad_images.PIXELS), images.ImageLimits(**limits))
    assert actual == kind
    assert message in reason


@pytest.mark.parametrize(
    ('data', 'message'),
    [
        pytest.param(
            bad_images.resized_header(
                bad_images.with_many_scans(encode(pixels(), progressive=True), 30), 8000, 8000
            )
            + bytes(200_000),
            '35 scans of 8000x8000 pixels: expected at most 671,088,640',
            id='many scans of a large image',
        ),
        pytest.param(
            bad_images.resized_header(encode(pixels(), mode='RGB', progressive=True), 8000, 8000)
            + bytes(200_000),
            'it takes 366 MiB to decode: expected at most 192',
            id='coefficients of a large progressive RGB JPEG',
        ),
        pytest.param(
            b'\x89PNG\r\n\x1a\n'
            + png_chunk(b'IHDR', struct.pack('>IIBBBBB', 8192, 8192, 16, 6, 0, 0, 0))
            + png_chunk(b'IDAT', bytes(600_000))
            + png_chunk(b'IEND', b''),
            'it takes 512 MiB to decode: expected at most 192',
            id='PNG RGBA of 16 bits, 8192x8192',
        ),
    ],
)
def test_expensive_images_are_refused_by_their_header(data: bytes, message: str) -> None:
    with pytest.raises(images.ImageError) as caught:
        images.check_readable(data)
    assert caught.value.kind == image_status.TOO_LARGE
    assert message in str(caught.value)


def test_a_small_file_that_inflates_beyond_its_rows_is_not_inflated_further(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A PNG of 160x160 pixels whose data would inflate to 100 MB."""
    image = bad_images.PIXELS
    rows = b''.join(b'\0' + row.tobytes() for row in image)
    data = (
        b'\x89PNG\r\n\x1a\n'
        + png_chunk(b'IHDR', struct.pack('>IIBBBBB', *image.shape, 8, 0, 0, 0, 0))
        + png_chunk(b'IDAT', zlib.compress(rows + bytes(100_000_000)))
        + png_chunk(b'IEND', b'')
    )
    sizes = []
    real = zlib.decompressobj

    class Inflater:
        def __init__(self) -> None:
            self._inner = real()

        def decompress(self, part: bytes, size: int) -> bytes:
            sizes.append(size)
            return self._inner.decompress(part, size)

        @property
        def unconsumed_tail(self) -> bytes:
            return self._inner.unconsumed_tail

    monkeypatch.setattr(zlib, 'decompressobj', Inflater)
    images.check(data)
    assert sizes == [len(rows), 1]


@pytest.mark.real_data
def test_real_images_pass(real_data: Path) -> None:
    files = sorted((real_data / 'nih' / 'data').glob('*.tfrec'))[:2]
    encoded_images = [
        examples.parse(item.payload).image
        for file in files
        for item in tfrecord.read(str(file))
        if isinstance(item, tfrecord.Record)
    ]
    encoded_images += [
        path.read_bytes() for path in sorted((real_data / 'pediatric' / 'NORMAL').iterdir())[:50]
    ]
    assert len(encoded_images) > 200
    for data in encoded_images:
        header = images.check_readable(data)
        assert images.blank(images.decode(data, header)) == ''
