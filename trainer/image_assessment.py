"""Decodes images in the served graph, and finds the status of each.

TensorFlow's decoders raise an error on damaged bytes. An error in a graph fails the whole batch,
also for other clients whose requests TF Serving has put into the same batch. Here each image is
decoded separately, and gets a status from `schemas.image_status`.
"""

from __future__ import annotations

import tensorflow as tf

from schemas import image_status as status
from trainer.graph_errors import with_fallback
from trainer.preprocessing import decode, resize

_JPEG_START, _JPEG_SCAN, _JPEG_END = b'\xff\xd8\xff', b'\xff\xda', b'\xff\xd9'
_PNG_START, _PNG_PIXELS, _PNG_END = b'\x89PNG\r\n\x1a\n', b'IDAT', b'IEND'
# Signature, chunk length and type, width, height, bit depth, colour type.
_PNG_HEADER = 26
_GREY, _RGB, _GREY_ALPHA, _RGBA = 0, 2, 4, 6
# Start-of-frame segments of 12-bit JPEGs with one and with three channels, up to the bit depth.
_TWELVE_BITS = (b'\xff\xc1\x00\x0b\x0c', b'\xff\xc1\x00\x11\x0c')
# The grey level that libjpeg fills in where data are missing.
_MISSING = 128
# See `_is_cut_off`. Arbitrary bytes other than 0xff, which begins a marker.
_FILLER = bytes((71 * index + 29) % 251 for index in range(512))

# Bytes: length, number of components, two for each of at most four components, and three more.
_SCAN_HEADER = 14
_LAST_COEFFICIENT = 63

_ORIENTATION = 0x0112
# Size of an entry of an EXIF directory in bytes, and the number of entries that are read.
_ENTRY, _MAX_ENTRIES = 12, 1000
_MAX_EXIF_BYTES = 65536


def assess(images: tf.Tensor, size: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Decodes images, and finds the status of each.

    Args:
      images: encoded images, string [batch].
      size: width and height of the result in pixels.

    Returns:
      Pixels, uint8 [batch, size, size, 1], 0..255, zeros for an image that is not `ok`; and the
      status of each image, string [batch].
    """
    specs = tf.TensorSpec([size, size, 1], tf.uint8), tf.TensorSpec([], tf.string)
    return tf.map_fn(lambda data: _assess_one(data, size), images, fn_output_signature=specs)


def _assess_one(data: tf.Tensor, size: int) -> tuple[tf.Tensor, tf.Tensor]:
    start = tf.strings.substr(data, 0, _PNG_HEADER)
    is_jpeg, is_png = _starts_with(start, _JPEG_START), _starts_with(start, _PNG_START)
    # Zeros pad a header that ends early: outside of `with_fallback`, no operation may fail.
    padded = tf.strings.join([start, b'\0' * _PNG_HEADER])
    header = tf.cast(tf.io.decode_raw(padded, tf.uint8), tf.int64)
    unsupported = tf.cond(
        is_jpeg, lambda: _is_unsupported_jpeg(data), lambda: _is_unsupported_png(data, header)
    )

    def decode_if_supported(encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        shape = tf.cond(
            is_jpeg,
            lambda: tf.cast(tf.io.extract_jpeg_shape(encoded), tf.int64),
            lambda: _png_shape(header),
        )
        is_supported = (
            (is_jpeg | is_png) & ~unsupported & tf.equal(_status_of_shape(shape), status.OK)
        )
        return tf.cond(is_supported, lambda: decode(encoded), _no_pixels), shape

    pixels, shape = with_fallback(
        decode_if_supported, data, lambda: (_no_pixels(), tf.zeros([3], tf.int64))
    )

    def judge_pixels() -> tuple[tf.Tensor, tf.Tensor]:
        problem = tf.cond(
            is_jpeg, lambda: _status_of_jpeg(data, pixels), lambda: _status_of_png(data, header)
        )
        return resize(pixels, size), _first_true(
            (tf.not_equal(problem, status.OK), problem),
            (_is_blank(pixels), status.BLANK),
        )

    def judge_header() -> tuple[tf.Tensor, tf.Tensor]:
        failed = tf.equal(shape[0], 0) | ~(is_jpeg | is_png)
        header_status = _first_true(
            (unsupported, status.UNSUPPORTED), (True, _status_of_shape(shape))
        )
        return tf.zeros([size, size, 1], tf.uint8), tf.cond(
            failed, lambda: _why_undecodable(data), lambda: header_status
        )

    return tf.cond(tf.size(pixels) > 0, judge_pixels, judge_header)


def _no_pixels() -> tf.Tensor:
    return tf.zeros([0, 0], tf.uint8)


def _is_unsupported_jpeg(data: tf.Tensor) -> tf.Tensor:
    # Before decoding: each scan costs a pass over all pixels.
    return (_count(data, _JPEG_SCAN) > status.MAX_SCANS) | _is_rotated(data, b'Exif\x00\x00')


def _is_unsupported_png(data: tf.Tensor, header: tf.Tensor) -> tf.Tensor:
    is_supported_colour = tf.reduce_any(tf.equal(header[25], [_GREY, _RGB, _GREY_ALPHA, _RGBA]))
    is_transparent = _count(_pieces(data, _PNG_PIXELS, 1)[0], b'tRNS') > 0
    return (
        tf.not_equal(header[24], 8)
        | ~is_supported_colour
        | is_transparent
        | _is_rotated(data, b'eXIf')
    )


def _png_shape(header: tf.Tensor) -> tf.Tensor:
    """Height, width, and 1 channel; `_is_unsupported_png` checks the channels."""
    sides = tf.reduce_sum(tf.reshape(header[16:24], [2, 4]) * [256**3, 256**2, 256, 1], axis=1)
    return tf.stack([sides[1], sides[0], 1])


def _status_of_shape(shape: tf.Tensor) -> tf.Tensor:
    """The status that height, width and channels, int64 [3], give an image."""
    height, width, channels = tf.unstack(shape)
    return _first_true(
        (~tf.reduce_any(tf.equal(channels, [1, 3])), status.UNSUPPORTED),
        (height * width > status.MAX_PIXELS, status.TOO_LARGE),
        (tf.minimum(height, width) < status.MIN_SIDE, status.TOO_SMALL),
    )


def _status_of_jpeg(data: tf.Tensor, pixels: tf.Tensor) -> tf.Tensor:
    # The last pixels of a baseline JPEG that was cut off are missing. A progressive one has all
    # pixels, but less detail. The check decodes the image twice more, so only suspicious ones are
    # checked.
    scans = _pieces(data, _JPEG_SCAN)[1:]
    suspicious = tf.equal(pixels[-1, -1], _MISSING) | (tf.size(scans) > 1)
    cut_off = tf.cond(
        suspicious, lambda: _lacks_scans(scans) | _is_cut_off(data), lambda: tf.constant(False)
    )
    return _first_true((cut_off, status.TRUNCATED))


def _lacks_scans(scans: tf.Tensor) -> tf.Tensor:
    """Whether the scans of a JPEG lack the last bit of the grey levels (T.81, G.1.1).

    Each of `scans` begins after its marker.
    """
    padded = tf.strings.join([tf.strings.substr(scans, 0, _SCAN_HEADER), b'\0' * _SCAN_HEADER])
    header = tf.cast(
        tf.io.decode_raw(tf.strings.substr(padded, 0, _SCAN_HEADER), tf.uint8), tf.int32
    )
    # After the components: first and last coefficient, and in the low half of a byte the number of
    # bits that later scans add.
    start = 3 + 2 * tf.minimum(header[:, 2], 4)
    first, last, bits = (tf.gather(header, start + offset, batch_dims=1) for offset in range(3))
    is_final, is_grey = tf.equal(bits % 16, 0), tf.equal(header[:, 3], header[0, 3])
    has_means = tf.reduce_any(is_final & tf.equal(first, 0))
    has_details = tf.reduce_any(is_final & is_grey & tf.equal(last, _LAST_COEFFICIENT))
    return ~(has_means & has_details)


def _is_cut_off(data: tf.Tensor) -> tf.Tensor:
    """Whether a JPEG that can be decoded lacks data although it has an end marker.

    libjpeg only warns of that, and TensorFlow does not pass its warnings on. But a decoder that has
    all data skips the bytes before the end marker, and a decoder that lacks data reads them. So an
    image is complete exactly if bytes inserted before the end marker change no pixel. (For a
    complete image, libjpeg writes "Corrupt JPEG data: 512 extraneous bytes" to stderr. These are
    the inserted bytes.)
    """
    tail = tf.strings.length(_pieces(data, _JPEG_END)[-1]) + len(_JPEG_END)
    position = tf.strings.length(data) - tail
    filled = tf.strings.join(
        [tf.strings.substr(data, 0, position), _FILLER, tf.strings.substr(data, position, tail)]
    )
    # In colour: a progressive JPEG may lack only colours.
    original = tf.io.decode_jpeg(data)
    decoded_again = with_fallback(tf.io.decode_jpeg, filled, lambda: tf.zeros_like(original[:0]))
    same_shape = tf.reduce_all(tf.equal(tf.shape(decoded_again), tf.shape(original)))
    return tf.cond(
        same_shape,
        lambda: tf.reduce_any(tf.not_equal(decoded_again, original)),
        lambda: tf.constant(True),
    )


def _status_of_png(data: tf.Tensor, header: tf.Tensor) -> tf.Tensor:
    def is_transparent() -> tf.Tensor:
        return tf.reduce_any(tf.not_equal(tf.io.decode_png(data, channels=4)[:, :, 3], 255))

    has_alpha = tf.reduce_any(tf.equal(header[25], [_GREY_ALPHA, _RGBA]))
    return _first_true(
        (tf.cond(has_alpha, is_transparent, lambda: tf.constant(False)), status.UNSUPPORTED)
    )


def _is_blank(pixels: tf.Tensor) -> tf.Tensor:
    darkest, brightest = (
        tf.cast(tf.reduce_min(pixels), tf.int32),
        tf.cast(tf.reduce_max(pixels), tf.int32),
    )
    return brightest - darkest < status.BLANK_RANGE


def _why_undecodable(data: tf.Tensor) -> tf.Tensor:
    is_jpeg, is_png = _starts_with(data, _JPEG_START), _starts_with(data, _PNG_START)
    twelve_bits = tf.reduce_any([_count(data, segment) > 0 for segment in _TWELVE_BITS])
    without_end = (is_jpeg & tf.equal(_count(data, _JPEG_END), 0)) | (
        is_png & tf.equal(_count(data, _PNG_END), 0)
    )
    return _first_true(
        (is_jpeg & twelve_bits, status.UNSUPPORTED),
        (without_end, status.TRUNCATED),
        (True, status.UNDECODABLE),
    )


def _is_rotated(data: tf.Tensor, prefix: bytes) -> tf.Tensor:
    """Whether an EXIF block, which follows the bytes `prefix`, rotates or mirrors the image."""
    pieces = _pieces(data, prefix, 1)
    return tf.cond(
        tf.size(pieces) > 1, lambda: _orientation(pieces[1]) > 1, lambda: tf.constant(False)
    )


def _orientation(exif: tf.Tensor) -> tf.Tensor:
    """The orientation in an EXIF block, from 1 (upright) to 8; 0 if it is missing or invalid."""
    block = tf.io.decode_raw(tf.strings.substr(exif, 0, _MAX_EXIF_BYTES), tf.uint8)
    # Zeros pad a block that ends early, as they pad the header.
    block = tf.concat([tf.cast(block, tf.int32), tf.zeros([2 * _MAX_EXIF_BYTES], tf.int32)], 0)
    little_endian = tf.equal(block[0], ord('I'))

    def number(parts: tf.Tensor) -> tf.Tensor:
        """Converts two bytes, int32 [..., 2], to a number, int32 [...]."""
        first, second = parts[..., 0], parts[..., 1]
        return tf.where(little_endian, first + 256 * second, 256 * first + second)

    directory = 2 + tf.where(little_endian, number(block[4:6]), number(block[6:8]))
    length = tf.minimum(number(block[directory - 2 : directory]), _MAX_ENTRIES) * _ENTRY
    entries = tf.reshape(block[directory : directory + length], [-1, _ENTRY])
    is_orientation = tf.equal(number(entries[:, :2]), _ORIENTATION)
    value = tf.reduce_max(tf.where(is_orientation, number(entries[:, 8:10]), 0))
    return tf.where((value > 0) & (value <= 8), value, 0)


def _first_true(*cases: tuple[tf.Tensor | bool, tf.Tensor | str]) -> tf.Tensor:
    """The status of the first case whose condition is true, `ok` if there is no such case."""
    result = tf.constant(status.OK)
    for condition, name in reversed(cases):
        result = tf.where(condition, name, result)
    return result


def _starts_with(data: tf.Tensor, start: bytes) -> tf.Tensor:
    return tf.equal(tf.strings.substr(data, 0, len(start)), start)


def _pieces(data: tf.Tensor, separator: bytes, splits: int = -1) -> tf.Tensor:
    """Splits `data` at each `separator`, or only at the first `splits` of them: string [parts]."""
    return tf.raw_ops.StringSplitV2(input=[data], sep=separator, maxsplit=splits).values


def _count(data: tf.Tensor, separator: bytes) -> tf.Tensor:
    return tf.size(_pieces(data, separator)) - 1
