"""Permissions of what is served, whatever the umask is: a server often runs as another user, and
nobody else may write what it loads.
"""

from __future__ import annotations

import os

import storage

DIRECTORY_MODE, FILE_MODE = 0o755, 0o644


def open_to_readers(directory: str) -> None:
    """Gives a local directory and all it holds the modes 0755 and 0644."""
    for folder, _, files in os.walk(directory, onerror=_raise):
        storage.set_mode(folder, DIRECTORY_MODE)
        for name in files:
            storage.set_mode(os.path.join(folder, name), FILE_MODE)


def _raise(error: OSError) -> None:
    raise error
