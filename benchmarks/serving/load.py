"""Clients that upload all the time, and what became of the studies that were accepted."""

from __future__ import annotations

import collections
import http.client
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import func, select

from benchmarks.serving import service
from benchmarks.serving.client import multipart
from serving import audit, studies, uploads
from serving.database import connection, tables
from serving.image_files import ImageFiles

_PAUSE_S = 0.1


class Uploads:
    """Clients that upload until `stop`, whatever happens to the gateway.

    Args:
      running: the service.
      contents: encoded images, used in turn.
      secrets: a token for each client.

    Attributes:
      accepted: study -> its file.
      accepted_at: when the last one was accepted, by time.monotonic.
      interrupted: uploads without an answer.
      answers: (status, body) -> how often; 202 without its body.
    """

    def __init__(self, running: service.Service, contents: Sequence[bytes], secrets: list[str]):
        self._running, self._contents = running, contents
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self.accepted: dict[str, bytes] = {}
        self.accepted_at = 0.0
        self.interrupted = 0
        self.answers: collections.Counter[tuple[int, str]] = collections.Counter()
        self._threads = [
            threading.Thread(target=self._work, args=(number, secret))
            for number, secret in enumerate(secrets)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ends the clients."""
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def statuses(self) -> collections.Counter[int]:
        """Status -> how many uploads had it so far."""
        result: collections.Counter[int] = collections.Counter()
        with self._lock:
            for (status, _), count in self.answers.items():
                result[status] += count
        return result

    def wait_for_one(self, timeout_s: float) -> bool:
        """Whether an upload is accepted from now on, within a time."""
        start = time.monotonic()
        while self.accepted_at < start:
            if time.monotonic() > start + timeout_s:
                return False
            time.sleep(0.02)
        return True

    def _work(self, number: int, secret: str) -> None:
        client = self._running.client(secret, timeout_s=10.0)
        turn = number
        while not self._stopped.is_set():
            content = self._contents[turn % len(self._contents)]
            try:
                answer = client.request('POST', '/v1/studies', *multipart([content]))
            except (OSError, http.client.HTTPException):
                with self._lock:
                    self.interrupted += 1
            else:
                is_accepted = answer.status == 202
                text = '' if is_accepted else answer.body[:200].decode(errors='replace')
                with self._lock:
                    self.answers[answer.status, text] += 1
                    if is_accepted:
                        self.accepted[answer.json()['id']] = content
                        self.accepted_at = time.monotonic()
                        turn += 1
            self._stopped.wait(_PAUSE_S)
        client.close()


def wait_for_answers(running: service.Service, secret: str, timeout_s: float) -> list[str]:
    """Returns when no study waits; a sentence if some still do after that time."""
    client = running.client(secret)
    deadline = time.monotonic() + timeout_s
    waiting = -1
    while waiting and time.monotonic() < deadline:
        time.sleep(0.5)
        answer = client.request('GET', '/v1/worklist?state=pending&limit=1')
        waiting = answer.json()['total'] if answer.status == 200 else -1
    client.close()
    return [f'{waiting} studies still wait after {timeout_s:g} s'] if waiting else []


def compare(data: Path, accepted: dict[str, bytes], database: str = '') -> list[str]:
    """What is missing or there twice after a service ended.

    Each study must have one answer, its file as it was sent, and one entry each of its upload and
    answer in the audit log, whose chain must be whole.

    Args:
      data: the folder of the service.
      accepted: study -> the file that was uploaded.
      database: the URL of its database; '' for the one in `data`.
    """
    sessions = connection.connect(database or connection.sqlite_url(data / 'gateway.sqlite'))
    files = ImageFiles(data / 'images')
    problems = []
    with connection.reading(sessions) as session:
        entries = {
            action: collections.Counter(
                session.scalars(
                    select(tables.AuditEntry.subject).where(tables.AuditEntry.action == action)
                )
            )
            for action in ('upload', 'answer')
        }
        for id, content in accepted.items():
            study = studies.find(session, id)
            if study is None or len(study.images) != 1:
                problems.append(f'study {id} is lost')
                continue
            (image,) = study.images
            answers = [answer for answer in image.answers if answer.role == studies.STABLE]
            if study.state != tables.SCORED or len(answers) != 1:
                problems.append(f'study {id} is {study.state} and has {len(answers)} answers')
            stored = uploads.without_metadata(content, image.kind)
            if image.sha256 != studies.sha256(content) or files.read(image.id) != stored:
                problems.append(f'study {id} has another file')
        # Also of studies whose upload was interrupted before the client knew.
        count = session.scalar(select(func.count()).select_from(tables.Study))
        for action, subjects in entries.items():
            problems += [f'{n} {action}s of study {id}' for id, n in subjects.items() if n != 1]
            if len(subjects) != count:
                problems.append(f'{len(subjects)} {action}s of {count} studies in the audit log')
        problems += audit.verify(session)[2]
    sessions.kw['bind'].dispose()
    return problems
