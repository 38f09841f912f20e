"""Lists the files under a local folder, each real file once, and counts what it leaves out."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

_SPECIAL = (
    (stat.S_ISFIFO, 'a FIFO'),
    (stat.S_ISSOCK, 'a socket'),
    (stat.S_ISCHR, 'a device'),
    (stat.S_ISBLK, 'a device'),
)
_TYPE = re.compile(r'(\.[a-z][a-z0-9]{0,7})(\.gz)?$')


@dataclass(frozen=True)
class File:
    """A regular file.

    Attributes:
      name: relative to the folder, with forward slashes.
      size: bytes.
      modified_ns: time of the last change.
    """

    name: str
    size: int
    modified_ns: int


@dataclass
class Walk:
    """The content of a folder.

    Attributes:
      files: each real file once, sorted by name; a file has its own name, not that of a link.
      repeated: further names (links) of these files -> the name in `files`.
      special: names of entries that are not regular files -> what they are.
      hidden: number of files and folders whose names begin with a dot; they are not read.
    """

    files: list[File] = field(default_factory=list)
    repeated: dict[str, str] = field(default_factory=dict)
    special: dict[str, str] = field(default_factory=dict)
    hidden: int = 0


def walk(root: str) -> Walk:
    """Lists what is under `root`. It follows links, but lists no folder twice.

    Raises:
      OSError: a folder cannot be listed.
    """
    walker = _Walker(root)
    walker.run()
    walker.result.files.sort(key=lambda file: file.name)
    return walker.result


def file_type(name: str) -> str:
    """The suffix of a file name in lower case: '.csv.gz', '.dcm', 'without suffix'."""
    match = _TYPE.search(os.path.basename(name).lower())
    return match.group() if match else 'without suffix'


def count_types(names: Iterable[str]) -> Counter[str]:
    """The number of files of each type."""
    return Counter(map(file_type, names))


def format_counts(counts: Counter[str]) -> str:
    """Counts as text, the most frequent first: '20 .dcm, 1 .txt'."""
    rows = sorted(counts.items(), key=lambda row: (-row[1], row[0]))
    return ', '.join(f'{count:,} {kind}' for kind, count in rows)


class _Walker:
    def __init__(self, root: str) -> None:
        self._root = root
        self.result = Walk()
        # A link to a folder above the root would list the root again.
        self._folders = {_identity(os.stat(path)) for path in _above(os.path.realpath(root))}
        self._files: dict[tuple[int, int], str] = {}
        self._links: list[str] = []

    def run(self) -> None:
        self._list('')
        # Links come last, so that each file is listed under its own name.
        while self._links:
            self._follow(self._links.pop(0))

    def _list(self, top: str) -> None:
        folders = [top]
        while folders:
            folder = folders.pop()
            path = os.path.join(self._root, folder) if folder else self._root
            identity = _identity(os.stat(path))
            if identity in self._folders:
                continue
            self._folders.add(identity)
            below = []
            with os.scandir(path) as listed:
                entries = sorted(listed, key=lambda entry: entry.name)
            for entry in entries:
                name = f'{folder}/{entry.name}' if folder else entry.name
                if entry.name.startswith('.'):
                    self.result.hidden += 1
                elif entry.is_symlink():
                    self._links.append(name)
                elif entry.is_dir():
                    below.append(name)
                else:
                    self._take(name, entry.stat())
            folders += reversed(below)

    def _follow(self, name: str) -> None:
        try:
            target = os.stat(os.path.join(self._root, name))
        except OSError as error:
            loop = error.errno == errno.ELOOP
            self.result.special[name] = 'a link to itself' if loop else 'a link to a missing file'
            return
        if stat.S_ISDIR(target.st_mode):
            self._list(name)
        else:
            self._take(name, target)

    def _take(self, name: str, status: os.stat_result) -> None:
        if not stat.S_ISREG(status.st_mode):
            self.result.special[name] = next(
                (what for test, what in _SPECIAL if test(status.st_mode)), 'not a file'
            )
            return
        # Some network file systems do not number files; there, each name counts as a file.
        first = self._files.setdefault(_identity(status), name) if status.st_ino else name
        if first == name:
            self.result.files.append(File(name, status.st_size, status.st_mtime_ns))
        else:
            self.result.repeated[name] = first


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _above(path: str) -> Iterable[str]:
    while (parent := os.path.dirname(path)) != path:
        yield parent
        path = parent
