"""Writes a data set of synthetic X-rays in the layout of the NIH TFRecords, on all cores."""

from __future__ import annotations

import csv
import errno
import gzip
import io
import multiprocessing
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from records import examples, layout
from records.origin import TRUTH_NAME
from records.parallel import default_workers
from records.synth import population, rendering
from records.synth.population import LabelledStudy
from schemas.labels import LABELS, NO_FINDING

PER_SHARD = 122  # records per file, as in the sample of NIH records that the layout follows
LABEL_NOISE = 0.03
_SIDE_MILLIMETRES = 420  # side of the square area that an image shows
_TEST_PERCENT = 23  # share of the official NIH test list
_CHUNK = 4  # images that a worker gets at a time
_MIN_COUNT_FOR_WORKERS = 24  # with fewer, starting processes takes longer than drawing


class SynthError(ValueError):
    """A data set that cannot be written; the text says what was expected and what to do."""


@dataclass(frozen=True)
class SynthSummary:
    """A summary of the data set that `write_dataset` wrote.

    Attributes:
      out: the data root.
      files: the record files, in order.
      records: number of records.
      patients: number of patients.
      label_counts: records with each of LABELS, as labelled.
      views: records of each view.
      mislabelled: records whose label is deliberately wrong.
      image_bytes: bytes of all JPEGs together.
      seconds: wall-clock time.
    """

    out: Path
    files: tuple[Path, ...]
    records: int
    patients: int
    label_counts: dict[str, int]
    views: dict[str, int]
    mislabelled: int
    image_bytes: int
    seconds: float


def write_dataset(
    out: Path,
    count: int,
    seed: int = 0,
    *,
    per_shard: int = PER_SHARD,
    size: int = 600,
    label_noise: float = LABEL_NOISE,
    prevalence: Mapping[str, float] | None = None,
    first_patient: int = 1,
    workers: int | None = None,
    overwrite: bool = False,
    on_progress: Callable[[int], None] | None = None,
    jpeg: Callable[[LabelledStudy], bytes] | None = None,
) -> SynthSummary:
    """Draws `count` X-rays and writes them under `out` in the NIH layout.

    The same arguments give the same bytes, whatever `workers` is; a record does not depend on
    `count` or `per_shard` either.

    Args:
      out: the data root; gets `data/`, `metadata/` and `preprocessed_data.csv`.
      count: records to write, at least 1.
      seed: selects the population (patients, anatomy, findings); at least 0.
      per_shard: records per file.
      size: side of the images, pixels.
      label_noise: share of the records that get a wrong label, 0..1.
      prevalence: share of the images with each finding, instead of that of the NIH images; see
        `population.shares`.
      first_patient: number of the first patient; a higher number for a later span gives it new
        patients.
      workers: processes; None for one per core. With more than one, the calling script needs the
        usual `if __name__ == '__main__'`.
      overwrite: replace an earlier synthetic data set in `out`. Other records are never replaced.
      on_progress: called with the number of records written so far.
      jpeg: replaces the function that draws an image; workers call it, so it must be picklable.

    Raises:
      SynthError: an argument is out of range, `out` has records already, or it is not writable.
      OSError: writing fails, for example on a full disk; no half-written file remains.
    """
    started = time.monotonic()
    _check(
        count=count,
        seed=seed,
        per_shard=per_shard,
        size=size,
        label_noise=label_noise,
        first_patient=first_patient,
        workers=workers,
    )
    try:
        studies = population.draw(count, seed, label_noise, prevalence, first_patient)
    except ValueError as error:
        raise SynthError(str(error)) from None
    if studies[-1].study.patient > 99_999_999:
        raise SynthError(
            f'first_patient is {first_patient}: the last patient would have more than the 8 '
            'digits of an NIH image id'
        )
    out = Path(out)
    _make_room(out, overwrite)
    # Written first: it marks the files of an interrupted run as synthetic.
    layout.write_atomically(out / 'metadata' / TRUTH_NAME, _truth(studies))
    with _rendered(
        studies, jpeg or partial(_jpeg, seed=seed, size=size), _processes(workers, count)
    ) as images:
        files, image_bytes = _write_shards(out, studies, images, per_shard, on_progress)
    _write_tables(out, studies, size, seed)
    counts = Counter(name for study in studies for name in study.findings or (NO_FINDING,))
    return SynthSummary(
        out=out,
        files=tuple(files),
        records=len(studies),
        patients=len({study.study.patient for study in studies}),
        label_counts={name: counts[name] for name in LABELS},
        views=dict(Counter(study.study.view for study in studies)),
        mislabelled=sum(study.mislabelled for study in studies),
        image_bytes=image_bytes,
        seconds=time.monotonic() - started,
    )


def _check(
    *,
    count: int,
    seed: int,
    per_shard: int,
    size: int,
    label_noise: float,
    first_patient: int,
    workers: int | None,
) -> None:
    for name, value, least in (
        ('count', count, 1),
        ('seed', seed, 0),
        ('per_shard', per_shard, 1),
        ('size', size, rendering.SMALLEST),
        ('first_patient', first_patient, 1),
        ('workers', 1 if workers is None else workers, 1),
    ):
        if value < least:
            raise SynthError(f'{name} is {value}: expected a whole number of at least {least}')
    if not 0 <= label_noise <= 1:
        raise SynthError(f'label_noise is {label_noise}: expected a share from 0 to 1')


def _make_room(out: Path, overwrite: bool) -> None:
    """Makes the folders; with `overwrite`, removes the records of an earlier synthetic data set."""
    data, truth = out / layout.DATA_FOLDER, out / 'metadata' / TRUTH_NAME
    present = sorted(
        path for folder in (out, data) if folder.is_dir() for path in folder.glob('*.tfrec*')
    )
    if present and not overwrite:
        raise SynthError(
            f'{out} already has {len(present)} record files (first: {present[0]}): choose another '
            'folder, or use --overwrite'
        )
    if present and not truth.is_file():
        raise SynthError(
            f'{out} has record files that synth did not write ({truth} is missing) and does not '
            'overwrite: choose another folder'
        )
    try:
        for folder in (data, truth.parent):
            folder.mkdir(parents=True, exist_ok=True)
            if not os.access(folder, os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))
        for path in present:
            path.unlink()
    except OSError as error:
        raise SynthError(
            f'{out} is not writable ({error.strerror}: {error.filename}): choose another folder'
        ) from None


def _processes(workers: int | None, count: int) -> int:
    if count < _MIN_COUNT_FOR_WORKERS:
        return 1
    if workers is not None:
        return workers
    return default_workers()


@contextmanager
def _rendered(
    studies: list[LabelledStudy], work: Callable[[LabelledStudy], bytes], processes: int
) -> Iterator[Iterator[bytes]]:
    """Yields an iterator over the JPEGs of the studies, in order."""
    if processes == 1:
        yield map(work, studies)
        return
    # `spawn`, because TensorFlow's threads in the parent do not survive a fork.
    with multiprocessing.get_context('spawn').Pool(processes) as pool:
        yield pool.imap(work, studies, chunksize=_CHUNK)


def _jpeg(study: LabelledStudy, seed: int, size: int) -> bytes:
    return rendering.encode_jpeg(rendering.render(study.study, seed, size))


def _write_shards(
    out: Path,
    studies: list[LabelledStudy],
    images: Iterator[bytes],
    per_shard: int,
    on_progress: Callable[[int], None] | None,
) -> tuple[list[Path], int]:
    """Writes the record files; returns their paths, in order, and the bytes of all JPEGs."""
    image_bytes = 0
    writer = layout.ShardWriter(out, per_shard)
    try:
        for count, (study, image) in enumerate(zip(studies, images, strict=True), start=1):
            image_bytes += len(image)
            labels = dict.fromkeys(study.findings or (NO_FINDING,), 1)
            writer.write(examples.build(image, study.image_id, labels))
            if on_progress:
                on_progress(count)
        names = writer.close()
    finally:
        writer.discard()
    return [out / layout.DATA_FOLDER / name for name in names], image_bytes


def _write_tables(out: Path, studies: list[LabelledStudy], size: int, seed: int) -> None:
    spacing = round(_SIDE_MILLIMETRES / size, 3)
    rows = (
        (
            study.image_id,
            '|'.join(study.findings) or NO_FINDING,
            study.study.number,
            study.study.patient,
            study.study.age,
            study.study.sex,
            study.study.view,
            size,
            size,
            spacing,
            spacing,
        )
        for study in studies
    )
    layout.write_table(out, rows)
    for name, is_test in zip(layout.LISTS, (False, True), strict=True):
        image_ids = (
            study.image_id for study in studies if _in_test(study.study.patient, seed) == is_test
        )
        layout.write_list(out, name, image_ids)
    labels = (
        (
            f'../input/data/images_001/images/{study.image_id}',
            dict.fromkeys(study.findings or (NO_FINDING,), 1),
        )
        for study in studies
    )
    layout.write_preprocessed(out, labels)


def _in_test(patient: int, seed: int) -> bool:
    """Whether the patient is in the test list: a fixed pseudo-random share of the patients."""
    return (patient * 2_654_435_761 + seed * 40_503) % 2**32 * 100 >> 32 < _TEST_PERCENT


def _truth(studies: list[LabelledStudy]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    writer.writerow(('Image Index', 'Drawn', 'Labelled'))
    writer.writerows(
        (
            study.image_id,
            '|'.join(study.study.findings) or NO_FINDING,
            '|'.join(study.findings) or NO_FINDING,
        )
        for study in studies
    )
    return gzip.compress(text.getvalue().encode(), mtime=0)
