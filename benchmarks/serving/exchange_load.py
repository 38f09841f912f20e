"""What `benchmarks.serving.exchange` does to a gateway and an archive, and what comes of it."""

from __future__ import annotations

import collections
import contextlib
import io
import os
import random
import signal
import sqlite3
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import requests
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.dimse_primitives import C_STORE

from benchmarks.serving import dicom_files, images, mutations, orthanc, service

_TITLE = 'CXRTRIAGE'
_SEED = 7
_PATIENCE_S = 900.0
_LOOK_S = 0.2


@dataclass
class Result:
    """What came of it.

    Attributes:
      acknowledged: SOP Instance UID -> Study Instance UID, of images with the status 0.
      interrupted: images without a status.
      store_ms: of an image to the archive alone, the reference; p50.
      accept_ms: of an image to the gateway; p50.
      report_ms: from the arrival of an image until the archive has accepted its report; p50.
      fuzz: status -> how many mutated files got it.
      peak_mb: the most memory of the gateway.
      problems: a sentence for each thing that went wrong.
    """

    acknowledged: dict[str, str] = field(default_factory=dict)
    interrupted: int = 0
    store_ms: float = 0.0
    accept_ms: float = 0.0
    report_ms: float = 0.0
    fuzz: collections.Counter = field(default_factory=collections.Counter)
    peak_mb: float = 0.0
    problems: list[str] = field(default_factory=list)


class Sender:
    """Sends images as new studies, and notes what is acknowledged."""

    def __init__(self, port: int, pixels: list[np.ndarray], result: Result):
        self.port, self._pixels, self.result = port, pixels, result
        self._numbers = random.Random(_SEED)
        self._lock = threading.Lock()

    def dataset(self, study: str = '') -> pydicom.Dataset:
        """An image of a new study, or of `study`."""
        with self._lock:
            pixels = self._numbers.choice(self._pixels)
        return pydicom.dcmread(io.BytesIO(dicom_files.content(pixels, study)))

    def has_new(self) -> Callable[[], bool]:
        """Tells whether an image was acknowledged after this call."""
        before = len(self.result.acknowledged)
        return lambda: len(self.result.acknowledged) > before

    def send(self, *datasets: pydicom.Dataset) -> int:
        """Sends images in one association; returns how many were acknowledged."""
        accepted = 0
        association = _associate(self.port)
        for dataset in datasets:
            status = None
            if association.is_established:
                with contextlib.suppress(RuntimeError):
                    status = association.send_c_store(dataset).get('Status')
            with self._lock:
                if status == 0:
                    accepted += 1
                    self.result.acknowledged[dataset.SOPInstanceUID] = dataset.StudyInstanceUID
                elif status is None:
                    self.result.interrupted += 1
                else:
                    self.result.problems.append(f'an image was refused: 0x{status:04X}')
        if association.is_established:
            association.release()
        return accepted


def _associate(port: int, title: str = _TITLE) -> Any:
    entity = AE('MODALITY')
    # Of 50 at once, the last waits for all others, on a busy machine for more than half a minute.
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = _PATIENCE_S
    entity.add_requested_context(dicom_files.SOP_CLASS, ExplicitVRLittleEndian)
    return entity.associate('127.0.0.1', port, ae_title=title)


def latency(sender: Sender, archive: orthanc.Archive, data: Path, count: int) -> None:
    """One image after another, to the archive alone and to the gateway."""
    direct: list[float] = []
    gateway: list[float] = []
    for _ in range(count):
        for port, title, times in (
            (archive.dicom_port, orthanc.TITLE, direct),
            (sender.port, _TITLE, gateway),
        ):
            dataset = sender.dataset()
            association = _associate(port, title)
            start = time.perf_counter()
            status = association.send_c_store(dataset).get('Status')
            times.append(1e3 * (time.perf_counter() - start))
            association.release()
            if status != 0:
                sender.result.problems.append(f'{title} refused an image: {status}')
            elif title == _TITLE:
                sender.result.acknowledged[dataset.SOPInstanceUID] = dataset.StudyInstanceUID
    if not count:
        return
    sender.result.store_ms = statistics.median(direct)
    sender.result.accept_ms = statistics.median(gateway)
    wait(lambda: is_reported(data))
    query = (
        'SELECT (julianday(report.sent_at) - julianday(study.arrived_at)) * 86400e3 FROM report '
        'JOIN study ON study.number = report.study_number WHERE report.sent_at IS NOT NULL'
    )
    if taken := [row[0] for row in rows(data, query)]:
        sender.result.report_ms = statistics.median(taken)


def associations(sender: Sender, count: int) -> None:
    """Many at the same time, each with two images of a study."""
    if not count:
        return
    with ThreadPoolExecutor(count) as pool:
        for accepted in pool.map(lambda _: _two_of_a_study(sender), range(count)):
            if accepted != 2:
                sender.result.problems.append(f'an association had {accepted} of 2 images accepted')


def _two_of_a_study(sender: Sender) -> int:
    first = sender.dataset()
    return sender.send(first, sender.dataset(first.StudyInstanceUID))


def kills(sender: Sender, gateway: service.Service, count: int) -> None:
    """Kills the gateway (SIGKILL) while images arrive."""
    ended = threading.Event()

    def load() -> None:
        while not ended.is_set():
            if not sender.send(sender.dataset()):
                time.sleep(_LOOK_S)

    if not count:
        return
    numbers = random.Random(_SEED)
    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(count):
        time.sleep(numbers.uniform(0.5, 2.0))
        os.kill(gateway.pid, signal.SIGKILL)
        gateway.kill()
        gateway.start()
        wait(sender.has_new())
    ended.set()
    for thread in threads:
        thread.join()


def outage(sender: Sender, archive: orthanc.Archive, seconds: float) -> None:
    """Images arrive while the archive is down."""
    archive.stop()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        sender.send(sender.dataset())
        time.sleep(min(1.0, seconds / 10))
    archive.start()


def fuzz(sender: Sender, gateway: service.Service, contents: Sequence[bytes], count: int) -> None:
    """Mutated DICOM files, by C-STORE and by STOW-RS in turn."""
    numbers = random.Random(_SEED)
    originals = [images.pixels(content) for content in contents]
    for number in range(count):
        change = numbers.choice(mutations.CHANGES)
        # With new UIDs each time: an image that is known would not be looked at.
        mutated = change(dicom_files.content(numbers.choice(originals)), numbers)
        status = (_stow if number % 2 else _store)(gateway, sender.port, mutated)
        sender.result.fuzz[status] += 1
        if not gateway.is_running:
            sender.result.problems.append(f'the gateway ended after {change.__name__}')
            return


def _store(gateway: service.Service, port: int, content: bytes) -> str:
    """Sends the bytes behind the meta information as they are."""
    del gateway
    association = _associate(port)
    if not association.is_established:
        return 'C-STORE: no association'
    request = C_STORE()
    request.MessageID, request.Priority = 1, 0
    request.AffectedSOPClassUID = dicom_files.SOP_CLASS
    request.AffectedSOPInstanceUID = pydicom.uid.generate_uid()
    start = content.find(b'\x08\x00\x16\x00')
    request.DataSet = io.BytesIO(content[max(start, 0) :])
    (context,) = association.accepted_contexts
    # As pynetdicom itself: otherwise its thread would take the answer.
    association._reactor_checkpoint.clear()
    association.dimse.send_msg(request, context.context_id)
    _, answer = association.dimse.get_msg(block=True)
    association._reactor_checkpoint.set()
    association.release()
    return f'C-STORE: 0x{answer.Status:04X}' if answer is not None else 'C-STORE: no status'


def _stow(gateway: service.Service, port: int, content: bytes) -> str:
    del port
    body = b'--cut\r\nContent-Type: application/dicom\r\n\r\n' + content + b'\r\n--cut--\r\n'
    headers = {'Content-Type': 'multipart/related; type="application/dicom"; boundary=cut'}
    while True:
        answer = requests.post(
            f'{gateway.url}/dicom-web/studies', body, headers=headers, timeout=60
        )
        if answer.status_code != 429:
            return f'STOW-RS: {answer.status_code}'
        time.sleep(_LOOK_S)


def is_reported(data: Path) -> bool:
    """Whether all studies are scored, and the archive has accepted the reports about them."""
    waiting = "SELECT 1 FROM study WHERE state = 'pending'"
    return not rows(data, waiting) and not rows(data, 'SELECT 1 FROM report WHERE sent_at IS NULL')


def rows(data: Path, query: str) -> list[tuple]:
    """The answer of the gateway's database, also while the gateway is not there."""
    with contextlib.closing(sqlite3.connect(data / 'gateway.sqlite', timeout=60)) as database:
        return database.execute(query).fetchall()


def wait(condition: Callable[[], Any]) -> bool:
    """Waits for a condition; returns whether it came true."""
    deadline = time.monotonic() + _PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_LOOK_S)
    return True
