"""Killed, interrupted and concurrent runs: finished work is kept, and the result is the same."""

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
class Interrupted:
    """A run root with two killed runs and a third that finished.

    Attributes:
      root: the run root.
      finished: the third run.
      pid: the process of the third run.
      concurrent: a run that started while the third was running.
    """

    root: Path
    finished: Finished
    pid: int
    concurrent: Finished


@pytest.fixture(scope='module')
def interrupted(program: Program, tmp_path_factory: pytest.TempPathFactory) -> Interrupted:
    """Kills a run during Transform and one after the first checkpoint, and lets a third finish."""
    root = tmp_path_factory.mktemp('interrupted') / 'root'
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
    concurrent = program.run(root)
    return Interrupted(root, running.finish(), running.pid, concurrent)


def test_finished_steps_are_cached_after_a_kill(interrupted: Interrupted):
    first, second, third = runs.states(interrupted.root)
    complete = {name for name, state in first.items() if state == COMPLETE}
    assert {'XrayExampleGen', 'StatisticsGen', 'DataAudit', 'DataGate'} <= complete
    assert 'Transform' not in complete
    assert {second[name] for name in complete} == {CACHED}
    assert second['Transform'] == COMPLETE
    complete |= {'Transform'}
    assert {third[name] for name in complete} == {CACHED}
    assert {third[name] for name in set(REQUIRED) - complete} == {COMPLETE}


def test_a_killed_training_resumes(interrupted: Interrupted):
    assert interrupted.finished.exit_code == 0, interrupted.finished.screen
    assert 'resuming after epoch' in interrupted.finished.screen
    assert 'epoch 1/20: loss' not in interrupted.finished.screen
    assert 'epoch 20/20: loss' in interrupted.finished.screen
    assert list((interrupted.root / 'checkpoints').iterdir()) == []


def test_the_result_is_that_of_an_uninterrupted_run(interrupted: Interrupted, pushed):
    predictions = json.loads(
        (
            runs.last_output(interrupted.root, 'Trainer', 'model_run') / 'predictions.json'
        ).read_text()
    )
    assert predictions['splits'] == pushed.predictions['splits']
    # Fitted in float64, so its last bit depends on the batches in which the logits were computed.
    assert predictions['operating_point'] == pytest.approx(
        pushed.predictions['operating_point'], rel=1e-9
    )
    assert predictions.keys() == {'operating_point', 'splits'}
    # Beam sums batches of different sizes each time. Metrics that need more images are null.
    actual, expected = (
        {name: math.nan if value is None else value for name, value in manifest['metrics'].items()}
        for manifest in (
            runs.manifest(runs.newest_version(interrupted.root / 'serving')),
            pushed.manifest,
        )
    )
    assert actual == pytest.approx(expected, rel=1e-6, nan_ok=True)


def test_a_concurrent_run_on_the_same_root_is_refused_without_harm(interrupted: Interrupted):
    assert interrupted.concurrent.exit_code == 1
    assert f'process {interrupted.pid} ' in interrupted.concurrent.screen
    assert str(interrupted.root) in interrupted.concurrent.screen
    assert '--root' in interrupted.concurrent.screen
    assert not interrupted.concurrent.has_traceback()
    # The concurrent run left no record.
    assert len(runs.states(interrupted.root)) == 3
    assert interrupted.finished.exit_code == 0, interrupted.finished.screen


def test_ctrl_c_stops_a_run_that_can_resume(program: Program, tmp_path: Path):
    running = program.start_run(tmp_path / 'root')
    running.wait_for(lambda: 'XrayExampleGen' in running.screen)
    running.signal(signal.SIGINT)
    finished = running.finish()
    assert finished.exit_code == 130, finished.screen
    assert not finished.has_traceback(), finished.screen
    assert 'run the same command again to resume' in finished.screen
    (states,) = runs.states(tmp_path / 'root')
    assert states['XrayExampleGen'] == COMPLETE
