"""Brings studies that an archive holds to a gateway by DICOMweb (QIDO-RS, WADO-RS, STOW-RS).

The archive does not have to know the gateway, and the gateway needs no DICOM port.
"""

from __future__ import annotations

import re
import ssl
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from serving import related_parts
from serving.image_formats.error import UploadError
from serving.pacs import origin, web
from serving.pacs.gateway_client import GatewayClient
from serving.pacs.pulling import ArchiveError, Moved
from serving.pacs.settings import Target

_JSON = 'application/dicom+json'
# As it is stored: the gateway reads compressed images, too.
_FILE = 'multipart/related; type="application/dicom"; transfer-syntax=*'
_STUDY, _SERIES, _INSTANCE, _MODALITY = '0020000D', '0020000E', '00080018', '00080060'
_UID = re.compile(r'[0-9.]{1,64}', re.ASCII)
# What an archive says that has more answers than it sends.
_MORE = '299'


@dataclass(frozen=True)
class Limits:
    """What is expected of an archive.

    Attributes:
      max_bytes: of an image.
      max_list_bytes: of an answer to a question.
      page: how many answers are asked for at a time.
      timeout_s: until it says something.
      total_s: until an answer is complete.
      tries: after so many requests in a row without an answer, nothing more is asked.
    """

    max_bytes: int
    max_list_bytes: int = 64 << 20
    page: int = 1000
    timeout_s: float = 60.0
    total_s: float = 600.0
    tries: int = 3


class WebArchiveQuery:
    """Asks an archive.

    Args:
      archive: with its URL and credentials.
      gateway: that gets the images.
      limits: of the archive's answers.
      context: of TLS; None for the certificate authorities of the system.
    """

    def __init__(
        self,
        archive: Target,
        gateway: GatewayClient,
        limits: Limits,
        context: ssl.SSLContext | None = None,
    ):
        self._url, self._gateway = archive.url, gateway
        self._limits, self._context = limits, context
        self._headers = web.authorization(archive.user, archive.password)
        self._silent = 0

    def close(self) -> None:
        """Does nothing: there is no connection between requests."""

    def pull(self, dates: str, modalities: list[str]) -> Iterator[Moved]:
        """Brings the series of some dates with some modalities, one by one.

        Images that the gateway has had before are not fetched.

        Args:
          dates: `YYYYMMDD`, or `YYYYMMDD-YYYYMMDD`.
          modalities: such as `DX`; series of one of them.

        Raises:
          ArchiveError: the archive refuses the question for studies, or no longer answers.
          GatewayError: the gateway does not answer, or refuses.
        """
        for modality in modalities:
            try:
                studies = self._uids(
                    'studies', _STUDY, {'StudyDate': dates, 'ModalitiesInStudy': modality}
                )
            except web.WebError as error:
                raise ArchiveError(f'{self._url}: {error}') from None
            for study in studies:
                yield from self._pull_study(study, modality)

    def _pull_study(self, study: str, modality: str) -> Iterator[Moved]:
        try:
            all_series = self._uids(f'studies/{study}/series', _SERIES, {'Modality': modality})
        except web.WebError as error:
            yield Moved(study, problem=f'its series are not listed: {error}')
            return
        for series in all_series:
            yield self._pull_series(study, series)

    def _pull_series(self, study: str, series: str) -> Moved:
        place = f'studies/{study}/series/{series}/instances'
        try:
            instances = self._uids(place, _INSTANCE, {})
        except web.WebError as error:
            return Moved(study, problem=f'series {series}: its images are not listed: {error}')
        known = self._gateway.accepted(study, instances)
        problems = {}
        for instance in instances:
            if instance not in known:
                try:
                    self._gateway.store(study, self._file(f'{place}/{instance}', instance))
                except (web.WebError, UploadError) as error:
                    problems[instance] = str(error)
        sent = len(instances) - len(known) - len(problems)
        return Moved(study, sent, len(known), len(problems), '', problems)

    def _file(self, path: str, instance: str) -> bytes:
        """The DICOM file of an instance."""
        answer = self._send(path, _FILE, self._limits.max_bytes)
        content_type = answer.headers.get('Content-Type', '')
        try:
            content = related_parts.only_part(content_type, answer.body)
        except related_parts.PartsError as error:
            raise web.WebError(
                f'the archive does not answer with one DICOM file: {error}'
            ) from None
        if origin.identity(content).instance != instance:
            raise web.WebError('the archive answers with another image')
        return content

    def _uids(self, path: str, tag: str, keys: dict[str, str]) -> list[str]:
        """The UIDs of all answers to a question, each once."""
        # Whether it is of the modality: an archive may ignore what it does not know.
        found: dict[str, bool] = {}
        offset = 0
        while True:
            paging = {'limit': self._limits.page, 'offset': offset}
            query = urllib.parse.urlencode({**keys, **paging})
            answer = self._send(f'{path}?{query}', _JSON, self._limits.max_list_bytes)
            rows = answer.json() or []
            before = len(found)
            for row in rows if isinstance(rows, list) else [None]:
                uid = _value(row, tag)
                if not _UID.fullmatch(uid):
                    raise web.WebError('it does not answer as QIDO-RS does')
                modality = _value(row, _MODALITY)
                found[uid] = not modality or modality == keys.get('Modality', modality)
            offset += len(rows)
            is_full = len(rows) >= self._limits.page
            is_more = is_full or answer.headers.get('Warning', '').startswith(_MORE)
            if not is_more or len(found) == before:
                return [uid for uid, is_wanted in found.items() if is_wanted]

    def _send(self, path: str, accept: str, max_bytes: int) -> web.Answer:
        try:
            answer = web.send(
                f'{self._url}/{path}',
                {'Accept': accept, **self._headers},
                timeout_s=self._limits.timeout_s,
                total_s=self._limits.total_s,
                max_bytes=max_bytes,
                context=self._context,
            )
        except web.WebError as error:
            self._silent = 0 if error.status else self._silent + 1
            if self._silent >= self._limits.tries:
                raise ArchiveError(f'{self._url}: {error}') from None
            raise
        self._silent = 0
        return answer


def _value(row: Any, tag: str) -> str:
    """The first value of an attribute in the JSON of DICOM; '' if it has none."""
    try:
        return str(row[tag]['Value'][0])
    except (KeyError, IndexError, TypeError):
        return ''
