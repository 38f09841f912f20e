"""Accepts a DICOM object: checks it, stores it, and adds it to its study."""

from __future__ import annotations

import contextlib
import errno
import logging
import threading
from collections.abc import Callable

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from serving import studies, uploads
from serving.database import connection
from serving.image_files import ImageFiles
from serving.pacs import accession, joining, origin

_log = logging.getLogger(__name__)
# Status codes of C-STORE and STOW-RS; see DICOM PS3.4, B.2.3 and PS3.18, I.2.2.
SUCCESS, OUT_OF_RESOURCES, CANNOT_UNDERSTAND, OTHER_CLASS = 0x0000, 0xA700, 0xC000, 0xA900
PROCESSING_FAILURE = 0x0110
# What the system says when there is no room for a file, also a limit of its size.
_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG})
_DISK_FULL = 'the disk is full'
# Each holds its files in memory while it checks and stores them.
_AT_ONCE = 4


class RefusedError(Exception):
    """An object that is not accepted.

    Attributes:
      status: a status code of C-STORE.
      identity: of the object; None if it cannot be read.
    """

    def __init__(self, status: int, text: str, identity: origin.Identity | None = None):
        super().__init__(text)
        self.status, self.identity = status, identity


class Intake:
    """Where all DICOM objects arrive.

    Args:
      sessions: of the gateway's database.
      files: of the images.
      origins: of what is kept of their headers; None keeps nothing.
      max_bytes, max_pixels: of an object.
      when_accepted: called after each that is new.
      site: of objects whose sender has none.
      accession_key: see `serving.pacs.accession`.
    """

    def __init__(
        self,
        sessions: sessionmaker[Session],
        files: ImageFiles,
        origins: ImageFiles | None,
        max_bytes: int,
        max_pixels: int,
        when_accepted: Callable[[], None],
        site: str = '',
        accession_key: bytes = b'',
    ):
        self._sessions, self._files, self._origins = sessions, files, origins
        self.max_bytes, self._max_pixels = max_bytes, max_pixels
        self._when_accepted, self._site = when_accepted, site
        self._accession_key = accession_key
        self._room = threading.BoundedSemaphore(_AT_ONCE)

    def accept(
        self, content: bytes, actor: str, study: str | None = None, site: str = ''
    ) -> origin.Identity:
        """Accepts an object; when this returns, it is on the disk with its study.

        An object that was accepted before is not stored again.

        Args:
          content: the DICOM file.
          actor: who sends it, for the audit log.
          study: the Study Instance UID that it has to have; None for any.
          site: of the sender; '' if it has none. A study keeps that of its first object.

        Raises:
          RefusedError: it is not accepted; then nothing is stored.
        """
        if len(content) > self.max_bytes:
            raise RefusedError(OUT_OF_RESOURCES, f'more than {self.max_bytes:,} bytes')
        with self._room:
            identity = None
            try:
                if uploads.kind_of(content) != uploads.DICOM:
                    raise uploads.UploadError('the file is not a DICOM file')
                identity = origin.identity(content)
                if study is not None and identity.study != study:
                    raise RefusedError(OTHER_CLASS, 'the object is of another study', identity)
                self._accept(content, identity, actor, site or self._site)
                return identity
            except uploads.UploadError as error:
                raise RefusedError(CANNOT_UNDERSTAND, str(error), identity) from None
            except SQLAlchemyError as error:
                _log.error('%s: database: %s', actor, connection.reason(error))
                text = _DISK_FULL if connection.is_full(error) else 'the database does not answer'
                raise RefusedError(OUT_OF_RESOURCES, text, identity) from None
            except OSError as error:
                _log.error('%s: %s', actor, error.strerror)
                is_full = error.errno in _NO_SPACE
                text = _DISK_FULL if is_full else 'the file cannot be stored'
                raise RefusedError(OUT_OF_RESOURCES, text, identity) from None

    def known(self, instances: set[str]) -> set[str]:
        """Those of some SOP Instance UIDs whose images are stored."""
        return joining.known(self._sessions, instances)

    def accepted(self, study: str, instances: set[str]) -> set[str]:
        """Those of some SOP Instance UIDs of a study that were accepted before."""
        return joining.accepted(self._sessions, study, instances)

    def _accept(self, content: bytes, identity: origin.Identity, actor: str, site: str) -> None:
        checked = uploads.check(content, self._max_pixels)
        stored = uploads.without_metadata(content, checked.kind)
        kept = origin.extract(content) if self._origins else b''
        if joining.is_known(self._sessions, identity):
            return
        image = studies.NewImage(studies.new_id(), checked, studies.sha256(content), len(content))
        try:
            self._files.write(image.id, stored)
            if self._origins:
                self._origins.write(image.id, kept)
        except OSError:
            self._remove(image.id)
            raise
        try:
            number = accession.keyed(self._accession_key, identity.accession)
            is_new = joining.join(self._sessions, image, identity, actor, site, number)
        except SQLAlchemyError as error:
            # After other errors the image may have been committed, so the files stay;
            # `serving.housekeeping` removes those of which the database does not know.
            if connection.is_full(error):
                self._remove(image.id)
            raise
        if is_new:
            self._when_accepted()
        else:
            self._remove(image.id)

    def _remove(self, id: str) -> None:
        with contextlib.suppress(OSError):
            self._files.remove(id)
            if self._origins:
                self._origins.remove(id)
