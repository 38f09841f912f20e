"""Scores the studies that wait, and tries again while the model server does not answer."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from schemas import image_status, not_assessed, signatures
from schemas.labels import FINDINGS
from serving import assessment, studies, uploads
from serving.api.client import ModelServer, ModelServerError, Prediction
from serving.database.tables import Image, Study
from serving.image_files import ImageFiles
from serving.served_versions import VersionInfo

_log = logging.getLogger(__name__)
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 10.0
_IDLE_S = 1.0
_STUDIES_PER_ROUND = 8


@dataclass(frozen=True)
class Traffic:
    """Which version answers.

    Attributes:
      model: the name of the model on the server.
      label: of the version whose answers are shown; '' for the newest version.
      canary_share: the share of studies, 0..1, that the canary version answers too.
    """

    model: str
    label: str = ''
    canary_share: float = 0.0


class Scorer:
    """A thread that scores pending studies until `close`.

    Args:
      sessions: of the gateway's database.
      files: the uploaded images.
      server: the model server.
      traffic: which version answers.
      version_info: what is on record about a version.
    """

    def __init__(
        self,
        sessions: sessionmaker[Session],
        files: ImageFiles,
        server: ModelServer,
        traffic: Traffic,
        version_info: Callable[[int], VersionInfo],
    ):
        self._sessions, self._files, self._server = sessions, files, server
        self._traffic, self._version_info = traffic, version_info
        self._wake, self._closed = threading.Event(), threading.Event()
        self.problem = ''
        self._thread = threading.Thread(target=self._work, name='scorer')
        self._thread.start()

    def wake(self) -> None:
        """Has it look for pending studies now."""
        self._wake.set()

    def close(self) -> None:
        """Ends the thread after the round that is under way."""
        self._closed.set()
        self._wake.set()
        self._thread.join()

    def _work(self) -> None:
        pause = _FIRST_PAUSE_S
        while not self._closed.is_set():
            try:
                scored = self._round()
            except (ModelServerError, SQLAlchemyError, OSError) as error:
                if str(error) != self.problem:
                    self.problem = str(error)
                    _log.error('studies wait: %s', error)
                self._closed.wait(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_S)
                continue
            if self.problem:
                _log.info('studies are scored again')
            self.problem, pause = '', _FIRST_PAUSE_S
            if not scored:
                self._wake.wait(_IDLE_S)
                self._wake.clear()

    def _round(self) -> int:
        """Scores a few studies, and returns how many."""
        with self._sessions() as session, session.begin():
            waiting = studies.pending(session, _STUDIES_PER_ROUND)
            # The model runs outside the transaction on SQLite, where it would block uploads.
            if session.get_bind().dialect.name != 'sqlite':
                return self._score(session, waiting)
        if not waiting:
            return 0
        answers = self._answers(waiting, self._traffic.label)
        canary = self._canary_answers(waiting)
        with self._sessions() as session, session.begin():
            for study in waiting:
                self._record(session, session.merge(study, load=True), answers, canary)
        return len(waiting)

    def _score(self, session: Session, waiting: list[Study]) -> int:
        if waiting:
            answers = self._answers(waiting, self._traffic.label)
            canary = self._canary_answers(waiting)
            for study in waiting:
                self._record(session, study, answers, canary)
        return len(waiting)

    def _record(
        self,
        session: Session,
        study: Study,
        answers: dict[str, studies.Outcome],
        canary: dict[str, studies.Outcome],
    ) -> None:
        studies.record_answers(session, study, [answers[image.id] for image in study.images])
        if all(image.id in canary for image in study.images):
            studies.record_canary(session, study, [canary[image.id] for image in study.images])

    def _canary_answers(self, waiting: list[Study]) -> dict[str, studies.Outcome]:
        chosen = [study for study in waiting if _draw(study.id) < self._traffic.canary_share]
        try:
            return self._answers(chosen, studies.CANARY) if chosen else {}
        except ModelServerError as error:
            # The canary must not hold up the answers that readers wait for.
            _log.warning('no answer of the canary version: %s', error)
            return {}

    def _answers(self, waiting: list[Study], label: str) -> dict[str, studies.Outcome]:
        """Image id -> outcome, of all images of the studies.

        Raises:
          ModelServerError: the server does not answer.
        """
        images = [image for study in waiting for image in study.images]
        outcomes: dict[str, studies.Outcome] = {}
        readable: list[tuple[Image, bytes]] = []
        refused: dict[str, str] = {}
        for image in images:
            try:
                content = uploads.to_model_input(self._files.read(image.id), image.kind)
            except FileNotFoundError:
                refused[image.id] = not_assessed.FILE_MISSING
            except uploads.UploadError:
                refused[image.id] = image_status.UNDECODABLE
            else:
                if reason := assessment.reason(content):
                    refused[image.id] = reason
                else:
                    readable.append((image, content))
        version = self._newest_version() if not readable else 0
        for prediction, row, image in self._predictions(readable, label):
            version = prediction.version
            threshold = self._version_info(version).threshold
            outcomes[image.id] = _outcome(prediction, row, threshold)
        for id, reason in refused.items():
            outcomes[id] = studies.Outcome(version, None, True, reason)
        return outcomes

    def _predictions(
        self, readable: list[tuple[Image, bytes]], label: str
    ) -> Iterator[tuple[Prediction, int, Image]]:
        """The prediction of each image, and its row there."""
        if not readable:
            return
        try:
            prediction = self._server.predict(
                self._traffic.model,
                signatures.IMAGES.name,
                {signatures.IMAGES.input: [content for _, content in readable]},
                label=label,
            )
        except ModelServerError as error:
            if error.is_temporary or error.is_missing or len(readable) == 1:
                raise
            # One request that the model refuses must not hold up the others.
            for single in readable:
                yield from self._predictions([single], label)
            return
        for row, (image, _) in enumerate(readable):
            yield prediction, row, image

    def _newest_version(self) -> int:
        statuses = self._server.versions(self._traffic.model)
        return max((s.version for s in statuses if s.state == 'AVAILABLE'), default=0)


def _outcome(prediction: Prediction, row: int, threshold: float | None) -> studies.Outcome:
    outputs = prediction.outputs
    status = bytes(outputs[signatures.STATUS][row]).decode()
    if status != image_status.OK:
        return studies.Outcome(prediction.version, None, True, status, threshold)
    findings = {name: float(outputs[name][row]) for name in FINDINGS if name in outputs}
    return studies.Outcome(
        prediction.version,
        float(outputs[signatures.PROBABILITY][row]),
        bool(np.round(outputs[signatures.FLAG][row])),
        '',
        threshold,
        findings,
    )


def _draw(id: str) -> float:
    """A number in 0..1 that depends on the id alone, so that a retry draws the same."""
    return int.from_bytes(hashlib.sha256(id.encode()).digest()[:8], 'big') / 2**64
