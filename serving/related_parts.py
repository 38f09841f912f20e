"""The parts of a body of the type multipart/related, as DICOMweb uses it in both directions."""

from __future__ import annotations

import contextlib
import tempfile
import uuid
from typing import IO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

MEDIA_TYPE = b'multipart/related'
DICOM = b'application/dicom'
_IN_MEMORY = 1 << 20


class PartsError(ValueError):
    """The body has another form; the text says which."""


class TooManyPartsError(PartsError):
    """It has more parts than it may."""


def boundary(content_type: str) -> bytes | None:
    """What separates the parts, which are DICOM files; None if it is another type of body."""
    media_type, options = parse_options_header(content_type)
    is_dicom = options.get(b'type', DICOM) == DICOM
    return options.get(b'boundary') if media_type == MEDIA_TYPE and is_dicom else None


def body(content: bytes) -> tuple[bytes, str]:
    """A body with a DICOM file as its one part, and its Content-Type."""
    cut = uuid.uuid4().hex
    parts = (
        f'--{cut}\r\nContent-Type: application/dicom\r\n\r\n'.encode(),
        content,
        f'\r\n--{cut}--\r\n'.encode(),
    )
    return b''.join(parts), f'multipart/related; type="application/dicom"; boundary={cut}'


class Parts:
    """The parts, each in a file without a name until `open_files` closes.

    Args:
      boundary: what separates them.
      max_parts: how many there may be.
      open_files: of the caller.

    Raises:
      PartsError: the boundary cannot be one.
    """

    def __init__(self, boundary: bytes, max_parts: int, open_files: contextlib.ExitStack):
        self.files: list[IO[bytes]] = []
        self._max_parts, self._open_files = max_parts, open_files
        self._is_complete = False
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    'on_part_begin': self._begin,
                    'on_part_data': self._data,
                    'on_end': self._end,
                },
            )
        except FormParserError as error:
            raise PartsError(f'boundary: {error}') from None

    def write(self, chunk: bytes) -> None:
        """Takes the next bytes of the body.

        Raises:
          PartsError: they do not fit.
        """
        try:
            self._parser.write(chunk)
        except FormParserError:
            raise PartsError('the body has another form than multipart/related') from None

    def end(self) -> None:
        """Has to be called after the last bytes.

        Raises:
          PartsError: something is missing.
        """
        if not self._is_complete or not self.files:
            raise PartsError('the body has no parts, or ends within one')

    def _begin(self) -> None:
        if len(self.files) == self._max_parts:
            raise TooManyPartsError(f'more than {self._max_parts} objects')
        file = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 - the stack closes it
        self.files.append(self._open_files.enter_context(file))

    def _data(self, data: bytes, start: int, end: int) -> None:
        self.files[-1].write(data[start:end])

    def _end(self) -> None:
        self._is_complete = True


def only_part(content_type: str, content: bytes) -> bytes:
    """The DICOM file in a body with one part, or in one that is a DICOM file itself.

    Raises:
      PartsError: the body has another form, or several parts.
    """
    if parse_options_header(content_type)[0] == DICOM:
        return content
    cut = boundary(content_type)
    if cut is None:
        raise PartsError('the body has another type than multipart/related with DICOM files')
    with contextlib.ExitStack() as open_files:
        parts = Parts(cut, 1, open_files)
        parts.write(content)
        parts.end()
        parts.files[0].seek(0)
        return parts.files[0].read()
