"""What the tests of pages share: roots made by hand, and one root in which the pipeline really ran,
to several endings.
"""

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
from tests.support.synthetic_root import MadeRoot

_PROJECT = Path(__file__).resolve().parents[2]
_CONFIG = _PROJECT / 'tests' / 'support' / 'small_run.yaml'


@pytest.fixture
def made(tmp_path: Path) -> MadeRoot:
    """An empty root with a store."""
    return MadeRoot(tmp_path / 'root')


@dataclasses.dataclass(frozen=True)
class Watched:
    """A root with five runs: pushed, not blessed, stopped by the data gate, killed in the training,
    and all from the cache.
    """

    program: Program
    root: Path
    screens: dict[str, str]

    @property
    def pages(self) -> Path:
        """The folder of pages."""
        return RunRoot(self.root).pages


@pytest.fixture(scope='session')
def watched(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Watched:
    """See `Watched`; about two minutes, once for all processes that run tests."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == 'master' else base.parent) / 'watched'
    with FileLock(f'{folder}.lock'):
        screens = folder / 'screens.json'
        if not screens.exists():
            # What another process could not finish is not taken up.
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            screens.write_text(json.dumps(_five_runs(folder)), encoding='utf-8')
    program = Program(_PROJECT, _CONFIG, folder / 'films', tmp_path_factory.mktemp('screens'))
    return Watched(program, folder / 'root', json.loads(screens.read_text(encoding='utf-8')))


def _five_runs(folder: Path) -> dict[str, str]:
    """Makes the root; name of a run -> its screen."""
    program, root = Program(_PROJECT, _CONFIG, folder / 'films', folder), folder / 'root'
    synth = program.start('synth', '--out', program.data, '--count', '244', '--seed', '7').finish()
    assert synth.exit_code == 0, synth.screen
    screens = {}
    for name, code, options in (
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
            ],
        ),
        (
            'gate',
            1,
            ['--set', 'data.metadata=null', '--set', 'gate.max_share={missing_metadata: 0}'],
        ),
    ):
        done = program.run(root, *options)
        screens[name] = done.screen
        assert done.exit_code == code, done.screen
    killed = program.start_run(root, '--set', 'train.seed=2')
    killed.wait_for(lambda: 'epoch 1/' in killed.screen)
    killed.signal(signal.SIGKILL)
    screens['killed'] = killed.finish().screen
    done = program.run(root)
    screens['cached'] = done.screen
    assert done.exit_code == 0, done.screen
    return screens
