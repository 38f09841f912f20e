"""A folder for TensorBoard: a link to the logs of each training, named like its run on the pages.

TensorBoard shows the names of folders, and those of the artifacts are numbers.
"""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path

from pages import runs, store, training_page
from pages.runs import Run
from pages.store import CACHED
from pipeline.run_root import STORE_FILE, RunRoot
from pipeline.steps import TRAINER

_PERIOD_S = 5.0
_log = logging.getLogger(__name__)


def by_name(root: Path) -> dict[str, Path]:
    """Label of a run -> the folder with the logs of its training, also of an unfinished one.

    A run that took its training from the cache has none of its own.

    Raises:
      RuntimeError: the metadata store cannot be read.
    """
    folders: dict[str, Path] = {}
    for run in reversed(runs.all_runs(store.read(root))):
        folder = _logs(run)
        if folder is None or not folder.is_dir():
            continue
        label, number = run.label.replace(os.sep, '_'), 1
        while (name := label if number == 1 else f'{label} ({number})') in folders:
            number += 1
        folders[name] = folder
    return folders


def _logs(run: Run) -> Path | None:
    execution = run.executions.get(TRAINER.name)
    if execution is None or execution.state == CACHED:
        return None
    folder = training_page.folder(run)
    return Path(folder) / 'logs' if folder else None


class Links:
    """The links in a folder, which follow the trainings of a root."""

    def __init__(self, root: Path, folder: Path):
        self._root, self._folder, self._state = root, folder, ''

    def update(self) -> None:
        """Adds the links of new trainings, and removes those that no longer lead anywhere.

        Raises:
          RuntimeError: the metadata store cannot be read.
          OSError: a link cannot be made.
        """
        state = self._current_state()
        if state == self._state:
            return
        folders = by_name(self._root)
        for link in self._folder.iterdir():
            if folders.get(link.name) != link.readlink():
                link.unlink()
        for name, folder in folders.items():
            if not (link := self._folder / name).is_symlink():
                link.symlink_to(folder)
        self._state = state

    def follow(self) -> None:
        """Updates the links in the background for as long as this process runs."""
        threading.Thread(target=self._follow, daemon=True).start()

    def _follow(self) -> None:
        pause = threading.Event()
        while not pause.wait(_PERIOD_S):
            try:
                self.update()
            except (RuntimeError, OSError) as error:
                # A run is writing the store: the next round reads it.
                _log.debug('the trainings cannot be read now: %s', error)

    def _current_state(self) -> str:
        """Changes when a run or a step begins or ends, or when a training writes its first logs."""
        root = RunRoot(self._root)
        paths = [
            *self._root.glob(f'{STORE_FILE}*'),
            *root.artifacts.glob(f'{TRAINER.name}/model_run/*'),
            root.records,
        ]
        return ' '.join(
            f'{path.name}:{path.stat().st_mtime_ns}' for path in sorted(paths) if path.exists()
        )
