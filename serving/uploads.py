"""Checks an uploaded file before anything is decoded, and turns it into what the model reads."""

from __future__ import annotations

from dataclasses import dataclass

from schemas import image_status
from serving.image_formats import dicom, jpeg, png
from serving.image_formats.error import UploadError

PNG, JPEG, DICOM = 'png', 'jpeg', 'dicom'
MEDIA_TYPES = {PNG: 'image/png', JPEG: 'image/jpeg', DICOM: 'application/dicom'}
_FORMATS = {PNG: png, JPEG: jpeg, DICOM: dicom}


@dataclass(frozen=True)
class Upload:
    """An accepted file: its kind, its size in pixels, and what a person should know, sentences."""

    kind: str
    width: int
    height: int
    notes: tuple[str, ...] = ()


def check(content: bytes, max_pixels: int = image_status.MAX_PIXELS) -> Upload:
    """Checks a file by its header alone.

    Args:
      content: the whole file.
      max_pixels: the most pixels that are accepted.

    Raises:
      UploadError: it is not a PNG, JPEG or DICOM image, or has too many pixels.
    """
    kind = kind_of(content)
    notes: tuple[str, ...] = ()
    if kind == DICOM:
        (width, height), notes = dicom.describe(content)
    else:
        width, height = (png if kind == PNG else jpeg).size(content)
    if width <= 0 or height <= 0:
        raise UploadError(f'the image has {width} x {height} pixels')
    if width * height > max_pixels:
        raise UploadError(
            f'the image has {width:,} x {height:,} pixels, more than the limit of {max_pixels:,}'
        )
    return Upload(kind, width, height, notes)


def kind_of(content: bytes) -> str:
    """PNG, JPEG or DICOM, by the first bytes of a file.

    Raises:
      UploadError: it is none of them.
    """
    if content.startswith(png.MAGIC):
        return PNG
    if content.startswith(jpeg.MAGIC):
        return JPEG
    if content.startswith(dicom.MAGIC, dicom.PREAMBLE):
        return DICOM
    if not content:
        raise UploadError('the file is empty')
    raise UploadError('the file is not a PNG, JPEG or DICOM image')


def without_metadata(content: bytes, kind: str) -> bytes:
    """A file that `check` accepted, without what may contain names and dates.

    A DICOM file keeps `records.dicom.deidentify.TAGS`; a PNG or JPEG loses texts, profiles,
    previews and whatever follows its end.

    Raises:
      UploadError: the file cannot be taken apart.
    """
    return _FORMATS[kind].without_metadata(content)


def to_model_input(content: bytes, kind: str) -> bytes:
    """A PNG or JPEG as the model reads it; a DICOM image becomes an 8-bit PNG.

    Raises:
      UploadError: the pixels of a DICOM image cannot be read.
    """
    return png.encode(dicom.render(content).pixels) if kind == DICOM else content
