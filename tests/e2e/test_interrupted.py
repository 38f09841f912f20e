"""Runs that are killed, interrupted or doubled: what was done is kept, and the result is that of an
unbroken run.
"""

from __future__ import annotations

import dataclasses
import json
import math
import signal
from pathlib import Path

import pytest

from pipeline.steps import REQUIRED
from tests.support import pipeline_runs as runs
from tests.support.pipeline_runs import CACHED, COMPLETE
from tests.support.program import Finished, Program

pytestmark = pytest.mark.slow


@dataclasses.dataclass(frozen=True)
class Broken:
    """A root on which two runs were killed and a third went through, while a fourth tried to run
    beside it.
    """

    root: Path
    finished: Finished
    pid: int
    second: Finished


@pytest.fixture(scope='module')
def broken(program: Program, tmp_path_factory: pytest.TempPathFactory) -> Broken:
    """Killed in the middle of Transform, then after the first epoch's checkpoint, then left to
    finish.
    """
    root = tmp_path_factory.mktemp('broken') / 'root'
    transformed = root / 'artifacts' / 'Transform'
    running = program.start_run(root)
    running.wait_for(transformed.exists)
    running.signal(signal.SIGKILL)
    assert running.finish().exit_code == -signal.SIGKILL

    running = program.start_run(root)
    running.wait_for(lambda: list(root.glob('checkpoints/training-*/latest/checkpoint')))
    running.signal(signal.SIGKILL)
    assert running.finish().exit_code == -signal.SIGKILL

    running = program.start_run(root)
    running.wait_for(lambda: 'resuming after epoch' in running.screen)
    second = program.run(root)
    return Broken(root, running.finish(), running.pid, second)


def test_finished_steps_are_cached_after_a_kill(broken: Broken):
    first, second, third = runs.states(broken.root)
    assert 'Transform' not in {name for name, state in first.items() if state == COMPLETE}
    done = {name for name, state in first.items() if state == COMPLETE}
    assert {'XrayExampleGen', 'StatisticsGen', 'DataAudit', 'DataGate'} <= done
    assert {second[name] for name in done} == {CACHED}
    assert second['Transform'] == COMPLETE
    done |= {'Transform'}
    assert {third[name] for name in done} == {CACHED}
    assert {third[name] for name in set(REQUIRED) - done} == {COMPLETE}


def test_training_goes_on_where_it_was_killed(broken: Broken):
    assert broken.finished.exit_code == 0, broken.finished.screen
    assert 'resuming after epoch' in broken.finished.screen
    assert 'epoch 1/20: loss' not in broken.finished.screen
    assert 'epoch 20/20: loss' in broken.finished.screen
    assert list((broken.root / 'checkpoints').iterdir()) == []


def test_result_is_that_of_an_unbroken_run(broken: Broken, pushed):
    predictions = json.loads(
        (runs.last_output(broken.root, 'Trainer', 'model_run') / 'predictions.json').read_text()
    )
    assert predictions == pushed.predictions
    # Beam adds up batches of other sizes each time. What a few films do not define is null.
    found, expected = (
        {name: math.nan if value is None else value for name, value in manifest['metrics'].items()}
        for manifest in (
            runs.manifest(runs.newest_version(broken.root / 'serving')),
            pushed.manifest,
        )
    )
    assert found == pytest.approx(expected, rel=1e-6, nan_ok=True)


def test_second_run_on_one_root_ends_at_once_and_harms_nothing(broken: Broken):
    assert broken.second.exit_code == 1
    assert f'process {broken.pid} ' in broken.second.screen
    assert str(broken.root) in broken.second.screen
    assert '--root' in broken.second.screen
    assert not broken.second.has_traceback()
    # Neither a run nor a step of it is on record.
    assert len(runs.states(broken.root)) == 3
    assert broken.finished.exit_code == 0, broken.finished.screen


def test_interrupt_from_the_keyboard(program: Program, tmp_path: Path):
    running = program.start_run(tmp_path / 'root')
    running.wait_for(lambda: 'XrayExampleGen' in running.screen)
    running.signal(signal.SIGINT)
    finished = running.finish()
    assert finished.exit_code == 130, finished.screen
    assert not finished.has_traceback(), finished.screen
    assert 'run the same command again to resume' in finished.screen
    (states,) = runs.states(tmp_path / 'root')
    assert states['XrayExampleGen'] == COMPLETE
