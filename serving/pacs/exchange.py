"""The exchange of a gateway with an archive: what receives, what keeps headers, what reports."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from sqlalchemy.orm import Session, sessionmaker

from serving.database.tables import Study
from serving.image_files import ImageFiles
from serving.pacs import fhir, origin, webhook
from serving.pacs.intake import Intake
from serving.pacs.outbox import Outbox
from serving.pacs.receiver import Receiver
from serving.pacs.settings import Kind, PacsSettings, Target
from serving.served_versions import VersionInfo


class Exchange:
    """The parts of it, from `start` to `close`.

    Args:
      settings: what is received and sent.
      sessions: of the gateway's database.
      files: of the images.
      origins: of what is kept of their headers; nothing is kept while no target names patients.
      max_bytes, max_pixels: of a DICOM object.
      when_accepted: called after each new object.
      version_info: what is on record about a version.
      site: of objects whose sender has none.
      accession_key: see `serving.pacs.accession`.

    Raises:
      OSError: the port cannot be had.
      SettingError: a file of TLS cannot be used.
    """

    def __init__(
        self,
        settings: PacsSettings,
        sessions: sessionmaker[Session],
        files: ImageFiles,
        origins: ImageFiles,
        max_bytes: int,
        max_pixels: int,
        when_accepted: Callable[[], None],
        version_info: Callable[[int], VersionInfo],
        site: str = '',
        accession_key: bytes = b'',
    ):
        self.origins, self._version_info = origins, version_info
        self.intake = Intake(
            sessions,
            files,
            origins if any(target.names_patients for target in settings.targets) else None,
            max_bytes,
            max_pixels,
            when_accepted,
            site,
            accession_key,
        )
        self.outbox = Outbox(sessions, settings, self.report)
        self._receiver = Receiver(settings, self.intake) if settings.port is not None else None

    @property
    def port(self) -> int | None:
        """The port of the receiver; None without one."""
        return self._receiver.port if self._receiver else None

    def start(self) -> None:
        """Takes objects and sends reports from now on."""
        if self._receiver:
            self._receiver.start()
        self.outbox.start()

    def close(self) -> None:
        """Ends its threads and connections."""
        if self._receiver:
            self._receiver.close()
        self.outbox.close()

    def report(self, target: Target, study: Study, revisions: list[int]) -> bytes:
        """The report about an assessed study in the format of a target.

        Args:
          target: who gets it.
          study: with its images and answers.
          revisions: see `serving.pacs.report.build`.
        """
        assert study.version is not None
        info = self._version_info(study.version)
        if target.kind is Kind.WEBHOOK:
            return webhook.build(study, info)
        if target.kind is Kind.FHIR:
            return fhir.transaction(study, self._origins_of(study), info, target.url)
        # It takes seconds and 100 MB to load, which a gateway without DICOM reports does not need.
        from serving.pacs import report

        return report.build(study, self._origins_of(study), info, revisions)

    def fhir_report(self, study: Study) -> fhir.Resource:
        """The report about an assessed study, as a FHIR Bundle."""
        assert study.version is not None
        return fhir.collection(study, self._origins_of(study), self._version_info(study.version))

    def _origins_of(self, study: Study) -> fhir.Origins:
        origins: fhir.Origins = {}
        for image in study.images:
            # Without, it arrived before reports were wanted, or not by DICOM.
            with contextlib.suppress(FileNotFoundError):
                origins[image.id] = origin.read(self.origins.read(image.id))
        return origins
