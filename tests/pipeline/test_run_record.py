"""The record of a run: its content after each step, and the outcome."""

from __future__ import annotations

import json
import os
from pathlib import Path

import psutil
import pytest

from pipeline import run_record

NAME = '2026-11-21T22:25:35.123456'
FILE = '2026-11-21T22-25-35-123456.json'


def _recording(root: Path):
    return run_record.recording(str(root), NAME, 'p', str(root / 'logs' / 'a.log'))


def _record(root: Path) -> run_record.RunRecord:
    return run_record.read_all(root)[NAME]


def test_the_record_contains_steps_and_outcome(tmp_path: Path) -> None:
    with _recording(tmp_path) as recorder:
        assert _record(tmp_path).is_running(str(tmp_path))
        recorder.begin_step('Trainer')
        assert _record(tmp_path).steps == {'Trainer': {'state': 'running', 'seconds': 0.0}}
        recorder.end_step('Trainer', 'ran', 1.23456)
        recorder.end(run_record.PUSHED, version='7')
    record = _record(tmp_path)
    assert (record.state, record.step, record.version) == ('pushed', 'Trainer', '7')
    assert record.steps == {'Trainer': {'state': 'ran', 'seconds': 1.235}}
    assert record.log == 'logs/a.log'
    assert record.pid == os.getpid()
    assert record.process_started == psutil.Process().create_time()
    assert record.ended >= record.started
    assert not record.is_running(str(tmp_path))
    assert [path.name for path in (tmp_path / 'runs').iterdir()] == [FILE]


@pytest.mark.parametrize(
    ('error', 'step', 'state', 'reason'),
    [
        (KeyboardInterrupt(), 'Trainer', 'interrupted', 'it was interrupted in Trainer'),
        (KeyboardInterrupt(), '', 'interrupted', 'it was interrupted before its first step'),
        (ImportError('no module x'), '', 'did not start', 'no module x'),
        (KeyError(), 'Trainer', 'failed', 'KeyError'),
    ],
)
def test_an_exception_sets_state_and_reason(tmp_path: Path, error, step, state, reason) -> None:
    with pytest.raises(type(error)), _recording(tmp_path) as recorder:
        if step:
            recorder.begin_step(step)
        raise error
    record = _record(tmp_path)
    assert record.state == state
    assert record.reasons[0].startswith(reason)


def test_a_later_exception_does_not_replace_the_outcome(tmp_path: Path) -> None:
    with pytest.raises(OSError), _recording(tmp_path) as recorder:
        recorder.end(run_record.NOT_BLESSED, ['auc'])
        raise OSError
    assert _record(tmp_path).reasons == ['auc']


def test_a_run_continues_without_a_writable_record(tmp_path: Path, caplog) -> None:
    with _recording(tmp_path) as recorder:
        (tmp_path / 'runs' / FILE).unlink()
        (tmp_path / 'runs').rmdir()
        recorder.begin_step('Trainer')
    assert 'cannot be written' in caplog.text


def test_a_root_that_is_not_writable_is_named(tmp_path: Path) -> None:
    (tmp_path / 'runs').write_text('a file')
    with pytest.raises(OSError, match='runs'), _recording(tmp_path):
        pass


def test_invalid_records_are_skipped_with_a_warning(tmp_path: Path, caplog) -> None:
    (tmp_path / 'runs').mkdir()
    (tmp_path / 'runs' / 'a.json').write_text(json.dumps({'unknown': 1}))
    assert run_record.read_all(tmp_path) == {}
    assert 'a.json is not a valid run record' in caplog.text
