"""What the routes of a gateway share: database, files, model server and scorer."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Collection, Iterator
from pathlib import Path

from sqlalchemy.orm import Session, sessionmaker

from components.pusher import target as push_target
from serving import running, served_versions, studies
from serving.announcements import Announcements
from serving.api.client import ModelServer, ModelServerError
from serving.database import connection
from serving.descriptions import Describer
from serving.gateway.settings import Settings
from serving.housekeeping import Housekeeping
from serving.image_files import ImageFiles
from serving.pacs import accession
from serving.pacs.exchange import Exchange
from serving.releases import config_file
from serving.scoring import Scorer, Traffic
from serving.served_versions import VersionInfo

# Seconds for which the states of the versions, or that the server did not tell them, are cached.
_STATES_S = 2.0
# Below the patience of a probe: /readyz answers also while the model server hangs.
_STATES_TIMEOUT_S = 2.0
_UPLOADS_AT_ONCE = 4


class Services:
    """The parts of a gateway, until `close`.

    Raises:
      connection.DatabaseError: the database cannot be used.
      OSError: the folder for images cannot be made.
    """

    def __init__(self, settings: Settings, server: ModelServer):
        self.settings, self.server = settings, server
        self.sessions: sessionmaker[Session] = connection.connect(settings.database)
        self.files = ImageFiles(settings.data / running.IMAGES)
        # Uploads hold their files in memory while they check and store them.
        self.storing = asyncio.Semaphore(_UPLOADS_AT_ONCE)
        self.pacs = Exchange(
            settings.pacs,
            self.sessions,
            self.files,
            ImageFiles(settings.data / running.ORIGINS),
            settings.limits.max_file_bytes,
            settings.limits.max_pixels,
            self._wake_scorer,
            self.version,
            settings.site,
            accession.load_key(settings.data),
        )
        self.housekeeping = Housekeeping(
            self.sessions,
            self.files,
            Path(settings.target),
            settings.retention_days,
            self.pacs.origins,
            settings.report_patience,
        )
        self._states: tuple[float, dict[int, str]] = (0.0, {})
        # Of the ids of studies whose answers are on the disk.
        self.answered = Announcements()
        self.scorer = Scorer(
            self.sessions,
            self.files,
            server,
            Traffic(settings.model, self.stable_label, self.canary_version, settings.canary_share),
            self.version,
            self.housekeeping.run,
            self._announce,
            self.pacs.outbox.plan,
        )
        self.describer = Describer(self.sessions, self.files, self.scorer.idle_s)
        self.pacs.start()

    def close(self) -> None:
        """Ends the scorer and the connections."""
        self.pacs.close()
        self.describer.close()
        self.scorer.close()
        self.server.close()
        self.sessions.kw['bind'].dispose()

    def _wake_scorer(self) -> None:
        self.scorer.wake()

    def _announce(self, ids: Collection[str]) -> None:
        self.answered.announce(ids)
        self.describer.look()

    @contextlib.contextmanager
    def reading(self) -> Iterator[Session]:
        """A session that changes nothing, and so waits for no other."""
        with connection.reading(self.sessions) as session:
            yield session

    def versions(self) -> list[VersionInfo]:
        """The versions in the push directory, oldest first."""
        return served_versions.read_all(self.settings.target)

    def version(self, number: int) -> VersionInfo:
        """What is on record about a version."""
        return served_versions.read(f'{self.settings.target.rstrip("/")}/{number}', number)

    def version_states(self) -> dict[int, str]:
        """Version -> its state on the model server; empty if it does not answer."""
        read_at, states = self._states
        if time.monotonic() - read_at > _STATES_S:
            try:
                statuses = self.server.versions(self.settings.model, _STATES_TIMEOUT_S)
            except ModelServerError:
                statuses = []
            states = {status.version: status.state for status in statuses}
            self._states = (time.monotonic(), states)
        return states

    def labels(self) -> dict[str, int]:
        """Label -> version, as the model config file says."""
        beside = Path(self.settings.target) / push_target.MODEL_CONFIG
        path = self.settings.config_file or beside
        try:
            return config_file.labels(config_file.read(path), self.settings.model)
        except config_file.ConfigFileError:
            return {}

    def stable_label(self) -> str:
        """The label of the version that answers; '' where no version has a label."""
        return studies.STABLE if studies.STABLE in self.labels() else ''

    def canary_version(self) -> int | None:
        """The version whose answers are only recorded; None for none."""
        return self.labels().get(studies.CANARY)
