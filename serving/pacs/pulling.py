"""Has an archive send studies that it holds to a gateway (C-FIND and C-MOVE).

`serving.pacs.web_pulling` does the same by DICOMweb.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pydicom
from pydicom.uid import UID
from pynetdicom import AE

from serving.pacs import associations
from serving.pacs.settings import Peer, Tls

_FIND = UID('1.2.840.10008.5.1.4.1.2.2.1')
_MOVE = UID('1.2.840.10008.5.1.4.1.2.2.2')
_SUCCESS, _PENDING = 0x0000, (0xFF00, 0xFF01)
_TIMEOUT_S = 60.0


class ArchiveError(RuntimeError):
    """The archive does not answer, or refuses; the text says what it said."""


@dataclass(frozen=True)
class Moved:
    """What became of the images of a series.

    Attributes:
      study: Study Instance UID of the series.
      sent: how many images the gateway has got.
      known: how many it has got before, which were not sent.
      failed: how many it has not got.
      problem: why images were not sent; '' if all were, or if `of_images` says it.
      of_images: SOP Instance UID -> why the image was not sent.
    """

    study: str
    sent: int = 0
    known: int = 0
    failed: int = 0
    problem: str = ''
    of_images: dict[str, str] = field(default_factory=dict)

    @property
    def is_complete(self) -> bool:
        """Whether the gateway has all images of the series."""
        return not self.failed and bool(self.sent + self.known)


class ArchiveQuery:
    """Asks an archive, in one association until `close`.

    Args:
      archive: where it takes associations.
      ae_title: of the gateway, as the archive knows it; also that of this side.
      tls: of the connection; None for one that is not encrypted.

    Raises:
      ArchiveError: it does not take the association.
    """

    def __init__(self, archive: Peer, ae_title: str, tls: Tls | None = None):
        self._to = ae_title
        entity = AE(ae_title)
        entity.acse_timeout = entity.connection_timeout = _TIMEOUT_S
        entity.dimse_timeout = entity.network_timeout = 10 * _TIMEOUT_S
        entity.add_requested_context(_FIND)
        entity.add_requested_context(_MOVE)
        self._association: Any = associations.associate(entity, archive, tls)
        if not self._association.is_established:
            refused = self._association.is_rejected
            reason = f'refuses {ae_title!r}: does it know it?' if refused else 'does not answer'
            raise ArchiveError(f'{archive.ae_title} at {archive.host}:{archive.port} {reason}')

    def close(self) -> None:
        """Ends the association."""
        with contextlib.suppress(RuntimeError):
            self._association.release()

    def pull(self, dates: str, modalities: list[str]) -> Iterator[Moved]:
        """Has the archive send the series of some dates with some modalities, one by one.

        Args:
          dates: `YYYYMMDD`, or `YYYYMMDD-YYYYMMDD`.
          modalities: such as `DX`; series of one of them.

        Raises:
          ArchiveError: it refuses the question.
        """
        for study, series in list(self._series(dates, modalities)):
            yield self._move(study, series)

    def _series(self, dates: str, modalities: list[str]) -> Iterator[tuple[str, str]]:
        for modality in modalities:
            in_study = {'StudyDate': dates, 'ModalitiesInStudy': modality}
            for study in self._find('STUDY', 'StudyInstanceUID', in_study):
                in_series = {'StudyInstanceUID': study, 'Modality': modality}
                for series in self._find('SERIES', 'SeriesInstanceUID', in_series):
                    yield study, series

    def _find(self, level: str, attribute: str, keys: dict[str, str]) -> list[str]:
        query = pydicom.Dataset()
        query.QueryRetrieveLevel = level
        for name, value in {**keys, attribute: ''}.items():
            setattr(query, name, value)
        uids = []
        for status, answer in self._association.send_c_find(query, _FIND):
            if status.get('Status') not in (_SUCCESS, *_PENDING):
                raise ArchiveError(
                    f'the archive refuses the question: {associations.status_text(status)}'
                )
            if answer is not None:
                uids.append(str(answer[attribute].value))
        return uids

    def _move(self, study: str, series: str) -> Moved:
        query = pydicom.Dataset()
        query.QueryRetrieveLevel = 'SERIES'
        query.StudyInstanceUID, query.SeriesInstanceUID = study, series
        status = pydicom.Dataset()
        try:
            for answer, _ in self._association.send_c_move(query, self._to, _MOVE):
                status = answer
        except RuntimeError as error:  # the archive has ended the association
            return Moved(study, problem=str(error))
        sent = int(status.get('NumberOfCompletedSuboperations', 0) or 0)
        failed = int(status.get('NumberOfFailedSuboperations', 0) or 0)
        is_done = status.get('Status') == _SUCCESS
        problem = '' if is_done else associations.status_text(status)
        return Moved(study, sent, failed=failed, problem=problem)
