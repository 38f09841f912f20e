"""Image headers: the same facts as Pillow reads, and a clear reason for each kind of damage."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from records import examples, tfrecord
from records.image_header import ImageHeader, ImageHeaderError, inspect
from tests.support.bad_images import turned, with_many_scans, without_last_scan
from tests.support.encoded_images import encode, jpeg_header, pixels, png_chunk, png_header

GREY = encode(pixels())
RGB = encode(pixels(), mode='RGB')
PROGRESSIVE = encode(pixels(), progressive=True)
PNG = encode(pixels(), 'PNG')
# APP1 with one entry in its first directory: tag 0x0112, type short, count 1, value 8.
EXIF_BIG_ENDIAN = (
    b'\xff\xe1\0\x24Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x08\0\0\0\0\0\0\0\0'
)


@pytest.mark.parametrize(
    ('data', 'expected'),
    [
        pytest.param(GREY, ImageHeader('JPEG', 90, 80, 1, 8, True, False), id='JPEG grey'),
        pytest.param(RGB, ImageHeader('JPEG', 90, 80, 3, 8, True, False), id='JPEG RGB'),
        pytest.param(
            encode(pixels(), mode='CMYK'),
            ImageHeader('JPEG', 90, 80, 4, 8, True, False),
            id='JPEG CMYK',
        ),
        pytest.param(
            PROGRESSIVE,
            ImageHeader('JPEG', 90, 80, 1, 8, True, True, scans=6),
            id='JPEG progressive',
        ),
        pytest.param(
            jpeg_header(600, 600, 0xC1, 12),
            ImageHeader('JPEG', 600, 600, 1, 12, True, False),
            id='JPEG of 12 bits',
        ),
        pytest.param(
            jpeg_header(20000, 20000),
            ImageHeader('JPEG', 20000, 20000, 1, 8, True, False),
            id='JPEG of 400 million pixels',
        ),
        pytest.param(
            encode(pixels()[:1, :1]),
            ImageHeader('JPEG', 1, 1, 1, 8, True, False),
            id='JPEG of one pixel',
        ),
        pytest.param(
            encode(pixels(), exif=b'Exif\0\0\xff\xd9' + b'x' * 60),
            ImageHeader('JPEG', 90, 80, 1, 8, True, False),
            id='JPEG with EXIF',
        ),
        pytest.param(
            GREY + b'\0' * 500,
            ImageHeader('JPEG', 90, 80, 1, 8, True, False),
            id='JPEG with padding behind it',
        ),
        pytest.param(
            GREY[:2] + b'\xff\xff\xff' + GREY[2:],
            ImageHeader('JPEG', 90, 80, 1, 8, True, False),
            id='JPEG with fill bytes',
        ),
        pytest.param(PNG, ImageHeader('PNG', 90, 80, 1, 8, True, False), id='PNG grey'),
        pytest.param(
            encode(pixels(), 'PNG', 'RGBA'),
            ImageHeader('PNG', 90, 80, 4, 8, True, False, alpha=True),
            id='PNG RGBA',
        ),
        pytest.param(
            encode(pixels(), 'PNG', 'LA'),
            ImageHeader('PNG', 90, 80, 2, 8, True, False, alpha=True),
            id='PNG with alpha',
        ),
        pytest.param(
            encode(pixels(), 'PNG', 'P'),
            ImageHeader('PNG', 90, 80, 3, 8, True, False, palette=True),
            id='PNG with palette',
        ),
        pytest.param(
            encode(pixels(), 'PNG', transparency=3),
            ImageHeader('PNG', 90, 80, 1, 8, True, False, alpha=True),
            id='PNG with a transparent level',
        ),
        pytest.param(
            turned(pixels(), 6),
            ImageHeader('JPEG', 90, 80, 1, 8, True, False, orientation=6),
            id='JPEG on its side',
        ),
        pytest.param(
            turned(pixels(), 3, 'PNG'),
            ImageHeader('PNG', 90, 80, 1, 8, True, False, orientation=3),
            id='PNG upside down',
        ),
        pytest.param(
            jpeg_header(90, 80).replace(b'\xff\xc0', EXIF_BIG_ENDIAN + b'\xff\xc0', 1),
            ImageHeader('JPEG', 90, 80, 1, 8, True, False, orientation=8),
            id='JPEG with a big-endian EXIF',
        ),
        pytest.param(
            with_many_scans(PROGRESSIVE, 30),
            ImageHeader('JPEG', 90, 80, 1, 8, True, True, scans=35),
            id='JPEG of 35 scans',
        ),
        pytest.param(
            with_many_scans(PROGRESSIVE, 9000),
            ImageHeader('JPEG', 90, 80, 1, 8, True, True, scans=65),
            id='JPEG of more scans than are counted',
        ),
        pytest.param(
            encode(pixels(), 'PNG', '1'),
            ImageHeader('PNG', 90, 80, 1, 1, True, False),
            id='PNG black and white',
        ),
        pytest.param(
            encode(pixels().astype('uint16') * 257, 'PNG'),
            ImageHeader('PNG', 90, 80, 1, 16, True, False),
            id='PNG of 16 bits',
        ),
        pytest.param(
            png_header(20000, 20000),
            ImageHeader('PNG', 20000, 20000, 1, 8, True, False),
            id='PNG of 400 million pixels',
        ),
        pytest.param(
            png_header(64, 64, interlace=1),
            ImageHeader('PNG', 64, 64, 1, 8, True, True),
            id='PNG interlaced',
        ),
    ],
)
def test_header(data: bytes, expected: ImageHeader) -> None:
    assert inspect(data) == expected


@pytest.mark.parametrize(
    'data',
    [
        pytest.param(GREY[:-2], id='JPEG without its end marker'),
        pytest.param(GREY[: len(GREY) * 2 // 3], id='JPEG cut in its scan'),
        pytest.param(
            encode(pixels(), exif=b'Exif\0\0\xff\xd9' + b'x' * 60)[:-2],
            id='JPEG cut, an end marker in its EXIF',
        ),
        pytest.param(without_last_scan(PROGRESSIVE), id='JPEG without its last scan'),
        pytest.param(PNG[:-12], id='PNG without IEND'),
        pytest.param(PNG[:-4], id='PNG cut in IEND'),
        pytest.param(PNG[: len(PNG) // 2], id='PNG cut in its pixels'),
        pytest.param(png_header(64, 64)[:33] + png_chunk(b'IEND', b''), id='PNG without pixels'),
    ],
)
def test_an_image_that_was_cut_off_is_not_complete(data: bytes) -> None:
    assert not inspect(data).complete


@pytest.mark.parametrize(
    ('data', 'message'),
    [
        pytest.param(b'', 'it is empty', id='empty'),
        pytest.param(b'GIF89a' + bytes(20), 'it is a GIF', id='GIF'),
        pytest.param(encode(pixels(), 'TIFF'), 'it is a TIFF', id='TIFF'),
        pytest.param(encode(pixels(), 'BMP'), 'it is a BMP', id='BMP'),
        pytest.param(bytes(128) + b'DICM' + bytes(9), 'it is a DICOM file', id='DICOM'),
        pytest.param(b'hello world', 'begins with the bytes 68 65 6c 6c 6f 20 77 6f', id='text'),
        pytest.param(b'\xff\xd8', 'not a JPEG', id='two bytes of a JPEG'),
        pytest.param(GREY[:100], 'damaged or cut off', id='JPEG cut in its header'),
        pytest.param(GREY[:20], 'cut off: the 20 bytes end before', id='JPEG cut between segments'),
        pytest.param(GREY[:2] + b'\xff\xd9', 'marker FFD9', id='JPEG of nothing'),
        pytest.param(
            GREY[:20] + b'x' + GREY[20:],
            'where a marker (0xff) was expected',
            id='JPEG with a foreign byte',
        ),
        pytest.param(jpeg_header(0, 600), '0x600 pixels', id='JPEG of no width'),
        pytest.param(jpeg_header(600, 0), '600x0 pixels', id='JPEG of no height'),
        pytest.param(jpeg_header(600, 600, 0xC3), 'a lossless JPEG', id='JPEG lossless'),
        pytest.param(jpeg_header(600, 600, 0xC9), 'a arithmetic-coded JPEG', id='JPEG arithmetic'),
        pytest.param(
            jpeg_header(600, 600, 0xE5), 'a scan but no frame header', id='JPEG without a frame'
        ),
        pytest.param(PNG[:20], 'PNG header is cut off', id='PNG cut in its header'),
        pytest.param(
            PNG[:18] + b'\x09' + PNG[19:],
            'matching checksum',
            id='PNG with a flipped byte in its header',
        ),
        pytest.param(png_header(0, 9), '0x9 pixels', id='PNG of no width'),
        pytest.param(png_header(9, 9, depth=3), 'bit depth 3', id='PNG of 3 bits'),
        pytest.param(
            png_header(9, 9, colour=5), 'colour type 5', id='PNG of an unknown colour type'
        ),
    ],
)
def test_an_unusable_header_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(ImageHeaderError) as caught:
        inspect(data)
    assert message in str(caught.value)


@settings(max_examples=500, deadline=None)
@given(image=st.sampled_from([GREY, RGB, PROGRESSIVE, PNG]), data=st.data())
def test_damage_of_any_kind_gives_a_header_or_a_reason(image: bytes, data: st.DataObject) -> None:
    damaged = bytearray(image)
    # Most flips in the header: that is what is read.
    damaged[data.draw(st.integers(0, 200) | st.integers(0, len(image) - 1))] ^= data.draw(
        st.integers(1, 255)
    )
    del damaged[data.draw(st.integers(0, 700) | st.integers(0, len(image))) :]
    try:
        header = inspect(bytes(damaged))
    except ImageHeaderError as error:
        assert str(error)
        return
    assert min(header.width, header.height) >= 1


@pytest.mark.real_data
def test_headers_of_real_images_agree_with_pillow(real_data: Path) -> None:
    files = sorted((real_data / 'nih' / 'data').glob('*.tfrec'))[:2]
    images = [
        examples.parse(item.payload).image
        for file in files
        for item in tfrecord.read(str(file))
        if isinstance(item, tfrecord.Record)
    ]
    images += [
        path.read_bytes() for path in sorted((real_data / 'pediatric' / 'NORMAL').iterdir())[:50]
    ]
    assert len(images) > 200
    for data in images:
        header = inspect(data)
        with Image.open(io.BytesIO(data)) as image:
            assert (header.format, (header.width, header.height), header.channels) == (
                image.format,
                image.size,
                len(image.getbands()),
            )
        assert header.complete
