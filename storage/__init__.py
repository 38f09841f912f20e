"""One set of functions for local files and for object stores (gs://, s3://, …).

A path is a string. Local paths go through Python's own functions, URIs through TensorFlow's file
systems. TensorFlow is imported with the first URI, so that commands on local files start fast.
Every function raises OSError if the file system fails.

    >>> storage.join('gs://bucket/runs', 'logs')
    'gs://bucket/runs/logs'
    >>> storage.is_remote('gs://bucket/runs'), storage.is_remote('/data/runs')
    (True, False)
    >>> storage.names('/data/runs')
    ['artifacts', 'logs']
"""

from __future__ import annotations

import contextlib
import errno
import glob as local_glob
import io
import os
import posixpath
import shutil
import stat as local_stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

_CHUNK_BYTES = 1 << 22


class RemoteError(OSError):
    """An object store failed; the text is TensorFlow's."""


@dataclass(frozen=True)
class FileStatus:
    """Size in bytes, and the time of the last change in nanoseconds since 1970."""

    size: int
    modified_ns: int


def is_remote(path: str) -> bool:
    """Whether `path` is a URI.

    An object store has no folders, modes or locks, and cannot rename a folder in one step.
    """
    return '://' in path


def join(path: str, *parts: str) -> str:
    """The path of `parts` under `path`."""
    return posixpath.join(path, *parts) if is_remote(path) else os.path.join(path, *parts)


def resolve(folder: str, path: str) -> str:
    """`path` itself if it is absolute or a URI, otherwise `path` under `folder`."""
    return path if is_remote(path) or os.path.isabs(path) else os.path.join(folder, path)


def exists(path: str) -> bool:
    """Whether `path` is a file or a folder."""
    if not is_remote(path):
        return os.path.exists(path)
    with _tensorflow() as tf:
        return tf.io.gfile.exists(path)


def is_dir(path: str) -> bool:
    """Whether `path` is a folder."""
    if not is_remote(path):
        return os.path.isdir(path)
    with _tensorflow() as tf:
        try:
            # Unlike `stat`, `isdir` hides errors: it returns False if the store cannot be read.
            return tf.io.gfile.stat(path).is_directory
        except tf.errors.NotFoundError:
            return False


def is_file(path: str) -> bool:
    """Whether `path` is a file."""
    if not is_remote(path):
        return os.path.isfile(path)
    with _tensorflow() as tf:
        try:
            return not tf.io.gfile.stat(path).is_directory
        except tf.errors.NotFoundError:
            return False


def stat(path: str) -> FileStatus:
    """The size and modification time of a file."""
    if not is_remote(path):
        status = os.stat(path)
        return FileStatus(status.st_size, status.st_mtime_ns)
    with _tensorflow() as tf:
        status = tf.io.gfile.stat(path)
        return FileStatus(status.length, status.mtime_nsec)


def names(folder: str) -> list[str]:
    """The sorted names in `folder`, without trailing slashes; empty if it does not exist."""
    if not is_dir(folder):
        return []
    if not is_remote(folder):
        return sorted(os.listdir(folder))
    with _tensorflow() as tf:
        return sorted(name.rstrip('/') for name in tf.io.gfile.listdir(folder))


def files(folder: str) -> Iterator[str]:
    """The files at any depth under `folder`, as sorted relative paths with forward slashes."""
    prefix = folder.rstrip('/')
    paths = [join(parent, name) for parent, entries in _walk(folder) for name in entries]
    yield from sorted(path[len(prefix) :].lstrip('/').replace(os.sep, '/') for path in paths)


def _walk(folder: str) -> Iterator[tuple[str, list[str]]]:
    if is_remote(folder):
        with _tensorflow() as tf:
            yield from ((parent, entries) for parent, _, entries in tf.io.gfile.walk(folder))
    else:
        for parent, _, entries in os.walk(folder, onerror=_raise):
            yield parent, entries


def glob(pattern: str) -> list[str]:
    """The sorted paths that match a pattern with `*` and `?`."""
    if not is_remote(pattern):
        return sorted(local_glob.glob(pattern))
    with _tensorflow() as tf:
        return sorted(tf.io.gfile.glob(pattern))


def open_binary(path: str) -> io.BufferedReader:
    """Opens a file for reading bytes."""
    if is_remote(path):
        return io.BufferedReader(_RemoteReader(path), _CHUNK_BYTES)
    return open(path, 'rb')


def chunks(path: str) -> Iterator[bytes]:
    """The bytes of a file, piece by piece."""
    with open_binary(path) as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            yield chunk


def read_bytes(path: str) -> bytes:
    """The content of a file."""
    return b''.join(chunks(path))


def read_text(path: str) -> str:
    """The UTF-8 text of a file."""
    return read_bytes(path).decode('utf-8')


def write_bytes(path: str, content: bytes) -> None:
    """Writes a file into an existing folder; a reader may see it half written."""
    _write(path, [content], durable=False)


def write_text(path: str, text: str) -> None:
    """Writes a file as UTF-8 into an existing folder; a reader may see it half written."""
    write_bytes(path, text.encode('utf-8'))


def replace_text(path: str, text: str, part: str, mode: int | None = None) -> None:
    """Writes a file as UTF-8 in one step: a reader gets the old text or the new one.

    Args:
      path: the file.
      text: its new content.
      part: a temporary path on the same file system. An object store does not use it, because
        each write is one step there.
      mode: permissions of a local file; None leaves them to the umask.
    """
    if is_remote(path):
        write_text(path, text)
        return
    try:
        _write(part, [text.encode('utf-8')], durable=True)
        if mode is not None:
            set_mode(part, mode)
        os.replace(part, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(part)


def make_dirs(path: str, mode: int | None = None) -> None:
    """Makes a folder and its missing parents.

    Args:
      path: the folder.
      mode: permissions of new local folders; None leaves them to the umask.
    """
    if is_remote(path):
        with _tensorflow() as tf:
            tf.io.gfile.makedirs(path)
        return
    if os.path.isdir(path):
        return
    make_dirs(os.path.dirname(os.path.abspath(path)), mode)
    try:
        os.mkdir(path)
    except FileExistsError:
        if not os.path.isdir(path):
            raise
    else:
        if mode is not None:
            set_mode(path, mode)


def set_mode(path: str, mode: int) -> None:
    """Sets the permissions of a local file or folder; does nothing on a mount without permissions.

    Higher bits stay as they are: the set-group-id bit passes the group of a shared folder on.
    """
    current = local_stat.S_IMODE(os.stat(path).st_mode)
    target = current & ~0o777 | mode
    if current == target:
        return
    try:
        os.chmod(path, target)
    except OSError as error:
        # A mount without permissions (CIFS, FAT).
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EROFS):
            raise


def copy(source: str, destination: str) -> None:
    """Copies a file, and makes the folder of the copy.

    When this returns, a local copy is on the disk, not only in memory.
    """
    make_dirs(os.path.dirname(destination) or '.')
    _write(destination, chunks(source), durable=True)


def move(source: str, destination: str, overwrite: bool = False) -> None:
    """Renames a file, and makes its new folder. On gs:// and s3://, no bytes are sent again.

    Raises:
      OSError: renaming fails, or `destination` exists and `overwrite` is False.
    """
    make_dirs(os.path.dirname(destination) or '.')
    if is_remote(source):
        with _tensorflow() as tf:
            tf.io.gfile.rename(source, destination, overwrite=overwrite)
    elif overwrite or not os.path.exists(destination):
        os.replace(source, destination)
    else:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), destination)


def remove(path: str) -> None:
    """Removes a file."""
    if not is_remote(path):
        os.unlink(path)
        return
    with _tensorflow() as tf:
        tf.io.gfile.remove(path)


def remove_tree(path: str) -> None:
    """Removes a folder with all its content; does nothing if it does not exist."""
    if not is_remote(path):
        if os.path.isdir(path):
            shutil.rmtree(path)
        return
    with _tensorflow() as tf:
        if tf.io.gfile.exists(path):
            tf.io.gfile.rmtree(path)


def sync_dirs(folder: str) -> None:
    """Syncs a local folder and its subfolders to the disk; does nothing for an object store."""
    if is_remote(folder):
        return
    for parent, _ in _walk(folder):
        sync_dir(parent)


def sync_dir(folder: str) -> None:
    """Syncs the entries of one local folder to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write(path: str, pieces: Iterable[bytes], durable: bool) -> None:
    if is_remote(path):
        with _tensorflow() as tf, tf.io.gfile.GFile(path, 'wb') as remote:
            for piece in pieces:
                remote.write(piece)
        return
    with open(path, 'wb') as local:
        for piece in pieces:
            local.write(piece)
        if durable:
            local.flush()
            os.fsync(local.fileno())


def _raise(error: OSError) -> None:
    raise error


@contextlib.contextmanager
def _tensorflow(path: str = '') -> Iterator[Any]:
    """TensorFlow, with its errors as RemoteError; `path` goes before their text."""
    import tensorflow as tf

    try:
        yield tf
    except tf.errors.OpError as error:
        raise RemoteError(f'{path}: {error.message}' if path else error.message) from error


class _RemoteReader(io.RawIOBase):
    """A file of an object store as a raw stream, so that BufferedReader can read from it."""

    def __init__(self, path: str) -> None:
        self._path = path
        with _tensorflow(path) as tf:
            self._file = tf.io.gfile.GFile(path, 'rb')
            self._file.size()  # opens the file: GFile does that only on first use

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        with _tensorflow(self._path):
            self._file.seek(offset, whence)
        return self.tell()

    def tell(self) -> int:
        with _tensorflow(self._path):
            return self._file.tell()

    def readinto(self, buffer) -> int:
        with _tensorflow(self._path):
            data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()
