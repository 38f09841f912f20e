"""Uploaded files: what is accepted, what is stored of them, and what the model reads."""

from __future__ import annotations

import io
import struct
import time
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image, PngImagePlugin

from records.dicom import deidentify
from serving import uploads
from serving.gateway.settings import Limits
from serving.image_formats import dicom
from serving.uploads import DICOM, JPEG, PNG, Upload, UploadError
from tests.support import gateways

ROOT = Path(__file__).resolve().parents[2]
_PIXELS = gateways.pixels()
_SECRET = 'Zzyzx'


def _header(width: int, height: int) -> bytes:
    """A PNG that ends after its header."""
    chunk = b'IHDR' + struct.pack('>IIBBBBB', width, height, 8, 0, 0, 0, 0)
    return (
        b'\x89PNG\r\n\x1a\n' + struct.pack('>I', 13) + chunk + struct.pack('>I', zlib.crc32(chunk))
    )


def _jpeg(**options) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(_PIXELS).save(stream, 'JPEG', **options)
    return stream.getvalue()


def _decoded(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image)


def _rendered(content: bytes) -> np.ndarray:
    return dicom.render(content).pixels


@pytest.mark.parametrize(
    ('content', 'kind'),
    [
        (gateways.png(_PIXELS), PNG),
        (gateways.jpeg(), JPEG),
        (_jpeg(progressive=True), JPEG),
        (gateways.dicom(_PIXELS), DICOM),
    ],
    ids=['png', 'jpeg', 'progressive', 'dicom'],
)
def test_images_are_accepted(content: bytes, kind: str) -> None:
    assert uploads.check(content) == Upload(kind, gateways.SIDE, gateways.SIDE)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'', 'empty'),
        (b'GIF89a' + bytes(100), 'not a PNG, JPEG or DICOM image'),
        (b'\x89PNG\r\n\x1a\n', 'no header'),
        (_header(20_000, 20_000), '20,000 x 20,000 pixels, more than the limit'),
        (_header(0, 5), '0 x 5 pixels'),
        (b'\xff\xd8\xff' + bytes(50), 'header of the JPEG cannot be read'),
        (bytes(128) + b'DICM' + b'\xff' * 50, 'TransferSyntaxUID'),
        (bytes(128) + b'DICM', 'TransferSyntaxUID'),
        (gateways.dicom(_PIXELS, Modality='CT'), 'Modality .* is CT'),
        (gateways.dicom(_PIXELS, ViewPosition='LL'), 'ViewPosition .* is LL'),
        (gateways.dicom(_PIXELS, NumberOfFrames=2), 'NumberOfFrames'),
        (gateways.dicom(_PIXELS, PhotometricInterpretation='RGB'), 'PhotometricInterpretation'),
        (gateways.dicom(_PIXELS, Rows=20_000, Columns=20_000), 'more than the limit'),
    ],
    ids=[
        'empty', 'gif', 'png without header', 'too many pixels', 'no pixels', 'damaged jpeg',
        'damaged dicom', 'empty dicom', 'ct', 'lateral', 'frames', 'rgb', 'dicom too large',
    ],
)  # fmt: skip
def test_other_files_are_refused(content: bytes, message: str) -> None:
    with pytest.raises(UploadError, match=message):
        uploads.check(content)


def test_a_dicom_without_pixels_is_refused() -> None:
    dataset = pydicom.dcmread(io.BytesIO(gateways.dicom(_PIXELS)))
    del dataset.PixelData
    stream = io.BytesIO()
    dataset.save_as(stream)
    with pytest.raises(UploadError, match='PixelData'):
        uploads.check(stream.getvalue())


def test_a_deflated_dicom_is_inflated_within_bounds() -> None:
    dataset = pydicom.dcmread(io.BytesIO(gateways.dicom(_PIXELS)))
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    stream = io.BytesIO()
    dataset.save_as(stream)
    content = stream.getvalue()
    assert uploads.check(content) == Upload(DICOM, gateways.SIDE, gateways.SIDE)
    np.testing.assert_array_equal(_rendered(content), _PIXELS)
    # 300 megabytes of zeros.
    start = content.index(dataset.file_meta.TransferSyntaxUID.encode()) + 22
    compressor = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    zeros = compressor.compress(bytes(1 << 20))
    bomb = (
        content[:start] + zeros + b''.join(compressor.compress(bytes(1 << 20)) for _ in range(300))
    )
    tracemalloc.start()
    with pytest.raises(UploadError):
        uploads.check(bomb)
    assert tracemalloc.get_traced_memory()[1] < 50 << 20
    tracemalloc.stop()


def test_a_header_of_many_elements_is_refused_soon() -> None:
    dataset = pydicom.dcmread(io.BytesIO(gateways.dicom(_PIXELS)))
    for number in range(0x1000, 0x1100):
        dataset.add_new((0x0009, number), 'LO', 'x' * 60)
    element = struct.pack('<HH2sH', 0x0011, 0x1001, b'LO', 0)
    stream = io.BytesIO()
    dataset.save_as(stream)
    head, _, tail = stream.getvalue().partition(struct.pack('<HH', 0x0018, 0x5101))
    content = head + element * 3_000_000 + struct.pack('<HH', 0x0018, 0x5101) + tail
    started = time.process_time()
    with pytest.raises(UploadError, match='header'):
        uploads.check(content)
    assert time.process_time() - started < 3


def test_an_unknown_compression_is_refused() -> None:
    dataset = pydicom.dcmread(io.BytesIO(gateways.dicom(_PIXELS)))
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.MPEG2MPML
    dataset.PixelData = pydicom.encaps.encapsulate([b'frame'])
    dataset['PixelData'].VR = 'OB'
    stream = io.BytesIO()
    dataset.save_as(stream)
    with pytest.raises(UploadError, match=r'TransferSyntaxUID.*cannot be decoded'):
        uploads.check(stream.getvalue())


def test_compressed_pixels_of_another_size_than_the_header_are_refused() -> None:
    assert np.abs(_rendered(_compressed(_PIXELS)).astype(int) - _PIXELS).mean() < 3
    large = np.zeros((3000, 3000), np.uint8)
    with pytest.raises(UploadError, match='another size'):
        _rendered(_compressed(large, Rows=256, Columns=256))


def _compressed(image: np.ndarray, **tags) -> bytes:
    """A DICOM file with JPEG Baseline."""
    frame = io.BytesIO()
    Image.fromarray(image).save(frame, 'JPEG', quality=95)
    dataset = pydicom.dcmread(io.BytesIO(gateways.dicom(image, **tags)))
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.JPEGBaseline8Bit
    dataset.PixelData = pydicom.encaps.encapsulate([frame.getvalue()])
    dataset['PixelData'].VR = 'OB'
    stream = io.BytesIO()
    dataset.save_as(stream)
    return stream.getvalue()


def test_only_the_listed_tags_of_a_dicom_are_stored() -> None:
    content = gateways.dicom(_PIXELS, WindowCenter=120, WindowWidth=200)
    stored = uploads.without_metadata(content, DICOM)
    for value in gateways.PATIENT.values():
        assert value.encode() in content
        assert value.encode() not in stored
    dataset = pydicom.dcmread(io.BytesIO(stored))
    keywords = {element.keyword for element in dataset}
    assert {'Rows', 'WindowCenter', 'PixelData'} <= keywords <= set(deidentify.TAGS)
    assert uploads.check(stored) == uploads.check(content)
    np.testing.assert_array_equal(_rendered(stored), _rendered(content))


def test_the_stored_tags_and_the_limits_are_documented() -> None:
    text = ' '.join((ROOT / 'docs/serving.md').read_text(encoding='utf-8').split())
    listed = text.partition('only these attributes are stored: ')[2].partition('.')[0]
    assert listed == ', '.join(f'`{tag}`' for tag in deidentify.TAGS)
    limits = Limits()
    mib = 1 << 20
    assert (
        f'at most {limits.max_file_bytes // mib} MiB and {limits.max_pixels:,} pixels' in text
        and f'at most {limits.max_files} files and {limits.max_body_bytes // mib} MiB' in text
        and f'within {limits.request_s:.0f} s' in text
        and f'{limits.requests_per_minute:,} requests a minute' in text
    )


def test_a_lookup_table_is_stored_without_what_is_beside_it() -> None:
    table = pydicom.Dataset()
    table.LUTDescriptor, table.LUTData = (
        [256, 0, 16],
        (np.arange(256) * 257).astype('<u2').tobytes(),
    )
    table.LUTExplanation = _SECRET
    content = gateways.dicom(_PIXELS, VOILUTSequence=[table])
    stored = uploads.without_metadata(content, DICOM)
    assert _SECRET.encode() in content and _SECRET.encode() not in stored
    np.testing.assert_array_equal(_rendered(stored), _PIXELS)


def test_a_png_is_stored_without_texts() -> None:
    texts = PngImagePlugin.PngInfo()
    texts.add_text('Patient', _SECRET)
    texts.add_itxt('Comment', _SECRET, zip=False)
    content = gateways.png(_PIXELS, pnginfo=texts) + _SECRET.encode()
    stored = uploads.without_metadata(content, PNG)
    assert content.count(_SECRET.encode()) == 3 and _SECRET.encode() not in stored
    np.testing.assert_array_equal(_decoded(stored), _PIXELS)


@pytest.mark.parametrize('progressive', [False, True])
def test_a_jpeg_is_stored_without_exif_and_comments(progressive: bool) -> None:
    exif = Image.Exif()
    exif[0x010E] = _SECRET
    content = _jpeg(exif=exif, comment=_SECRET, progressive=progressive) + _SECRET.encode()
    stored = uploads.without_metadata(content, JPEG)
    assert content.count(_SECRET.encode()) == 3 and _SECRET.encode() not in stored
    np.testing.assert_array_equal(_decoded(stored), _decoded(content))


@pytest.mark.parametrize('content', [gateways.png(_PIXELS), gateways.jpeg()], ids=[PNG, JPEG])
def test_a_damaged_image_stays_what_it_is(content: bytes) -> None:
    cut = content[: len(content) // 2]
    assert uploads.without_metadata(cut, uploads.check(cut).kind) == cut


def test_every_pixel_of_an_8_bit_dicom_is_kept() -> None:
    low_contrast = (_PIXELS // 2 + 40).astype(np.uint8)
    np.testing.assert_array_equal(_rendered(gateways.dicom(low_contrast)), low_contrast)


def test_monochrome1_is_inverted() -> None:
    content = gateways.dicom(_PIXELS, PhotometricInterpretation='MONOCHROME1')
    np.testing.assert_array_equal(_rendered(content), 255 - _PIXELS)


def test_12_bits_without_a_window_span_all_levels() -> None:
    twelve = _PIXELS.astype(np.uint16) * 8 + 500
    shown = _rendered(gateways.dicom(twelve, BitsStored=12, HighBit=11))
    spread = (_PIXELS - _PIXELS.min()) / np.ptp(_PIXELS) * 255
    np.testing.assert_allclose(shown, spread, atol=0.51)


def test_the_window_of_the_file_is_used_unless_another_is_given() -> None:
    values = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    content = gateways.dicom(
        values,
        BitsStored=12,
        HighBit=11,
        WindowCenter=[2048, 1],
        WindowWidth=[1001, 1],
        RescaleSlope=1,
        RescaleIntercept=-1000,
    )
    modality = values.astype(float) - 1000
    shown = dicom.render(content)
    expected = np.clip((modality - 2047.5) / 1000 + 0.5, 0, 1) * 255
    np.testing.assert_allclose(shown.pixels, expected, atol=0.51)
    assert (shown.black, shown.white) == (1547.5, 2547.5)
    other = dicom.render(content, center=0, width=2000)
    np.testing.assert_allclose(other.pixels, np.clip(modality / 2000 + 0.5, 0, 1) * 255, atol=0.51)
    assert (other.black, other.white) == (-1000, 1000)
    assert (other.lowest, other.highest) == (shown.lowest, shown.highest) == (-1000, 3095)


@pytest.mark.parametrize(
    ('tags', 'ends'),
    [
        ({'PhotometricInterpretation': 'MONOCHROME1'}, (1700, 100)),
        ({'WindowCenter': 900, 'WindowWidth': 200, 'VOILUTFunction': 'SIGMOID'}, (800, 1000)),
        ({'WindowCenter': 900, 'WindowWidth': 200, 'VOILUTFunction': 'LINEAR_EXACT'}, (800, 1000)),
    ],
    ids=['dark high values', 'curve', 'exact'],
)
def test_the_values_of_black_and_white_are_known(tags: dict, ends: tuple[float, float]) -> None:
    values = np.linspace(100, 1700, _PIXELS.size).astype(np.uint16).reshape(_PIXELS.shape)
    shown = dicom.render(gateways.dicom(values, BitsStored=12, HighBit=11, **tags))
    assert (shown.black, shown.white) == ends
    assert (shown.lowest, shown.highest) == (100, 1700)


@pytest.mark.parametrize('width', [0, 1e-30])
def test_a_window_without_width_is_a_threshold(width: float) -> None:
    shown = _rendered(gateways.dicom(_PIXELS, WindowCenter=100, WindowWidth=width))
    assert set(np.unique(shown)) <= {0, 255}


def test_damaged_pixels_are_an_upload_error() -> None:
    content = gateways.dicom(_PIXELS)
    with pytest.raises(UploadError, match='cannot be read'):
        uploads.to_model_input(content[:-5000], DICOM)


def test_no_message_quotes_the_header() -> None:
    content = bytearray(gateways.dicom(_PIXELS))
    name = gateways.PATIENT['PatientName'].encode()
    messages = []
    for position in range(128, 900, 7):
        for value in (0, 0xFF):
            damaged = bytearray(content)
            damaged[position] = value
            try:
                kind = uploads.check(bytes(damaged)).kind
                uploads.to_model_input(uploads.without_metadata(bytes(damaged), kind), kind)
            except UploadError as error:
                messages.append(str(error))
    assert name in content and messages
    assert not any(value in text for text in messages for value in gateways.PATIENT.values())


@pytest.mark.parametrize(
    ('elements', 'message'),
    [
        (struct.pack('<HH2sHH', 0x0041, 0x1010, b'SH', 2, 0x2020) * 20_000, '5,000 elements'),
        (
            struct.pack('<HH2sHI', 0x0040, 0x0275, b'SQ', 0, 0xFFFFFFFF)
            + struct.pack('<HHI', 0xFFFE, 0xE000, 0) * 20_000,
            'too many items',
        ),
    ],
    ids=['elements', 'items of a sequence'],
)
def test_a_dicom_header_with_thousands_of_parts_is_refused(elements: bytes, message: str) -> None:
    content = gateways.dicom(_PIXELS)
    start = content.index(struct.pack('<HH', 0x7FE0, 0x0010))
    with pytest.raises(UploadError, match=message):
        uploads.check(content[:start] + elements + content[start:])
