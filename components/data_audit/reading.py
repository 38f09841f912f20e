"""Reads a file of raw examples and reduces each image to a small record without pixels."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import apache_beam as beam
from google.protobuf.message import DecodeError
from tensorflow.core.example import example_pb2

from components.data_audit.inspection import Inspection, decode, inspect
from components.data_audit.parameters import AuditParameters
from records import tfrecord, thumbnails
from records.images import ImageError
from records.metadata import nih_patient
from schemas.features import AGE, IMAGE, IMAGE_ID, PATIENT_ID, SEX, UNKNOWN, UNKNOWN_NUMBER, VIEW
from schemas.image_status import MAX_PIXELS, UNDECODABLE
from schemas.labels import LABELS, OTHER

# Records to read ahead for the decoding threads; they take about ten MB in a worker.
_AHEAD = 64
_THUMBNAIL_SIDE = 176
MISSING = -1  # the value of a label that the example lacks, or that is not 0 or 1


@dataclass(frozen=True)
class Shard:
    """A file of examples: its 0-based number in the audit, its split, and its path."""

    number: int
    split: str
    path: str


@dataclass(frozen=True)
class ImageRecord:
    """The values of one example that the audit uses, about 3 kB.

    Attributes:
      shard, index: 0-based numbers of the file, and of the record in it.
      image_id, patient: '' if unknown.
      age: years; -1 if unknown.
      sex, view: `unknown` if unknown.
      labels: 0, 1 or MISSING for each of LABELS.
      other: whether it has a finding that none of LABELS names.
      task: 0, 1 or MISSING, the task's label.
      size: bytes of the encoded image.
      inspection: None if the image does not decode.
      problem: the kind of issue because of which it does not decode, else ''.
      detail: the reason, with `problem`.
      features: names of all features, only in the first record of a file.
    """

    shard: int
    index: int
    image_id: str
    patient: str
    age: int
    sex: str
    view: str
    labels: tuple[int, ...]
    task: int
    size: int
    inspection: Inspection | None
    problem: str = ''
    detail: str = ''
    features: tuple[str, ...] = ()
    other: bool = False


class InspectShard(beam.DoFn):
    """Yields an ImageRecord for each record of a Shard, in order."""

    def __init__(self, parameters: AuditParameters) -> None:
        self._parameters = parameters
        self._pool: ThreadPoolExecutor | None = None

    def setup(self) -> None:
        """Starts the decoding threads, which work in parallel as decoders release the GIL."""
        threads = self._parameters.thread_count()
        self._pool = ThreadPoolExecutor(threads) if threads > 1 else None

    def teardown(self) -> None:
        """Stops the decoding threads."""
        if self._pool:
            self._pool.shutdown()

    def process(self, shard: Shard) -> Iterator[ImageRecord]:
        """Yields an ImageRecord for each record and each damaged stretch of the file."""
        # A split without examples is an empty file, which is not damaged.
        items = (
            item
            for item in tfrecord.read(shard.path)
            if not (isinstance(item, tfrecord.Damage) and item.reason == tfrecord.EMPTY)
        )
        record = partial(self._record, shard)
        yield from _ahead(self._pool, record, items) if self._pool else map(record, items)

    def _record(self, shard: Shard, item: tfrecord.Record | tfrecord.Damage) -> ImageRecord:
        if isinstance(item, tfrecord.Damage):
            return _unreadable(
                shard, item.index, f'damaged record at byte {item.offset}: {item.reason}'
            )
        try:
            features = example_pb2.Example.FromString(item.payload).features.feature
        except DecodeError:
            return _unreadable(shard, item.index, 'the record is not a tf.train.Example')
        image = _bytes(features, IMAGE) or b''
        inspection, problem, detail = None, '', ''
        try:
            inspection = inspect(image, self._parameters.max_pixels)
        except ImageError as error:
            problem, detail = error.kind, str(error)
        image_id = _text(features, IMAGE_ID)
        patient = _text(features, PATIENT_ID)
        if patient in ('', UNKNOWN):
            patient = nih_patient(image_id) or ''
        age = _int(features, AGE)
        return ImageRecord(
            shard=shard.number,
            index=item.index,
            image_id=image_id,
            patient=patient,
            age=UNKNOWN_NUMBER if age is None else age,
            sex=_text(features, SEX) or UNKNOWN,
            view=_text(features, VIEW) or UNKNOWN,
            labels=tuple(_label(features, name) for name in LABELS),
            task=_label(features, self._parameters.task_label),
            size=len(image),
            inspection=inspection,
            problem=problem,
            detail=detail,
            features=tuple(sorted(features)) if item.index == 0 else (),
            other=_label(features, OTHER) == 1,
        )


def preview(path: str, indices: Iterable[int]) -> dict[int, bytes]:
    """Makes thumbnails of some images of a file.

    Args:
      path: of the file.
      indices: 0-based numbers of the records.

    Returns:
      Record number -> JPEG of at most 176 x 176 pixels, without images that do not decode.
    """
    remaining = set(indices)
    previews = {}
    for item in tfrecord.read(path):
        if item.index in remaining:
            remaining.discard(item.index)
            data = _preview(item)
            if data:
                previews[item.index] = data
        if not remaining:
            break
    return previews


def _preview(item: tfrecord.Record | tfrecord.Damage) -> bytes:
    try:
        features = example_pb2.Example.FromString(item.payload).features.feature
        grey = decode(_bytes(features, IMAGE) or b'', MAX_PIXELS)
    except (DecodeError, ImageError):
        return b''
    return thumbnails.encode(grey, _THUMBNAIL_SIDE)


def _ahead(pool: ThreadPoolExecutor, function: Callable, items: Iterable) -> Iterator:
    """Yields `function` of each item, in order, while threads work on the next items."""
    waiting: deque[Future] = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) == _AHEAD:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _unreadable(shard: Shard, index: int, detail: str) -> ImageRecord:
    missing = (MISSING,) * len(LABELS)
    return ImageRecord(
        shard.number,
        index,
        '',
        '',
        UNKNOWN_NUMBER,
        UNKNOWN,
        UNKNOWN,
        missing,
        MISSING,
        0,
        None,
        problem=UNDECODABLE,
        detail=detail,
    )


def _bytes(features, name: str) -> bytes | None:
    values = list(features[name].bytes_list.value) if name in features else []
    return values[0] if len(values) == 1 else None


def _text(features, name: str) -> str:
    return (_bytes(features, name) or b'').decode('utf-8', 'replace')


def _int(features, name: str) -> int | None:
    values = list(features[name].int64_list.value) if name in features else []
    return values[0] if len(values) == 1 else None


def _label(features, name: str) -> int:
    value = _int(features, name)
    return value if value in (0, 1) else MISSING
