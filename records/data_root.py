"""The files of a data root, their spans, and a fingerprint that changes when they do."""

from __future__ import annotations

import dataclasses
import fnmatch
import functools
import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

import storage
from records import walking
from records.terminal import printable

# The usual suffixes, plain and gzip; `**` stands for any depth.
DEFAULT_PATTERNS: tuple[str, ...] = (
    '**/*.tfrec',
    '**/*.tfrec.gz',
    '**/*.tfrecord',
    '**/*.tfrecord.gz',
    '**/*.tfrecords',
    '**/*.tfrecords.gz',
    '**/*.tfrecord-*-of-*',
)
_SPAN = re.compile(r'(?:^|/)span-(\d+)/')
_FINGERPRINT = re.compile(r'(\d+)-files-(\d+)-bytes-[0-9a-f]{64}')
_SHOWN = 10
# Files that usually come with the records; it is fine if a run does not read them.
_USUAL_FILES = (
    *('preprocessed_data.csv', 'convert_report.json', 'synthetic_truth.csv.gz'),
    *('collected.csv', 'collect_report.json'),
    *('train_val_list.txt', 'train_val_list.txt.gz', 'test_list.txt', 'test_list.txt.gz'),
)


class DataRootError(ValueError):
    """A data root that cannot be used; the text says what was expected, where, and what to do."""


@dataclass(frozen=True)
class DataFile:
    """A TFRecord file.

    Attributes:
      name: relative to the root, with forward slashes.
      span: 0 without a `span-N` folder.
      size: bytes.
      modified_ns: time of the last change.
    """

    name: str
    span: int
    size: int
    modified_ns: int


@dataclass(frozen=True)
class DataRoot:
    """The content of a data root.

    Attributes:
      path: the data root.
      files: the TFRecord files of all spans, sorted by name.
      others: names of all other regular files.
      hidden: number of files and folders whose names begin with a dot; they are not read.
      repeated: further names (links) of files that are listed under another name.
      special: names of entries that are not regular files.
    """

    path: str
    files: tuple[DataFile, ...]
    others: tuple[str, ...]
    hidden: int = 0
    repeated: tuple[str, ...] = ()
    special: tuple[str, ...] = ()

    def of_spans(self, spans: Literal['all', 'latest'] | list[int]) -> list[DataFile]:
        """The TFRecord files of `spans`: 'all', 'latest' or a list of numbers.

        Raises:
          DataRootError: the list is empty, or a span in it has no files.
        """
        numbers = _span_numbers(self.path, spans, sorted({file.span for file in self.files}))
        return [file for file in self.files if file.span in numbers]

    def ignored(self, used: Collection[str] = ()) -> Counter[str]:
        """Counts the files that are not read, by type.

        Left out are record files, files in `used`, and files that usually come with records.
        """
        counts = walking.count_types(
            name
            for name in self.others
            if name not in used and os.path.basename(name) not in _USUAL_FILES
        )
        rest = (
            ('hidden', self.hidden),
            ('links to other files here', len(self.repeated)),
            ('not regular files', len(self.special)),
        )
        counts.update({kind: count for kind, count in rest if count})
        return counts


def scan(root: str, patterns: tuple[str, ...] = DEFAULT_PATTERNS) -> DataRoot:
    """Lists what is under `root`. Files that match `patterns` are TFRecord files.

    Case does not matter. Files under a folder `span-N/` belong to span N, all others to span 0.

    Raises:
      DataRootError: the root is missing, no file matches, or a match is not a regular file.
      OSError: a folder cannot be listed.
    """
    _check_root(root)
    walk = _remote_walk(root, patterns) if storage.is_remote(root) else walking.walk(root)
    for name, what in walk.special.items():
        if _matches(name, patterns):
            raise DataRootError(
                f'{printable(os.path.join(root, name))}: {what}, expected a regular file. Restore '
                'it, or move it away.'
            )
    files, others = [], []
    for file in walk.files:
        if _matches(file.name, patterns):
            files.append(DataFile(file.name, _span(file.name), file.size, file.modified_ns))
        else:
            others.append(file.name)
    data_root = DataRoot(
        root, tuple(files), tuple(others), walk.hidden, tuple(walk.repeated), tuple(walk.special)
    )
    if not files:
        listing = walking.format_counts(data_root.ignored()) or 'nothing'
        raise DataRootError(
            f'{root}: no file matches {", ".join(patterns)}; the folder has {listing}. Expected '
            'TFRecords in the NIH layout (NNN-COUNT.tfrec): `cxr-triage convert` makes them from '
            'images, `cxr-triage synth` draws synthetic ones.'
        )
    return data_root


def find_files(
    root: str,
    patterns: tuple[str, ...] = DEFAULT_PATTERNS,
    spans: Literal['all', 'latest'] | list[int] = 'all',
) -> list[DataFile]:
    """The TFRecord files of `spans` under `root`, in a fixed order.

    Raises:
      DataRootError, OSError: as `scan` and `DataRoot.of_spans`.
    """
    return scan(root, patterns).of_spans(spans)


def fingerprint(root: str, files: list[DataFile], extra: tuple[str, ...] = ()) -> str:
    """The fingerprint of the data, which is the cache key of ingestion.

    It has the number of `files`, their bytes, and a SHA-256 over the names, sizes and times of
    `files` and of the side files `extra` (full paths).

    Example:
        >>> fingerprint('/data', find_files('/data'))
        '16-files-136871903-bytes-5d41...'
    """
    rows = [[file.name, file.size, file.modified_ns] for file in files]
    rows += [[path, *dataclasses.astuple(storage.stat(path))] for path in extra]
    digest = hashlib.sha256(json.dumps([root, rows]).encode()).hexdigest()
    return f'{len(files)}-files-{sum(file.size for file in files)}-bytes-{digest}'


def check_unchanged(
    root: str, files: list[DataFile], extra: tuple[str, ...], expected: str
) -> None:
    """Checks that the data still has its fingerprint. A fingerprint set by hand is not compared.

    Args:
      root, files, extra: as for `fingerprint`, as they are now.
      expected: the fingerprint taken when the run started.

    Raises:
      DataRootError: a file was added, removed or changed since then.
      OSError: a side file is missing.
    """
    then, now = _FINGERPRINT.fullmatch(expected), fingerprint(root, files, extra)
    if then is None or now == expected:
        return
    names = ', '.join(printable(file.name) for file in files[:_SHOWN])
    more = f' and {len(files) - _SHOWN} more' if len(files) > _SHOWN else ''
    side = f'; side files: {", ".join(extra)}' if extra else ''
    raise DataRootError(
        f'{root}: the data changed after the run started. It had {then[1]} record files of '
        f'{then[2]} bytes then, and has {len(files)} of {sum(file.size for file in files)} bytes '
        f'now: {names}{more}{side}. The run kept nothing of it. Wait until no other program writes '
        'there, then run the same command again.'
    )


def _span_numbers(
    root: str, spans: Literal['all', 'latest'] | list[int], present: list[int]
) -> set[int]:
    if spans == 'all':
        return set(present)
    if spans == 'latest':
        return {present[-1]}
    if not spans:
        raise DataRootError(
            f'{root}: the list of spans is empty; the data root has spans {present}. List some of '
            'them, or use all or latest.'
        )
    missing = sorted(set(spans).difference(present))
    if missing:
        raise DataRootError(
            f'{root}: no files for span {missing}; the data root has spans {present}. Expected '
            'them under span-N/.'
        )
    return set(spans)


def _span(name: str) -> int:
    match = _SPAN.search(name)
    return int(match.group(1)) if match else 0


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    if not patterns or any(part.startswith('.') for part in name.split('/')):
        return False
    return bool(
        _expression(patterns).match('/' + name.lower()) or _expression(patterns).match(name.lower())
    )


@functools.lru_cache
def _expression(patterns: tuple[str, ...]) -> re.Pattern[str]:
    # fnmatch's `*` matches slashes too, so only `**/x` without a folder is missing: `_matches` puts
    # a slash before the name.
    return re.compile('|'.join(fnmatch.translate(pattern.lower()) for pattern in patterns))


def _check_root(root: str) -> None:
    try:
        root.encode()
    except UnicodeEncodeError:
        # Artifacts and the metadata store keep the path as UTF-8.
        raise DataRootError(
            f'{printable(root)}: the path is not UTF-8. Rename the folder.'
        ) from None
    if not storage.is_dir(root):
        raise DataRootError(
            f'{root}: not a directory. Give the folder that holds the *.tfrec files with '
            '--data-root.'
        )


def _remote_walk(root: str, patterns: tuple[str, ...]) -> walking.Walk:
    walk = walking.Walk()
    for name in storage.files(root):
        if any(part.startswith('.') for part in name.split('/')):
            walk.hidden += 1
        elif _matches(name, patterns):
            status = storage.stat(storage.join(root, name))
            walk.files.append(walking.File(name, status.size, status.modified_ns))
        else:
            # Only the sizes of record files are used, and each one costs a request.
            walk.files.append(walking.File(name, 0, 0))
    return walk
