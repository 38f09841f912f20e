"""Few file operations that work on local paths and on object-store URIs alike. TensorFlow is
imported for URIs only.
"""

from __future__ import annotations

import contextlib
import errno
import os
import posixpath
import shutil
import stat
from collections.abc import Iterator

_CHUNK_BYTES = 1 << 22
# Whatever the umask is: a server often runs as another user, and nobody else may write what it
# loads.
_DIRECTORY_MODE, _FILE_MODE = 0o755, 0o644


def is_remote(path: str) -> bool:
    """Whether `path` is an object-store URI (gs://, s3://, …), where nothing can be renamed in one
    step.
    """
    return '://' in path


def join(path: str, *parts: str) -> str:
    """`parts` below `path`."""
    return posixpath.join(path, *parts) if is_remote(path) else os.path.join(path, *parts)


def _gfile():
    import tensorflow as tf

    return tf.io.gfile


def errors(path: str) -> tuple[type[Exception], ...]:
    """What the operations of this module raise for `path`."""
    if not is_remote(path):
        return (OSError,)
    import tensorflow as tf

    return (OSError, tf.errors.OpError)


def exists(path: str) -> bool:
    """Whether there is a file or directory."""
    return _gfile().exists(path) if is_remote(path) else os.path.exists(path)


def is_dir(path: str) -> bool:
    """Whether there is a directory."""
    if not is_remote(path):
        return os.path.isdir(path)
    import tensorflow as tf

    try:
        # `isdir` says no where the store cannot be read, too.
        return tf.io.gfile.stat(path).is_directory
    except tf.errors.NotFoundError:
        return False


def size(path: str) -> int:
    """The size of a file in bytes."""
    return _gfile().stat(path).length if is_remote(path) else os.path.getsize(path)


def names(directory: str) -> list[str]:
    """What stands in `directory`, sorted, without trailing slashes; empty when there is no such
    directory.
    """
    if not is_dir(directory):
        return []
    found = _gfile().listdir(directory) if is_remote(directory) else os.listdir(directory)
    return sorted(name.rstrip('/') for name in found)


def files(directory: str) -> Iterator[str]:
    """The files below `directory` as relative paths with forward slashes, sorted."""
    walked = (
        _gfile().walk(directory) if is_remote(directory) else os.walk(directory, onerror=_raise)
    )
    prefix = directory.rstrip('/')
    found = [join(folder, name) for folder, _, entries in walked for name in entries]
    yield from sorted(path[len(prefix) :].lstrip('/').replace(os.sep, '/') for path in found)


def _raise(error: OSError) -> None:
    raise error


def chunks(path: str) -> Iterator[bytes]:
    """The bytes of a file, piece by piece."""
    with _gfile().GFile(path, 'rb') if is_remote(path) else open(path, 'rb') as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            yield chunk


def read_text(path: str) -> str:
    """The UTF-8 text of a file."""
    return b''.join(chunks(path)).decode('utf-8')


def make_dirs(path: str) -> None:
    """Makes a directory with its parents, if it is not there; local ones with mode 0755."""
    if is_remote(path):
        _gfile().makedirs(path)
        return
    if os.path.isdir(path):
        return
    make_dirs(os.path.dirname(os.path.abspath(path)))
    try:
        os.mkdir(path)
    except FileExistsError:
        if not os.path.isdir(path):
            raise
    else:
        _set_mode(path, _DIRECTORY_MODE)


def open_to_readers(directory: str) -> None:
    """Gives a local directory and all that it holds the modes 0755 and 0644."""
    for folder, _, entries in os.walk(directory, onerror=_raise):
        _set_mode(folder, _DIRECTORY_MODE)
        for name in entries:
            _set_mode(os.path.join(folder, name), _FILE_MODE)


def _set_mode(path: str, mode: int) -> None:
    now = stat.S_IMODE(os.stat(path).st_mode)
    # The bits above belong to the folder's owner: the set-group-id bit hands a shared folder's
    # group on.
    wanted = now & ~0o777 | mode
    if now == wanted:
        return
    try:
        os.chmod(path, wanted)
    except OSError as error:
        # A mount without modes of its own (CIFS, FAT).
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EROFS):
            raise


def copy(source: str, destination: str) -> None:
    """Copies a file; a local copy is on the disk, not only in memory, when this returns."""
    make_dirs(destination.rsplit('/', 1)[0])
    _write(destination, chunks(source))


def move(source: str, destination: str) -> None:
    """Renames a file of an object store, which makes no copy in this process where the store can do
    it.
    """
    make_dirs(destination.rsplit('/', 1)[0])
    _gfile().rename(source, destination)


def write_text(path: str, text: str, part: str) -> None:
    """Writes a file in one step: a reader finds the old text or the new one, never half of it.

    Args:
      path: the file; a local one gets mode 0644.
      text: what to write, as UTF-8.
      part: a path on the same file system for the unfinished file; not used on an object store,
        where every write is one step.
    """
    if is_remote(path):
        _write(path, [text.encode('utf-8')])
        return
    try:
        _write(part, [text.encode('utf-8')])
        _set_mode(part, _FILE_MODE)
        os.replace(part, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(part)


def _write(path: str, pieces) -> None:
    if is_remote(path):
        with _gfile().GFile(path, 'wb') as stream:
            for piece in pieces:
                stream.write(piece)
        return
    with open(path, 'wb') as stream:
        for piece in pieces:
            stream.write(piece)
        stream.flush()
        os.fsync(stream.fileno())


def sync_dirs(directory: str) -> None:
    """Brings the entries of a local directory and of all below it to the disk; nothing to do on an
    object store.
    """
    if is_remote(directory):
        return
    for folder, _, _ in os.walk(directory, onerror=_raise):
        sync_dir(folder)


def sync_dir(directory: str) -> None:
    """Brings the entries of one local directory to the disk."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove(path: str) -> None:
    """Removes a file."""
    if is_remote(path):
        _gfile().remove(path)
    else:
        os.unlink(path)


def remove_tree(path: str) -> None:
    """Removes a directory with what it holds, if it is there."""
    if is_remote(path):
        if _gfile().exists(path):
            _gfile().rmtree(path)
    elif os.path.isdir(path):
        shutil.rmtree(path)
