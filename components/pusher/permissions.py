"""The permissions of served files, whatever the umask is.

A server often runs as another user and must be able to read them. Only the owner may write them.
"""

from __future__ import annotations

import os

import storage

DIRECTORY_MODE, FILE_MODE = 0o755, 0o644


def open_to_readers(directory: str) -> None:
    """Gives a local directory and its folders the mode 0755, and all files in it 0644.

    Raises:
      OSError: a folder cannot be listed, or a mode cannot be set.
    """
    for folder, _, files in os.walk(directory, onerror=_raise):
        storage.set_mode(folder, DIRECTORY_MODE)
        for name in files:
            storage.set_mode(os.path.join(folder, name), FILE_MODE)


def _raise(error: OSError) -> None:
    raise error
