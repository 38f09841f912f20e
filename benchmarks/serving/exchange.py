"""The exchange with an archive: gateway and Orthanc under load, kills, an outage and fuzzing.

    python -m benchmarks.serving.exchange ROOT [--count 200] [--associations 50] [--kills 20]
                                               [--down-s 300] [--fuzz 2000] [--images DIR]

Images are sent by C-STORE; the reports go to an Orthanc on this machine. At the end, each image
that was acknowledged must be in a study, and each study must have one report in the archive.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import io
import json
import os
import random
import signal
import sqlite3
import statistics
import sys
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
from rich.console import Console
from rich.table import Table

from benchmarks import scale
from benchmarks.serving import dicom_files, images, mutations, orthanc, service, versions
from serving.pacs import origin

FIGURES = 'serving-exchange.json'
_TITLE = 'CXRTRIAGE'
_SEED = 7
_PATIENCE_S = 900.0
_LOOK_S = 0.2


@dataclass
class Counts:
    """How much of everything.

    Attributes:
      latency: images sent one after another.
      associations: at the same time, two images each.
      kills: of the gateway under load.
      down_s: how long the archive is down.
      fuzz: mutated files, half by C-STORE and half by STOW-RS.
    """

    latency: int = 200
    associations: int = 50
    kills: int = 20
    down_s: float = 300.0
    fuzz: int = 2000


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


def main(argv: Sequence[str] | None = None) -> int:
    """Runs everything, prints, and returns 1 if anything went wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    versions.add_arguments(parser)
    images.add_argument(parser)
    default = Counts()
    parser.add_argument('--count', type=int, default=default.latency)
    parser.add_argument('--associations', type=int, default=default.associations)
    parser.add_argument('--kills', type=int, default=default.kills)
    parser.add_argument('--down-s', type=float, default=default.down_s)
    parser.add_argument('--fuzz', type=int, default=default.fuzz)
    parser.add_argument('--scratch', type=Path, default=scale.SCRATCH, help='for the figures')
    args = parser.parse_args(argv)
    scratch = service.new_folder(args.scratch / 'serving-exchange')
    root = versions.from_arguments(args, scratch / 'root')
    counts = Counts(args.count, args.associations, args.kills, args.down_s, args.fuzz)
    result = run(root, scratch / 'service', images.load(args.images), counts)
    figures = {**vars(result), 'acknowledged': len(result.acknowledged)}
    (args.scratch / FIGURES).write_text(json.dumps(figures, indent=1))
    Console(width=100).print(table(result))
    for problem in result.problems:
        print(problem)
    return 1 if result.problems else 0


def run(root: Path, data: Path, contents: Sequence[bytes], counts: Counts) -> Result:
    """Runs everything against one gateway and one archive.

    Args:
      root: of `versions`.
      data: the folder of the service, which must be new.
      contents: encoded images, used in turn.
      counts: how much.

    Raises:
      orthanc.MissingError: Orthanc is not installed.
    """
    result = Result()
    pixels = [images.pixels(content) for content in contents]
    (port,) = orthanc.free_ports(1)
    with orthanc.running() as archive:
        options = ['--dicom-port', str(port), '--report-to', archive.dicom_url]
        with service.serving(root, data, *options, '--report-after', '0') as gateway:
            sender = _Sender(port, pixels, result)
            _latency(sender, archive, data, counts.latency)
            _associations(sender, counts.associations)
            _kills(sender, gateway, counts.kills)
            _outage(sender, archive, counts.down_s)
            _fuzz(sender, gateway, contents, counts.fuzz)
            _wait_for_reports(data, archive, result)
            result.peak_mb = gateway.peak_bytes() / 1e6
    return result


class _Sender:
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
    entity.add_requested_context(dicom_files.SOP_CLASS, ExplicitVRLittleEndian)
    return entity.associate('127.0.0.1', port, ae_title=title)


def _latency(sender: _Sender, archive: orthanc.Archive, data: Path, count: int) -> None:
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
    _wait(
        lambda: not _rows(data, 'SELECT 1 FROM report WHERE sent_at IS NULL') and _is_scored(data)
    )
    query = (
        'SELECT (julianday(report.sent_at) - julianday(study.arrived_at)) * 86400e3 FROM report '
        'JOIN study ON study.number = report.study_number WHERE report.sent_at IS NOT NULL'
    )
    if taken := [row[0] for row in _rows(data, query)]:
        sender.result.report_ms = statistics.median(taken)


def _associations(sender: _Sender, count: int) -> None:
    """Many at the same time, each with two images of a study."""
    if not count:
        return
    with ThreadPoolExecutor(count) as pool:
        for accepted in pool.map(lambda _: _two_of_a_study(sender), range(count)):
            if accepted != 2:
                sender.result.problems.append(f'an association had {accepted} of 2 images accepted')


def _two_of_a_study(sender: _Sender) -> int:
    first = sender.dataset()
    return sender.send(first, sender.dataset(first.StudyInstanceUID))


def _kills(sender: _Sender, gateway: service.Service, count: int) -> None:
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
        _wait(sender.has_new())
    ended.set()
    for thread in threads:
        thread.join()


def _outage(sender: _Sender, archive: orthanc.Archive, seconds: float) -> None:
    """Images arrive while the archive is down."""
    archive.stop()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        sender.send(sender.dataset())
        time.sleep(min(1.0, seconds / 10))
    archive.start()


def _fuzz(sender: _Sender, gateway: service.Service, contents: Sequence[bytes], count: int) -> None:
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


def _wait_for_reports(data: Path, archive: orthanc.Archive, result: Result) -> None:
    """Waits until all is sent, and compares the archive and the database with what was sent."""
    if not _wait(
        lambda: _is_scored(data) and not _rows(data, 'SELECT 1 FROM report WHERE sent_at IS NULL')
    ):
        result.problems.append('studies or reports still wait')
    stored = {row[0] for row in _rows(data, 'SELECT dicom_key FROM image')}
    lost = [uid for uid in result.acknowledged if origin.key(uid) not in stored]
    result.problems += [f'{len(lost)} acknowledged images are lost'] if lost else []
    expected = collections.Counter(
        row[0]
        for row in _rows(
            data,
            'SELECT study.dicom_key FROM report JOIN study ON study.number = report.study_number',
        )
    )
    archived = collections.Counter(
        origin.key(row['0020000D']['Value'][0]) for row in archive.reports()
    )
    missing = sum(1 for uid in set(result.acknowledged.values()) if not archived[origin.key(uid)])
    result.problems += [f'{missing} studies have no report in the archive'] if missing else []
    if archived != expected:
        result.problems.append(
            f'the archive has {sum(archived.values())} reports: expected {sum(expected.values())}'
        )
    for status in ('C-STORE: no status', 'C-STORE: 0x0110', 'STOW-RS: 500'):
        if count := result.fuzz[status]:
            result.problems.append(f'{count} mutated files got {status}')


def _is_scored(data: Path) -> bool:
    return not _rows(data, "SELECT 1 FROM study WHERE state = 'pending'")


def _rows(data: Path, query: str) -> list[tuple]:
    with contextlib.closing(sqlite3.connect(data / 'gateway.sqlite', timeout=60)) as database:
        return database.execute(query).fetchall()


def _wait(condition: Callable[[], Any]) -> bool:
    deadline = time.monotonic() + _PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_LOOK_S)
    return True


def table(result: Result) -> Table:
    """A table of what came of it."""
    rows = Table(box=None, pad_edge=False, show_header=False)
    rows.add_row('images acknowledged', f'{len(result.acknowledged):,}')
    rows.add_row('images without a status (killed)', f'{result.interrupted:,}')
    if result.store_ms:
        rows.add_row('C-STORE to the archive alone, p50 (reference)', f'{result.store_ms:.0f} ms')
        ratio = result.accept_ms / result.store_ms
        rows.add_row('C-STORE to the gateway, p50', f'{result.accept_ms:.0f} ms ({ratio:.1f}×)')
        ratio = result.report_ms / result.store_ms
        rows.add_row('receipt to report, p50', f'{result.report_ms:.0f} ms ({ratio:.1f}×)')
    for status, count in sorted(result.fuzz.items()):
        rows.add_row(f'mutated files, {status}', f'{count:,}')
    rows.add_row('memory of the gateway, most', f'{result.peak_mb:.0f} MB')
    rows.add_row('problems', str(len(result.problems)))
    return rows


if __name__ == '__main__':
    sys.exit(main())
