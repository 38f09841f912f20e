"""Windows that later ones are compared with, as files: one of each kind for a version and site."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from monitoring import reference
from monitoring.sample import Sample
from monitoring.traffic import Window

# The last one without an alarm, and the one that a person has accepted.
GOOD, ACCEPTED = 'good', 'accepted'


@dataclass(frozen=True)
class Kept:
    """A window.

    Attributes:
      sample: its images.
      last_study: number of its newest study.
    """

    sample: Sample
    last_study: int


def read(folder: Path, kind: str, version: int, site: str) -> Kept | None:
    """The window of GOOD or ACCEPTED; None if there is none."""
    path = _path(folder, kind, version, site)
    if not path.exists():
        return None
    stored = dict(np.load(path))
    return Kept(reference.load_sample(stored), int(stored['last_study']))


def write(folder: Path, kind: str, window: Window) -> None:
    """Keeps a window in place of the earlier one."""
    folder.mkdir(parents=True, exist_ok=True)
    path = _path(folder, kind, window.version, window.site)
    reference.save(path, window.sample, last_study=np.array(window.last_study))


def _path(folder: Path, kind: str, version: int, site: str) -> Path:
    # A site may have a name that no file can have.
    suffix = f'-{hashlib.sha256(site.encode()).hexdigest()[:16]}' if site else ''
    return folder / f'{kind}-{version}{suffix}.npz'
