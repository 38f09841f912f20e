"""Fixtures of the page tests: synthetic run roots, and a root with five real runs."""

from __future__ import annotations

import dataclasses
import json
import shutil
import signal
from pathlib import Path

import pytest
from filelock import FileLock

from pipeline.run_root import RunRoot
from tests.support.program import Program
from tests.support.synthetic_root import RootBuilder

_PROJECT = Path(__file__).resolve().parents[2]
_CONFIG = _PROJECT / 'tests' / 'support' / 'small_run.yaml'


@pytest.fixture
def builder(tmp_path: Path) -> RootBuilder:
    """Builds a run root; it starts with an empty metadata store."""
    return RootBuilder(tmp_path / 'root')


@dataclasses.dataclass(frozen=True)
class RealRuns:
    """A root with five runs of the pipeline, in this order.

    Pushed, not blessed, stopped by the data gate, killed during training, and cached throughout.

    Attributes:
      program: starts commands with the configuration and the data of these runs.
      root: the run root.
      screens: the screen output of each run, by its name in `_five_runs`.
    """

    program: Program
    root: Path
    screens: dict[str, str]

    @property
    def pages(self) -> Path:
        """The folder with the pages."""
        return RunRoot(self.root).pages


@pytest.fixture(scope='session')
def real_runs(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> RealRuns:
    """Runs the pipeline five times, about two minutes, once for all test processes."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == 'master' else base.parent) / 'real_runs'
    with FileLock(f'{folder}.lock'):
        screens = folder / 'screens.json'
        if not screens.exists():
            # Another test process may have stopped halfway: start again.
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            screens.write_text(json.dumps(_five_runs(folder)), encoding='utf-8')
    program = Program(_PROJECT, _CONFIG, folder / 'data', tmp_path_factory.mktemp('screens'))
    return RealRuns(program, folder / 'root', json.loads(screens.read_text(encoding='utf-8')))


def _five_runs(folder: Path) -> dict[str, str]:
    """Runs the pipeline five times; returns the screen output of each run by name."""
    program, root = Program(_PROJECT, _CONFIG, folder / 'data', folder), folder / 'root'
    synth = program.start('synth', '--out', program.data, '--count', '244', '--seed', '7').finish()
    assert synth.exit_code == 0, synth.screen
    screens = {}
    for name, exit_code, options in (
        ('pushed', 0, []),
        (
            'refused',
            3,
            [
                '--set',
                'train.seed=1',
                '--set',
                'train.epochs=2',
                '--set',
                'evaluation.thresholds=[{metric: auc, min: 0.999}]',
                '--name',
                'two epochs',
                '--note',
                'or was it luck?',
            ],
        ),
        (
            'gate',
            1,
            ['--set', 'data.metadata=null', '--set', 'gate.max_share={missing_metadata: 0}'],
        ),
    ):
        run = program.run(root, *options)
        screens[name] = run.screen
        assert run.exit_code == exit_code, run.screen
    killed = program.start_run(root, '--set', 'train.seed=2')
    # The second epoch begins after the figures of the first have been written.
    killed.wait_for(lambda: 'epoch 2/' in killed.screen)
    killed.signal(signal.SIGKILL)
    screens['killed'] = killed.finish().screen
    cached = program.run(root)
    screens['cached'] = cached.screen
    assert cached.exit_code == 0, cached.screen
    return screens
