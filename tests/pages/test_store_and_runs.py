"""Reads runs from the metadata store and the run records: outcome, reasons, artifacts, lineage."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from pages import lineage, runs, store
from pipeline import root_lock
from tests.support.synthetic_root import PIPELINE, STATES, RootBuilder

FIRST, SECOND = '2026-11-21T22:25:35.123456', '2026-11-22T08:00:00.000001'


def only_run(root: Path) -> runs.Run:
    (run,) = runs.all_runs(store.read(root))
    return run


def write_log(root: Path, name: str, text: str) -> None:
    (root / 'logs').mkdir(exist_ok=True)
    (root / 'logs' / f'{name}.log').write_text(text)


REASON = """DataGate failed: the data breaks 1 of its limits:
  - missing_metadata: 244 of 244 images
All rules: /x/gate.json"""


def test_a_root_without_a_store_has_no_runs(tmp_path):
    assert runs.all_runs(store.read(tmp_path)) == []
    assert not (tmp_path / 'metadata.sqlite').exists()


@pytest.mark.parametrize(
    ('state', 'properties', 'outcome'),
    [
        pytest.param(STATES.COMPLETE, {'pushed': 1}, runs.PUSHED, id='pushed'),
        pytest.param(
            STATES.COMPLETE,
            {'pushed': 1, 'already_served': 1},
            runs.SERVED,
            id='already served',
        ),
        pytest.param(STATES.CACHED, {'pushed': 1}, runs.SERVED, id='from the cache'),
        pytest.param(STATES.COMPLETE, {'pushed': 0}, runs.NOT_BLESSED, id='not blessed'),
        pytest.param(STATES.COMPLETE, {}, runs.NOT_BLESSED, id='a property is missing'),
    ],
)
def test_outcome_of_a_run_that_reached_the_pusher(builder: RootBuilder, state, properties, outcome):
    builder.step(FIRST, 'Trainer', outputs={'model': {}})
    builder.step(FIRST, 'Pusher', state, outputs={'pushed_model': properties})
    run = only_run(builder.root)
    assert (run.state, run.title) == (outcome, '2026-11-21 22:25:35')
    assert any('its evaluation page' in reason for reason in run.reasons) == (
        outcome == runs.NOT_BLESSED
    )
    assert set(runs.MARKS) >= {run.state}


def test_a_failed_step_gives_the_reason(builder: RootBuilder):
    builder.step(FIRST, 'DataAudit', outputs={'audit': {}})
    builder.step(FIRST, 'DataGate', STATES.FAILED)
    builder.record(FIRST, state=runs.BROKEN, step='DataGate', reasons=[REASON])
    run = only_run(builder.root)
    assert (run.state, run.reasons) == (runs.BROKEN, (REASON,))
    assert 'Trainer' in run.missing and 'Tuner' not in run.missing
    assert set(run.versions) >= {'python', 'tfx', 'tensorflow'}


def test_a_failed_step_of_a_run_without_a_record(builder: RootBuilder):
    builder.step(FIRST, 'Trainer', STATES.FAILED)
    assert only_run(builder.root).reasons == (
        'Trainer failed; this run has no record, its log says why',
    )


@pytest.mark.parametrize('state', [STATES.RUNNING, STATES.COMPLETE])
def test_an_unfinished_run_without_a_record(builder: RootBuilder, state):
    builder.step(FIRST, 'XrayExampleGen', outputs={'examples': {}})
    builder.step(FIRST, 'Trainer', state)
    run = only_run(builder.root)
    assert run.state == runs.STOPPED
    assert ('in Trainer' if state == STATES.RUNNING else 'after Trainer') in run.reasons[0]


def test_a_run_without_a_record_or_a_step(builder: RootBuilder):
    builder.begin(FIRST)
    run = only_run(builder.root)
    assert (run.state, run.executions) == (runs.STOPPED, {})
    assert 'before its first step' in run.reasons[0]


def test_a_run_with_a_live_process_is_running(builder: RootBuilder):
    builder.step(FIRST, 'Trainer', STATES.RUNNING)
    builder.record(FIRST, step='Trainer', steps={'Trainer': {'state': 'running', 'seconds': 0.0}})
    run = only_run(builder.root)
    assert run.state == runs.RUNNING
    (reason,) = run.reasons
    assert f'process {os.getpid()} on {socket.gethostname()}' in reason
    assert reason.endswith('is at Trainer')


def _dead_pid() -> int:
    process = subprocess.Popen(['true'])
    process.wait()
    return process.pid


@pytest.mark.parametrize('reused', [False, True], ids=['no such process', 'another process'])
@pytest.mark.parametrize(
    ('step', 'state', 'position'),
    [
        ('Trainer', 'running', 'in Trainer'),
        ('Trainer', 'ran', 'after Trainer'),
        ('', '', 'before its first step'),
    ],
)
def test_a_killed_run_is_not_running(builder: RootBuilder, reused: bool, step, state, position):
    # The parent process of this test is alive, but started at another time than the run.
    pid = os.getppid() if reused else _dead_pid()
    steps = {step: {'state': state, 'seconds': 0.0}} if step else {}
    builder.record(FIRST, pid=pid, process_started=1.0, step=step, steps=steps)
    run = only_run(builder.root)
    assert run.state == runs.KILLED
    assert run.reasons[0].startswith(f'it ended {position}: it was killed, or memory ran out')


def test_a_run_of_another_machine_runs_while_the_root_is_locked(builder: RootBuilder):
    builder.record(FIRST, host='another-host', pid=_dead_pid())
    assert only_run(builder.root).state == runs.KILLED
    with root_lock.acquire(str(builder.root)):
        assert only_run(builder.root).state == runs.RUNNING


def test_a_run_that_is_not_in_the_store_is_read_from_its_record(builder: RootBuilder):
    builder.step(FIRST, 'Pusher', outputs={'pushed_model': {'pushed': 1}})
    builder.record(FIRST, state=runs.PUSHED, version='7')
    write_log(builder.root, '20261121-222535', 'all steps ran\n')
    builder.record(SECOND, state=runs.NOT_STARTED, reasons=['/none: no files'])
    newest, older = runs.all_runs(store.read(builder.root))
    assert (newest.state, newest.reasons, newest.title, newest.pipeline) == (
        runs.NOT_STARTED,
        ('/none: no files',),
        '2026-11-22 08:00:00',
        PIPELINE,
    )
    assert older.log == builder.root / 'logs' / '20261121-222535.log'


def test_a_run_with_only_a_log_is_listed_without_a_record(builder: RootBuilder):
    write_log(builder.root, '20261123-070000', 'x\n')
    run = only_run(builder.root)
    assert (run.state, run.title) == (runs.NOT_STARTED, '2026-11-23 07:00:00')
    assert 'no record' in run.reasons[0] and '20261123-070000.log' in run.reasons[0]


def test_a_pushed_run_is_listed_after_its_store_was_deleted(builder: RootBuilder):
    builder.record(FIRST, state=runs.PUSHED, version='7')
    run = only_run(builder.root)
    assert run.state == runs.PUSHED
    assert lineage.served_version(run) is None


def test_a_damaged_record_does_not_hide_other_runs(builder: RootBuilder):
    builder.record(FIRST, state=runs.PUSHED)
    (builder.root / 'runs' / 'half.json').write_text('{"name": ')
    assert only_run(builder.root).name == FIRST


def test_the_maker_of_a_cached_artifact_is_the_first_run(builder: RootBuilder):
    first = builder.step(FIRST, 'Trainer', outputs={'model': {}})
    builder.step(SECOND, 'Trainer', STATES.CACHED, reused={'model': [first['model']]})
    stored = store.read(builder.root)
    newest, _ = runs.all_runs(stored)
    assert newest.artifact('Trainer', 'model').id == first['model']
    assert stored.producers[first['model']].run == FIRST


def test_a_moved_root_finds_its_artifacts(builder: RootBuilder, tmp_path):
    number = builder.step(FIRST, 'Trainer', outputs={'model': {}})['model']
    (builder.folder('Trainer', 'model', number) / 'x.json').write_text('{"a": 1}')
    moved = tmp_path / 'moved'
    shutil.move(builder.root, moved)
    run = only_run(moved)
    assert run.json('Trainer', 'model', 'x.json') == {'a': 1}
    assert run.path('Trainer', 'model', 'none') is None


def test_a_copied_root_does_not_read_the_original(builder: RootBuilder, tmp_path):
    number = builder.step(FIRST, 'Trainer', outputs={'model': {}})['model']
    served = builder.root / 'serving' / '7'
    served.mkdir(parents=True)
    builder.step(
        FIRST,
        'Pusher',
        outputs={
            'pushed_model': {'pushed': 1, 'pushed_version': '7', 'pushed_destination': str(served)}
        },
    )
    original = builder.folder('Trainer', 'model', number) / 'x.json'
    original.write_text('{"a": 1}')
    copy = tmp_path / 'copy'
    shutil.copytree(builder.root, copy)
    original.write_text('{"a": 2}')
    run = only_run(copy)
    assert run.json('Trainer', 'model', 'x.json') == {'a': 1}
    assert lineage.served_version(run).path == str(copy / 'serving' / '7')


def test_lineage_goes_back_to_the_first_step_and_names_the_first_run(builder: RootBuilder):
    examples = builder.step(FIRST, 'XrayExampleGen', outputs={'examples': {}})['examples']
    schema = builder.step(FIRST, 'CuratedSchema', outputs={'schema': {}})['schema']
    model = builder.step(
        FIRST, 'Trainer', inputs={'examples': [examples], 'schema': [schema]}, outputs={'model': {}}
    )['model']
    builder.step(FIRST, 'DataAudit', inputs={'examples': [examples]}, outputs={'audit': {}})
    builder.step(
        SECOND, 'Trainer', STATES.CACHED, inputs={'examples': [examples]}, reused={'model': [model]}
    )
    pushed = builder.step(
        SECOND, 'Pusher', inputs={'model': [model]}, outputs={'pushed_model': {'pushed': 1}}
    )['pushed_model']
    links = lineage.trace(store.read(builder.root), pushed)
    assert [(link.execution.step, link.execution.run) for link in links] == [
        ('XrayExampleGen', FIRST),
        ('CuratedSchema', FIRST),
        ('Trainer', FIRST),
        ('Pusher', SECOND),
    ]
    assert [(key, artifact.id) for key, artifact in links[2].inputs] == [
        ('examples', examples),
        ('schema', schema),
    ]


def test_difference_lists_changed_removed_and_added_settings():
    before = {'config.a': '1', 'config.b': '2', 'config.c': '3', 'weights': 'w'}
    after = {'config.a': '1', 'config.b': '4', 'config.d': '5', 'weights': 'x'}
    assert lineage.difference(before, after) == [
        ('config.b', '2', '4'),
        ('config.c', '3', ''),
        ('config.d', '', '5'),
        ('weights', 'w', 'x'),
    ]


@pytest.mark.parametrize(
    'ended_early',
    [{}, {'task': 'nih_triage', 'schema': 's'}],
    ids=['did not start', 'without settings'],
)
def test_a_fact_that_only_one_run_recorded_is_no_difference(ended_early):
    complete = {'config.a': '1', 'code.Pusher': 'd', 'schema': 's', 'served_version': '7'}
    assert lineage.difference(complete, ended_early) == []
    assert lineage.difference(ended_early, complete) == []


def test_name_note_and_settings_come_from_the_record(builder: RootBuilder):
    builder.step(FIRST, 'Trainer')
    settings = {'train': {'seed': 3}}
    builder.record(FIRST, display_name='wider head', note='twice the units', settings=settings)
    builder.record(SECOND, state=runs.NOT_STARTED)
    unnamed, named = runs.all_runs(store.read(builder.root))
    assert (named.label, named.note) == ('wider head 2026-11-21 22:25:35', 'twice the units')
    assert named.config == settings
    assert lineage.facts(named)['config.train.seed'] == '3'
    assert (unnamed.label, unnamed.note, unnamed.config) == ('2026-11-22 08:00:00', '', {})


def test_facts_include_configuration_and_digests(builder: RootBuilder):
    builder.step(
        FIRST,
        'XrayExampleGen',
        outputs={'examples': {}},
        parameters={'code_digest': 'abc', 'fingerprint': 'f00', 'task': 'nih_triage'},
    )
    builder.step(
        FIRST,
        'Trainer',
        outputs={'model': {}},
        parameters={'custom_config': '{"code_digest": "def", "weights_digest": "w"}'},
    )
    builder.step(
        FIRST,
        'Pusher',
        outputs={'pushed_model': {}},
        parameters={'push': '{"config": {"train": {"epochs": 3}, "beam": []}}'},
    )
    assert lineage.facts(only_run(builder.root)) == {
        'code.Trainer': 'def',
        'code.XrayExampleGen': 'abc',
        'config.beam': '[]',
        'config.train.epochs': '3',
        'data.fingerprint': 'f00',
        'task': 'nih_triage',
        'weights': 'w',
    }
