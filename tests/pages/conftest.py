"""What the tests of pages share: roots made by hand, and one root in which the pipeline really ran, to several endings."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from made_root import MadeRoot

_PROJECT = Path(__file__).resolve().parents[2]
_CONFIG = _PROJECT / 'tests' / 'small_run.yaml'
_PATIENCE_S = 600.0


@pytest.fixture
def made(tmp_path: Path) -> MadeRoot:
    """An empty root with a store."""
    return MadeRoot(tmp_path / 'root')


@dataclasses.dataclass(frozen=True)
class Watched:
    """A root with five runs: pushed, not blessed, stopped by the data gate, killed in the training, and all from the cache."""

    root: Path
    screens: dict[str, str]

    @property
    def pages(self) -> Path:
        """The folder of pages."""
        return self.root / 'pages'


def _command(*arguments: str | Path) -> list[str]:
    return [sys.executable, '-m', 'pipeline', *map(str, arguments)]


def _environment() -> dict[str, str]:
    return {**os.environ, 'PYTHONPATH': str(_PROJECT), 'CUDA_VISIBLE_DEVICES': ''}


def program(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Runs `cxr-triage` to its end."""
    done = subprocess.run(
        _command(*arguments), capture_output=True, text=True, cwd=_PROJECT, env=_environment(), check=False, timeout=_PATIENCE_S
    )
    return done


@pytest.fixture(scope='session')
def watched(tmp_path_factory: pytest.TempPathFactory) -> Watched:
    """See `Watched`; about two minutes, once."""
    folder = tmp_path_factory.mktemp('watched')
    films, root = folder / 'films', folder / 'root'
    assert program('synth', '--out', films, '--count', '244', '--seed', '7').returncode == 0
    base = ['run', '--config', _CONFIG, '--data-root', films, '--root', root]
    screens = {}
    for name, code, options in (
        ('pushed', 0, []),
        ('refused', 3, ['--set', 'train.seed=1', '--set', 'train.epochs=2', '--set', 'evaluation.thresholds=[{metric: auc, min: 0.999}]']),
        ('gate', 1, ['--set', 'data.metadata=null', '--set', 'gate.max_share={missing_metadata: 0}']),
    ):
        done = program(*base, *options)
        screens[name] = done.stderr + done.stdout
        assert done.returncode == code, screens[name]
    screens['killed'] = _killed([*base, '--set', 'train.seed=2'], folder / 'killed.txt')
    done = program(*base)
    screens['cached'] = done.stderr + done.stdout
    assert done.returncode == 0, screens['cached']
    return Watched(root, screens)


def _killed(arguments: list, screen: Path) -> str:
    """Kills a run while its network is trained."""
    with screen.open('wb') as file:
        process = subprocess.Popen(_command(*arguments), stdout=file, stderr=subprocess.STDOUT, cwd=_PROJECT, env=_environment())
        deadline = time.monotonic() + _PATIENCE_S
        while 'epoch 1/' not in screen.read_text(encoding='utf-8', errors='replace'):
            assert process.poll() is None and time.monotonic() < deadline, screen.read_text(encoding='utf-8', errors='replace')
            time.sleep(0.1)
        process.send_signal(signal.SIGKILL)
        process.wait()
    return screen.read_text(encoding='utf-8', errors='replace')
