"""What the end-to-end runs share: a copy of the sources, a small set of synthetic films, and one
run from nothing to a pushed model.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from tests.support import pipeline_runs as runs
from tests.support.program import Finished, Program

_PROJECT = Path(__file__).resolve().parents[2]
_SOURCES = ('pipeline', 'components', 'trainer', 'records', 'schemas', 'storage', 'pages', 'cli')
_FILMS = 366  # three files of 122, of which one is held back


@dataclasses.dataclass(frozen=True)
class Pushed:
    """The first run of a root, with what it left before any other run came."""

    root: Path
    finished: Finished
    states: dict[str, str]
    log: str
    predictions: dict
    manifest: dict

    @property
    def serving(self) -> Path:
        """The push target."""
        return self.root / 'serving'


@pytest.fixture(scope='session')
def spare_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the film file lies that the data root does not have yet."""
    return tmp_path_factory.mktemp('spare') / '002-122.tfrec'


@pytest.fixture(scope='session')
def program(tmp_path_factory: pytest.TempPathFactory, spare_file: Path) -> Program:
    """The program out of a copy of the sources, which tests may edit, on 244 synthetic films."""
    folder = tmp_path_factory.mktemp('program')
    source = folder / 'source'
    for name in _SOURCES:
        shutil.copytree(
            _PROJECT / name, source / name, ignore=shutil.ignore_patterns('__pycache__')
        )
    for name in ('setup.py', 'pyproject.toml', 'cxr_triage.py'):
        shutil.copy(_PROJECT / name, source)
    shutil.copy(_PROJECT / 'tests' / 'support' / 'small_run.yaml', folder / 'config.yaml')
    data = folder / 'films'
    made = Program(source, folder / 'config.yaml', data, folder)
    synth = made.start('synth', '--out', data, '--count', str(_FILMS), '--seed', '7').finish()
    assert synth.exit_code == 0, synth.screen
    shutil.move(data / 'data' / spare_file.name, spare_file)
    return made


@pytest.fixture(scope='session')
def pushed(program: Program, tmp_path_factory: pytest.TempPathFactory) -> Pushed:
    """The first run on an empty root."""
    root = tmp_path_factory.mktemp('first') / 'root'
    # As a person starts it: what it says and how quiet it is depend on the order of imports.
    finished = program.run(root, fresh=True)
    assert finished.exit_code == 0, finished.screen
    (states,) = runs.states(root)
    return Pushed(
        root=root,
        finished=finished,
        states=states,
        log=runs.log_of(root),
        predictions=json.loads(
            (runs.last_output(root, 'Trainer', 'model_run') / 'predictions.json').read_text()
        ),
        manifest=runs.manifest(runs.newest_version(root / 'serving')),
    )
