"""Fixtures of the end-to-end runs: a copy of the sources, synthetic images, one complete run."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from tests.support import pipeline_runs as runs
from tests.support.program import Finished, Program

_PROJECT = Path(__file__).resolve().parents[2]
_SOURCES = (
    'pipeline',
    'components',
    'trainer',
    'records',
    'schemas',
    'storage',
    'pages',
    'serving',
    'monitoring',
    'cli',
)
_IMAGES = 366  # three record files of 122; the data root starts with two of them


@dataclasses.dataclass(frozen=True)
class Pushed:
    """The first run of a run root, with its outputs before any other run."""

    root: Path
    finished: Finished
    states: dict[str, str]
    log: str
    predictions: dict
    manifest: dict

    @property
    def serving(self) -> Path:
        """The push directory."""
        return self.root / 'serving'


@pytest.fixture(scope='session')
def spare_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A record file that is not yet in the data root."""
    return tmp_path_factory.mktemp('spare') / '002-122.tfrec'


@pytest.fixture(scope='session')
def program(tmp_path_factory: pytest.TempPathFactory, spare_file: Path) -> Program:
    """The program from a copy of the sources, which tests may edit, with 244 synthetic images."""
    folder = tmp_path_factory.mktemp('program')
    source = folder / 'source'
    for name in _SOURCES:
        shutil.copytree(
            _PROJECT / name, source / name, ignore=shutil.ignore_patterns('__pycache__')
        )
    for name in ('setup.py', 'pyproject.toml', 'cxr_triage.py'):
        shutil.copy(_PROJECT / name, source)
    shutil.copy(_PROJECT / 'tests' / 'support' / 'small_run.yaml', folder / 'config.yaml')
    data = folder / 'images'
    program = Program(source, folder / 'config.yaml', data, folder)
    synth = program.start('synth', '--out', data, '--count', str(_IMAGES), '--seed', '7').finish()
    assert synth.exit_code == 0, synth.screen
    shutil.move(data / 'data' / spare_file.name, spare_file)
    return program


@pytest.fixture(scope='session')
def pushed(program: Program, tmp_path_factory: pytest.TempPathFactory) -> Pushed:
    """The first run on an empty run root."""
    root = tmp_path_factory.mktemp('first') / 'root'
    # A fresh interpreter, as for a user: what the screen shows depends on the order of imports.
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
