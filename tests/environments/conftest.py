"""The films that are run through the pipeline in more than one place."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

# Resolved: the other environment sees the folder itself, and not a link to it.
_REAL_FILMS = (Path(__file__).resolve().parents[3] / 'shared' / 'data' / 'nih').resolve()
_REAL_FILES = 2  # about 240 films


@pytest.fixture(scope='session')
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root: real films where they are at hand, else synthetic ones."""
    folder = tmp_path_factory.mktemp('films')
    if not _REAL_FILMS.is_dir():
        subprocess.run([sys.executable, '-m', 'pipeline', 'synth', '--out', folder, '--count', '244', '--seed', '7'], check=True)
        return folder
    (folder / 'metadata').symlink_to(_REAL_FILMS / 'metadata')
    (folder / 'data').mkdir()
    for path in sorted((_REAL_FILMS / 'data').glob('*.tfrec'))[:_REAL_FILES]:
        (folder / 'data' / path.name).symlink_to(path)
    return folder
