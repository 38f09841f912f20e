"""What the database has instead of an accession number: it finds the study, and says nothing else.

Accession numbers are short, so that whoever has the database could try them all. The key, which is
a file beside the images and not in the database, prevents that.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import secrets
from pathlib import Path

KEY_FILE = 'accession.key'
_KEY_BYTES = 32


class KeyFileError(OSError):
    """A file that is not a key; the text names it."""


def load_key(folder: Path) -> bytes:
    """The key of a service's folder; the first call makes it.

    Raises:
      OSError: it cannot be read or written.
      KeyFileError: the file is not a key.
    """
    path = folder / KEY_FILE
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f'{KEY_FILE}.{secrets.token_hex(8)}')
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, 'wb') as stream:
                stream.write(secrets.token_bytes(_KEY_BYTES))
                stream.flush()
                os.fsync(stream.fileno())
            # Whoever comes first wins; all use that key.
            with contextlib.suppress(FileExistsError):
                os.link(unfinished, path)
        finally:
            unfinished.unlink()
    key = path.read_bytes()
    if len(key) != _KEY_BYTES:
        raise KeyFileError(f'{path} has {len(key)} bytes: expected a key of {_KEY_BYTES}')
    return key


def keyed(key: bytes, number: str) -> str | None:
    """HMAC-SHA256 of an accession number, as hex; None for an empty one.

    DICOM pads it with spaces, which do not count.
    """
    number = number.strip()
    return hmac.new(key, number.encode(), hashlib.sha256).hexdigest() if number else None
