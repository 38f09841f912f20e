"""The files of a data root: which there are, which spans they belong to, and a fingerprint that changes when they do."""

from __future__ import annotations

import fnmatch
import hashlib
import json
import os
import re
from dataclasses import dataclass
from typing import Literal

# Both spellings of the Kaggle set and its zipped form; `**` stands for any depth.
DEFAULT_PATTERNS: tuple[str, ...] = ('**/*.tfrec', '**/*.tfrec.gz', '**/*.tfrecord', '**/*.tfrecord.gz')
_SPAN = re.compile(r'(?:^|/)span-(\d+)/')


class DataRootError(ValueError):
    """A data root that cannot be used; the text says what was looked for, where, and what to do."""


@dataclass(frozen=True)
class DataFile:
    """A TFRecord file: `name` relative to the root with forward slashes, its span (0 without a `span-N` folder), size, time."""

    name: str
    span: int
    size: int
    modified_ns: int


def find_files(
    root: str, patterns: tuple[str, ...] = DEFAULT_PATTERNS, spans: Literal['all', 'latest'] | list[int] = 'all'
) -> list[DataFile]:
    """Lists the TFRecord files under `root` in a fixed order.

    Spans: files under a folder `span-N/` belong to span N, all others to span 0. `spans` is 'all', 'latest' or a list of numbers.

    Raises:
      DataRootError: the root is missing, no file fits, no span is named, or a named one holds no files.
    """
    if not _is_dir(root):
        raise DataRootError(f'{root}: not a directory. Give the folder that holds the *.tfrec files with --data-root.')
    every = [(name, size, modified) for name, size, modified in _walk(root) if _fits(name, patterns)]
    if not every:
        raise DataRootError(
            f'{root}: no file fits {", ".join(patterns)}. Expected TFRecords in the NIH layout (NNN-COUNT.tfrec); '
            '`cxr-triage convert` makes them from images, `cxr-triage synth` draws some.'
        )
    files = sorted((DataFile(name, _span(name), size, modified) for name, size, modified in every), key=lambda file: file.name)
    there = sorted({file.span for file in files})
    wanted = _wanted(root, spans, there)
    return [file for file in files if file.span in wanted]


def fingerprint(root: str, files: list[DataFile], extra: tuple[str, ...] = ()) -> str:
    """SHA-256 over names, sizes and times of `files` and of the side files `extra` (full paths): the cache key of the data."""
    rows = [[file.name, file.size, file.modified_ns] for file in files]
    rows += [[path, *_stat(path)] for path in extra]
    return hashlib.sha256(json.dumps([root, rows]).encode()).hexdigest()


def join(root: str, path: str) -> str:
    """`path` as it stands if it is absolute or a URI, else under `root`."""
    return path if '://' in path or os.path.isabs(path) else os.path.join(root, path)


def _wanted(root: str, spans: Literal['all', 'latest'] | list[int], there: list[int]) -> set[int]:
    if spans == 'all':
        return set(there)
    if spans == 'latest':
        return {there[-1]}
    if not spans:
        raise DataRootError(f'{root}: no span is asked for; there are spans {there}. Name some, or ask for all or latest.')
    missing = sorted(set(spans).difference(there))
    if missing:
        raise DataRootError(f'{root}: no files for span {missing}; there are spans {there}. Expected them under span-N/.')
    return set(spans)


def _span(name: str) -> int:
    match = _SPAN.search(name)
    return int(match.group(1)) if match else 0


def _fits(name: str, patterns: tuple[str, ...]) -> bool:
    if any(part.startswith('.') for part in name.split('/')):
        return False
    # fnmatch's `*` crosses slashes, so `**/x` only needs the case of no folder at all.
    return any(fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase('/' + name, pattern) for pattern in patterns)


def _is_dir(path: str) -> bool:
    if '://' in path:
        import tensorflow as tf

        try:
            # `isdir` says no where a bucket cannot be read, too.
            return tf.io.gfile.stat(path).is_directory
        except tf.errors.NotFoundError:
            return False
    return os.path.isdir(path)


def _stat(path: str) -> tuple[int, int]:
    if '://' in path:
        import tensorflow as tf

        found = tf.io.gfile.stat(path)
        return found.length, found.mtime_nsec
    found = os.stat(path)
    return found.st_size, found.st_mtime_ns


def _walk(root: str):
    if '://' in root:
        import tensorflow as tf

        walker = tf.io.gfile.walk(root)
    else:
        walker = os.walk(root, followlinks=True)
    for folder, _, names in walker:
        for name in names:
            path = os.path.join(folder, name)
            yield os.path.relpath(path, root).replace(os.sep, '/'), *_stat(path)
