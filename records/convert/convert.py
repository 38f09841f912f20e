"""Converts listed images to a data set on all cores, with records in a fixed order."""

from __future__ import annotations

import functools
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from records import spelling
from records.convert.pixels import Converted, to_jpeg
from records.convert.sources import Failure, Listing, Source
from records.examples import build
from records.images import ImageError
from records.layout import (
    TABLE_COLUMNS,
    ShardWriter,
    write_atomically,
    write_list,
    write_preprocessed,
    write_table,
)
from records.parallel import ordered_map
from records.terminal import printable
from schemas.problem_names import UNREADABLE_FILE

REPORT = 'convert_report.json'
# Images per task of a worker: 8 images take half a second and return 600 kB.
_CHUNK = 8


class NothingConvertedError(ValueError):
    """No image could be converted; the text gives the first reasons."""


@dataclass
class Outcome:
    """The result of a conversion. It depends only on the input, not on the number of processes.

    Attributes:
      images: the folder of images.
      kind: as in Listing.
      shards: file -> number of records.
      labels: label -> number of images.
      depths: bits per pixel of the originals -> number of images.
      patients: number of patients.
      own_patient, left_out, without_file, ignored, problems: as in Listing.
      failed: file -> why it was not converted.
      lists: split list -> number of image ids.
      notes: what the reader of DICOM files notes -> number of images.
      private: as in Listing.
    """

    images: str
    kind: str
    shards: dict[str, int] = field(default_factory=dict)
    labels: Counter[str] = field(default_factory=Counter)
    depths: Counter[int] = field(default_factory=Counter)
    patients: int = 0
    own_patient: int = 0
    left_out: int = 0
    without_file: int = 0
    ignored: dict[str, int] = field(default_factory=dict)
    failed: dict[str, Failure] = field(default_factory=dict)
    lists: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)
    private: bool = False

    @property
    def converted(self) -> int:
        """Records written."""
        return sum(self.shards.values())

    @property
    def failed_share(self) -> float:
        """Share of the images that failed, 0..1."""
        return len(self.failed) / max(1, self.converted + len(self.failed))

    def as_json(self) -> bytes:
        """The report file."""
        content = {
            'images': '' if self.private else self.images,
            'kind': self.kind,
            'converted': self.converted,
            'failed': [
                {'file': '' if self.private else file, **vars(self.failed[file])}
                for file in sorted(self.failed)
            ],
            'notes': dict(sorted(self.notes.items())),
            'failed_by_kind': dict(
                sorted(Counter(failure.kind for failure in self.failed.values()).items())
            ),
            'failed_share': round(self.failed_share, 6),
            'left_out': self.left_out,
            'ignored_files': dict(sorted(self.ignored.items())),
            'split_lists': self.lists,
            'table_rows_without_image': self.without_file,
            'table_problems': self.problems,
            'patients': self.patients,
            'images_without_known_patient': self.own_patient,
            'labels': dict(sorted(self.labels.items())),
            'bits': {str(bits): count for bits, count in sorted(self.depths.items())},
            'shards': self.shards,
        }
        return json.dumps(content, indent=2, ensure_ascii=False).encode() + b'\n'


def convert(
    listing: Listing,
    images: Path,
    out: Path,
    *,
    size: int,
    fit: str,
    shard_size: int,
    workers: int,
    advance: Callable[[int], None] = lambda _: None,
) -> Outcome:
    """Writes the data set and its report to `out`.

    Args:
      listing: the images.
      images: the folder that they are in.
      out: the folder of the data set.
      size: side of the images in the records, pixels.
      fit: see `records.convert.pixels.to_jpeg`.
      shard_size: records per file.
      workers: processes.
      advance: called with the number of images that were just finished.

    Raises:
      NothingConvertedError: no image could be converted; only the report is written.
      OSError: `out` cannot be written.
    """
    outcome = Outcome(
        printable(images),
        printable(listing.kind),
        own_patient=listing.own_patient,
        left_out=listing.left_out,
        without_file=listing.without_file,
        ignored=dict(listing.ignored),
        failed=dict(listing.failed),
        problems=list(listing.problems),
        private=listing.private,
    )
    writer = ShardWriter(out, shard_size)
    table: dict[str, list[str]] = {}
    done: list[Source] = []
    try:
        for source, result in _results(listing.sources, size, fit, workers):
            if isinstance(result, Failure):
                outcome.failed[source.path.relative_to(images).as_posix()] = result
            else:
                labels = dict.fromkeys(source.labels, 1)
                writer.write(build(result.jpeg, source.image_id, labels, source.weight))
                table[source.image_id] = _table_row(source, result)
                outcome.depths[result.bits] += 1
                outcome.labels.update(source.labels)
                outcome.notes.update(result.notes)
                done.append(source)
            advance(1)
        if done:
            outcome.shards = writer.close()
    finally:
        writer.discard()
    outcome.patients = len({spelling.patient(source.table['Patient ID']) for source in done})
    if done:
        done.sort(key=lambda source: source.image_id)
        write_preprocessed(
            out,
            (
                (_listed_path(source, images, listing.private), dict.fromkeys(source.labels, 1))
                for source in done
            ),
        )
        write_table(out, (table[source.image_id] for source in done))
        for name, image_ids in listing.lists.items():
            write_list(out, name, image_ids)
            outcome.lists[name] = len(image_ids)
    write_atomically(out / REPORT, outcome.as_json())
    if not done:
        reasons = '; '.join(
            f'{file}: {failure.reason}' for file, failure in list(outcome.failed.items())[:3]
        )
        raise NothingConvertedError(
            f'none of {len(outcome.failed)} images could be converted ({reasons}); all reasons: '
            f'{out / REPORT}'
        )
    return outcome


def _results(
    sources: list[Source], size: int, fit: str, workers: int
) -> Iterator[tuple[Source, Converted | Failure]]:
    chunks = [sources[begin : begin + _CHUNK] for begin in range(0, len(sources), _CHUNK)]
    paths = ([source.path for source in chunk] for chunk in chunks)
    results = ordered_map(
        functools.partial(convert_files, size=size, fit=fit), paths, min(workers, len(chunks))
    )
    for chunk, result in zip(chunks, results, strict=True):
        yield from zip(chunk, result, strict=True)


def convert_files(paths: list[Path], size: int, fit: str) -> list[Converted | Failure]:
    """Converts files: the image of each, as `to_jpeg` makes it, or why there is none."""
    results: list[Converted | Failure] = []
    for path in paths:
        try:
            results.append(to_jpeg(path.read_bytes(), size, fit))
        except ImageError as error:
            results.append(Failure(error.kind, str(error)))
        except OSError as error:
            results.append(
                Failure(UNREADABLE_FILE, f'it cannot be read: {error.strerror or error}')
            )
    return results


def _table_row(source: Source, result: Converted) -> list[str]:
    row = {
        'OriginalImage[Width': str(result.width),
        'Height]': str(result.height),
        **source.table,
        'Image Index': source.image_id,
    }
    return [row.get(name, '') for name in TABLE_COLUMNS]


def _listed_path(source: Source, images: Path, is_private: bool) -> str:
    """The path in the form of the Kaggle file: the original folder, and the name in the records."""
    folder = '.' if is_private else source.path.relative_to(images).parent.as_posix()
    return '/'.join(
        part for part in ('../input/data', '' if folder == '.' else folder, source.image_id) if part
    )
