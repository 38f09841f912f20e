"""Names for patients and images that only the owner of a key can trace back."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from records.convert.sources import SourceError

_KEY_BYTES = 32
_LEAST_BYTES = 16
# 80 bits: two of a billion names are equal with a probability of 10 ** -6.
_DIGITS = 20
# All that a float holds.
_DRAWN_DIGITS = 13


class Pseudonyms:
    """Replaces identifiers by keyed hashes (HMAC with SHA-256)."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def patient(self, identifier: str) -> str:
        """The name of a patient; it begins with a letter, unlike a number."""
        return f'p{self._hash("patient", identifier)}'

    def image(self, identifier: str) -> str:
        """The image_id of an image."""
        return f'i{self._hash("image", identifier)}.png'

    def study(self, identifier: str) -> str:
        """The name of a study."""
        return f's{self._hash("study", identifier)}'

    def reader(self, identifier: str) -> str:
        """The name of a person who reads studies."""
        return f'r{self._hash("reader", identifier)}'

    def draw(self, identifier: str) -> float:
        """A number of an identifier, at least 0 and below 1, that nobody can choose."""
        return int(self._hash('draw', identifier)[:_DRAWN_DIGITS], 16) / 16**_DRAWN_DIGITS

    def fingerprint(self) -> str:
        """Tells one key from another, and says nothing about it."""
        return self._hash('fingerprint', '')

    def _hash(self, kind: str, identifier: str) -> str:
        message = f'{kind}\0{identifier}'.encode('utf-8', 'surrogateescape')
        return hmac.new(self._key, message, hashlib.sha256).hexdigest()[:_DIGITS]


def load(path: Path, *folders: Path) -> tuple[Pseudonyms, bool]:
    """Reads the key, or makes one that only this user may read.

    Args:
      path: its file.
      folders: of images and data set; the key may not be in them.

    Returns:
      The pseudonyms, and whether the key is new.

    Raises:
      SourceError: it is in one of the folders, or too short.
      OSError: it cannot be read or written.
    """
    for folder in folders:
        if path.resolve().is_relative_to(folder.resolve()):
            raise SourceError(
                f'--patient-key {path}: it is in {folder}. Keep the key outside of the data: '
                'whoever has both can find out who the patients are'
            )
    if not path.exists():
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, 'w') as file:
            file.write(secrets.token_hex(_KEY_BYTES) + '\n')
        return Pseudonyms(path.read_bytes().strip()), True
    key = path.read_bytes().strip()
    if len(key) < _LEAST_BYTES:
        raise SourceError(
            f'--patient-key {path}: it has {len(key)} bytes, expected at least {_LEAST_BYTES}. '
            'Name a file that does not exist to get a new key'
        )
    return Pseudonyms(key), False
