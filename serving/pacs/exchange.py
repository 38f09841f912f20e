"""The exchange of a gateway with an archive: what receives, what keeps headers, what reports."""

from __future__ import annotations

from collections.abc import Callable

import pydicom
from sqlalchemy.orm import Session, sessionmaker

from serving.database.tables import Study
from serving.image_files import ImageFiles
from serving.pacs import origin
from serving.pacs.intake import Intake
from serving.pacs.outbox import Outbox
from serving.pacs.receiver import Receiver
from serving.pacs.settings import PacsSettings
from serving.served_versions import VersionInfo


class Exchange:
    """The parts of it, from `start` to `close`.

    Args:
      settings: what is received and sent.
      sessions: of the gateway's database.
      files: of the images.
      origins: of what is kept of their headers; nothing is kept while no archive gets reports.
      max_bytes, max_pixels: of a DICOM object.
      when_accepted: called after each new object.
      version_info: what is on record about a version.

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
    ):
        self.origins, self._version_info = origins, version_info
        self.intake = Intake(
            sessions,
            files,
            origins if settings.targets else None,
            max_bytes,
            max_pixels,
            when_accepted,
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

    def report(self, study: Study, revisions: list[int]) -> bytes:
        """The report about a study; see `serving.pacs.report.build`."""
        # It takes seconds and 100 MB to load, which a gateway without reports does not need.
        from serving.pacs import report

        origins: dict[str, pydicom.Dataset] = {}
        for image in study.images:
            try:
                origins[image.id] = origin.read(self.origins.read(image.id))
            except FileNotFoundError:  # it arrived before reports were wanted
                continue
        assert study.version is not None
        return report.build(study, origins, self._version_info(study.version), revisions)
