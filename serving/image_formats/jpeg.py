"""JPEG files."""

from __future__ import annotations

import io
import re
import warnings

from PIL import Image

from serving.image_formats.error import UploadError

MAGIC = b'\xff\xd8\xff'
_END, _COMMENT = 0xD9, 0xFE
_APPLICATION = range(0xE0, 0xF0)
# Of these, what a decoder needs: JFIF, and Adobe's transform of colours.
_DECODING = (b'JFIF\0', b'Adobe')
_MARKER = re.compile(rb'\xff[^\x00\xd0-\xd7\xff]')


def size(content: bytes) -> tuple[int, int]:
    """Width and height by the header.

    Raises:
      UploadError: it has none.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            # Opening reads the header alone.
            with Image.open(io.BytesIO(content), formats=['JPEG']) as image:
                return image.size
    except Image.DecompressionBombError:
        raise UploadError('the JPEG has too many pixels') from None
    except Exception:  # noqa: BLE001 - what a damaged header makes a library raise
        raise UploadError('the header of the JPEG cannot be read') from None


def without_metadata(content: bytes) -> bytes:
    """The file without texts, profiles and previews, and without what follows its end."""
    parts, position = [content[:2]], 2
    while match := _MARKER.search(content, position):
        start, marker = match.start(), content[match.start() + 1]
        # The scan before it.
        parts.append(content[position:start])
        if marker == _END:
            parts.append(content[start : start + 2])
            return b''.join(parts)
        end = start + 2 + max(int.from_bytes(content[start + 2 : start + 4], 'big'), 2)
        if not _is_metadata(marker, content[start + 4 : start + 9]):
            parts.append(content[start:end])
        position = end
    # Without an end: a damaged file, which the model is to see as such.
    parts.append(content[position:])
    return b''.join(parts)


def _is_metadata(marker: int, name: bytes) -> bool:
    return marker == _COMMENT or (marker in _APPLICATION and not name.startswith(_DECODING))
