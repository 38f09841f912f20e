"""Scores the studies that wait, and tries again while the model server does not answer."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from schemas import not_assessed
from serving import studies
from serving.api.client import ModelServer, ModelServerError
from serving.claims import claimed
from serving.database import connection
from serving.database.tables import Study
from serving.image_answers import ImageAnswers
from serving.image_files import ImageFiles
from serving.served_versions import VersionInfo

_log = logging.getLogger(__name__)
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 10.0
_IDLE_S = 1.0
_STUDIES_PER_ROUND = 8
# One records answers while the studies of the other are with the model server.
_THREADS = 2
# Until a study is tried again that the model server refuses or that raises.
_ASIDE_S = 60.0


@dataclass(frozen=True)
class Traffic:
    """Which version answers.

    Attributes:
      model: the name of the model on the server.
      label: of the version whose answers are shown; '' for the newest version. It is called anew
        for each round, since a release may add labels.
      canary: the version whose answers are only recorded; None for none. Called anew as well.
      canary_share: the share of studies, 0..1, that the canary version answers too.
    """

    model: str
    label: Callable[[], str] = lambda: ''
    canary: Callable[[], int | None] = lambda: None
    canary_share: float = 0.0


class Scorer:
    """Threads that score pending studies until `close`.

    Args:
      sessions: of the gateway's database.
      files: the uploaded images.
      server: the model server.
      traffic: which version answers.
      version_info: what is on record about a version.
      when_idle: called whenever no study waits.
      when_recorded: gets the ids of studies whose answers are on the disk.
      with_answers: gets each study with the session that records its answers, for what has to be
        in the same transaction.

    Attributes:
      problem: why studies wait; '' if they do not.
    """

    def __init__(
        self,
        sessions: sessionmaker[Session],
        files: ImageFiles,
        server: ModelServer,
        traffic: Traffic,
        version_info: Callable[[int], VersionInfo],
        when_idle: Callable[[], None] = lambda: None,
        when_recorded: Callable[[Collection[str]], None] = lambda ids: None,
        with_answers: Callable[[Session, Study], None] = lambda session, study: None,
    ):
        self._sessions, self._traffic = sessions, traffic
        self._images = ImageAnswers(files, server, traffic.model, version_info, _THREADS)
        self._when_idle, self._when_recorded = when_idle, when_recorded
        self._with_answers = with_answers
        self._wake, self._again = threading.Event(), threading.Event()
        self._closed = threading.Event()
        self.problem = ''
        self._busy_at = time.monotonic()
        self._studies_per_round = _STUDIES_PER_ROUND
        # One thread chooses studies at a time; it also guards the two below.
        self._choosing = threading.Lock()
        self._in_work: set[str] = set()
        # Study -> when it is tried again. They must not hold up the others.
        self._set_aside: dict[str, float] = {}
        self._refusal = ''
        # One thread rests at a time, so that a study that arrives wakes one alone.
        self._resting = threading.Lock()
        self._threads = [
            threading.Thread(target=self._work, name=f'scorer-{number}')
            for number in range(_THREADS)
        ]
        for thread in self._threads:
            thread.start()

    def wake(self) -> None:
        """Has it look for pending studies now."""
        self._busy_at = time.monotonic()
        self._wake.set()

    def idle_s(self) -> float:
        """Seconds since the last study arrived or was scored; 0 while one is."""
        return 0.0 if self._in_work else time.monotonic() - self._busy_at

    def try_again(self) -> None:
        """Has it ask a model server now that did not answer before."""
        self._again.set()

    def close(self) -> None:
        """Ends the threads after the rounds that are under way."""
        self._closed.set()
        self._wake.set()
        self._again.set()
        for thread in self._threads:
            thread.join()
        self._images.close()

    def _work(self) -> None:
        pause = _FIRST_PAUSE_S
        while not self._closed.is_set():
            try:
                is_more, is_at_work = self._round()
            except (ModelServerError, SQLAlchemyError, OSError) as error:
                is_database = isinstance(error, SQLAlchemyError)
                self._report(f'database: {connection.reason(error)}' if is_database else str(error))
                is_told = self._rest(self._again, pause)
                pause = _FIRST_PAUSE_S if is_told else min(2 * pause, _LONGEST_PAUSE_S)
                continue
            except Exception as error:  # noqa: BLE001 - whatever it is, other studies are scored
                _log.exception('a study cannot be scored')
                self._report(f'{type(error).__name__}: {error}')
                self._closed.wait(_FIRST_PAUSE_S)
                continue
            pause = _FIRST_PAUSE_S
            # Otherwise it is up to the other thread, whose model server may be away.
            if not is_at_work:
                self._report(self._refusal)
            if not is_more:
                self._rest(self._wake, _IDLE_S)

    def _report(self, problem: str) -> None:
        if problem and problem != self.problem:
            _log.error('studies wait: %s', problem)
        if self.problem and not problem:
            _log.info('studies are scored again')
        self.problem = problem

    def _rest(self, until: threading.Event, seconds: float) -> bool:
        """Waits for an event; returns whether it came in time."""
        with self._resting:
            try:
                self._when_idle()
            except Exception:  # noqa: BLE001 - it must not end the scoring
                _log.exception('housekeeping failed')
            is_set = not self._closed.is_set() and until.wait(seconds)
            # Whoever sets it wants a look that begins after this, so no call is lost.
            until.clear()
        return is_set

    def _round(self) -> tuple[bool, bool]:
        """Scores a few studies that nobody works on.

        Returns:
          Whether more may wait, and whether there were none but those of the other thread.
        """
        with contextlib.ExitStack() as claims:
            with self._choosing:
                limit = self._studies_per_round
                now = time.monotonic()
                self._set_aside = {id: t for id, t in self._set_aside.items() if t > now}
                if not self._set_aside:
                    self._refusal = ''
                waiting = claims.enter_context(
                    claimed(self._sessions, limit, self._in_work | self._set_aside.keys())
                )
                ids = {study.id for study in waiting}
                is_at_work = not waiting and bool(self._in_work)
                self._in_work |= ids
            try:
                if waiting:
                    self._score(waiting)
            finally:
                with self._choosing:
                    self._in_work -= ids
                    if ids:
                        self._busy_at = time.monotonic()
        return len(waiting) == limit, is_at_work

    def _score(self, waiting: list[Study]) -> None:
        # Without a transaction: the model must not block uploads and readings.
        answers, canary = self._ask(waiting)
        with self._sessions() as session, session.begin():
            current = studies.still_pending(session, waiting)
            recorded = self._record(session, current, answers, canary)
        self._when_recorded(recorded)

    def _record(
        self,
        session: Session,
        waiting: list[Study],
        answers: dict[str, studies.Outcome],
        canary: dict[str, studies.Outcome],
    ) -> list[str]:
        """Records the answers of the studies that have all, and returns their ids."""
        complete = _complete(waiting, answers)
        answered = [study for study, _ in complete]
        studies.record_answers(session, complete, _complete(answered, canary))
        for study in answered:
            self._with_answers(session, study)
        return [study.id for study in answered]

    def _ask(
        self, waiting: list[Study]
    ) -> tuple[dict[str, studies.Outcome], dict[str, studies.Outcome]]:
        """Image id -> outcome of the stable version, and of the canary version."""
        refusals: dict[str, str] = {}
        try:
            answers = self._images.ask(waiting, self._traffic.label(), refusals)
            canary = self._canary_answers(waiting)
        except (ModelServerError, SQLAlchemyError, OSError):
            raise
        except Exception:
            # One of the studies is to blame: each is tried alone until it is found.
            if len(waiting) == 1:
                self._put_aside(waiting[0])
            self._studies_per_round = 1
            raise
        self._studies_per_round = _STUDIES_PER_ROUND
        for study in waiting:
            for refusal in (refusals[i.id] for i in study.images if i.id in refusals):
                self._refusal = f'the model server refuses an image of study {study.id}: {refusal}'
                self._put_aside(study)
        return answers, canary

    def _put_aside(self, study: Study) -> None:
        with self._choosing:
            self._set_aside[study.id] = time.monotonic() + _ASIDE_S

    def _canary_answers(self, waiting: list[Study]) -> dict[str, studies.Outcome]:
        chosen = [study for study in waiting if _draw(study.id) < self._traffic.canary_share]
        version = self._traffic.canary() if chosen else None
        if version is None:
            return {}
        answers: dict[str, studies.Outcome] = {}
        try:
            answers = self._images.ask(chosen, studies.CANARY, {})
        except ModelServerError as error:
            # The canary must not hold up the answers that readers wait for.
            _log.warning('no answer of the canary version: %s', error)
            if error.is_missing:
                return {}  # the server has not loaded it yet
        # It counts against a canary that it fails on an image.
        failed = studies.Outcome(version, None, True, not_assessed.NO_ANSWER)
        images = (image.id for study in chosen for image in study.images)
        return dict.fromkeys(images, failed) | answers


def _complete(
    waiting: list[Study], answers: dict[str, studies.Outcome]
) -> list[tuple[Study, list[studies.Outcome]]]:
    """The studies whose images all have an answer, with these."""
    return [
        (study, [answers[image.id] for image in study.images])
        for study in waiting
        if all(image.id in answers for image in study.images)
    ]


def _draw(id: str) -> float:
    """A number in 0..1 that depends on the id alone, so that a retry draws the same."""
    return int.from_bytes(hashlib.sha256(id.encode()).digest()[:8], 'big') / 2**64
