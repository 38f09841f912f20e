"""Has an archive send studies that it holds to a gateway (C-FIND and C-MOVE)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pydicom
from pydicom.uid import UID
from pynetdicom import AE

from serving.pacs import associations
from serving.pacs.settings import Peer

_FIND = UID('1.2.840.10008.5.1.4.1.2.2.1')
_MOVE = UID('1.2.840.10008.5.1.4.1.2.2.2')
_SUCCESS, _PENDING = 0x0000, (0xFF00, 0xFF01)
_TIMEOUT_S = 60.0


class ArchiveError(RuntimeError):
    """The archive does not answer, or refuses; the text says what it said."""


@dataclass(frozen=True)
class Moved:
    """What became of the images of a series."""

    study: str
    sent: int
    failed: int
    problem: str = ''


class ArchiveQuery:
    """Asks an archive, in one association until `close`.

    Args:
      archive: where it takes associations.
      ae_title: of this side; the archive has to know it.

    Raises:
      ArchiveError: it does not take the association.
    """

    def __init__(self, archive: Peer, ae_title: str):
        entity = AE(ae_title)
        entity.acse_timeout = entity.connection_timeout = _TIMEOUT_S
        entity.dimse_timeout = entity.network_timeout = 10 * _TIMEOUT_S
        entity.add_requested_context(_FIND)
        entity.add_requested_context(_MOVE)
        self._association: Any = associations.associate(entity, archive)
        if not self._association.is_established:
            refused = self._association.is_rejected
            reason = f'refuses {ae_title!r}: does it know it?' if refused else 'does not answer'
            raise ArchiveError(f'{archive.ae_title} at {archive.host}:{archive.port} {reason}')

    def close(self) -> None:
        """Ends the association."""
        with contextlib.suppress(RuntimeError):
            self._association.release()

    def series(self, dates: str, modalities: list[str]) -> Iterator[tuple[str, str]]:
        """Study and Series Instance UID of the series of some dates with some modalities.

        Args:
          dates: `YYYYMMDD`, or `YYYYMMDD-YYYYMMDD`.
          modalities: such as `DX`; series of one of them.

        Raises:
          ArchiveError: it refuses the question.
        """
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

    def move(self, study: str, series: str, to: str) -> Moved:
        """Has the archive send a series.

        Args:
          study: its Study Instance UID.
          series: its Series Instance UID.
          to: AE title of the gateway, as the archive knows it.
        """
        query = pydicom.Dataset()
        query.QueryRetrieveLevel = 'SERIES'
        query.StudyInstanceUID, query.SeriesInstanceUID = study, series
        status = pydicom.Dataset()
        try:
            for answer, _ in self._association.send_c_move(query, to, _MOVE):
                status = answer
        except RuntimeError as error:  # the archive has ended the association
            return Moved(study, 0, 0, str(error))
        sent = int(status.get('NumberOfCompletedSuboperations', 0) or 0)
        failed = int(status.get('NumberOfFailedSuboperations', 0) or 0)
        is_done = status.get('Status') == _SUCCESS
        return Moved(study, sent, failed, '' if is_done else associations.status_text(status))
