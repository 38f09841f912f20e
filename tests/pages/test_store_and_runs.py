"""The metadata store as runs: how each ended and why, and where its artifacts lie."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from pages import lineage, runs, store
from pipeline import root_lock
from tests.support.synthetic_root import STATES, MadeRoot

FIRST, SECOND = '2026-11-21T22:25:35.123456', '2026-11-22T08:00:00.000001'


def only(root: Path) -> runs.Run:
    (run,) = runs.all_runs(store.read(root))
    return run


def log(root: Path, name: str, text: str) -> None:
    (root / 'logs').mkdir(exist_ok=True)
    (root / 'logs' / f'{name}.log').write_text(text)


REASON = """DataGate failed: the data breaks 1 of its limits:
  - missing_metadata: 244 of 244 images
All rules: /x/gate.json"""


def test_a_root_without_a_store_has_no_runs(tmp_path):
    assert runs.all_runs(store.read(tmp_path)) == []
    assert not (tmp_path / 'metadata.sqlite').exists()


@pytest.mark.parametrize(
    ('state', 'properties', 'ending'),
    [
        pytest.param(STATES.COMPLETE, {'pushed': 1}, runs.PUSHED, id='pushed'),
        pytest.param(
            STATES.COMPLETE,
            {'pushed': 1, 'already_served': 1},
            runs.SERVED,
            id='found to be served',
        ),
        pytest.param(STATES.CACHED, {'pushed': 1}, runs.SERVED, id='from the cache'),
        pytest.param(STATES.COMPLETE, {'pushed': 0}, runs.NOT_BLESSED, id='not blessed'),
        pytest.param(STATES.COMPLETE, {}, runs.NOT_BLESSED, id='a property is missing'),
    ],
)
def test_ending_of_a_run_that_came_to_its_pusher(made: MadeRoot, state, properties, ending):
    made.step(FIRST, 'Trainer', outputs={'model': {}})
    made.step(FIRST, 'Pusher', state, outputs={'pushed_model': properties})
    run = only(made.root)
    assert (run.state, run.reasons, run.title) == (ending, (), '2026-11-21 22:25:35')
    assert set(runs.MARKS) >= {run.state}


def test_a_step_that_failed_says_why(made: MadeRoot):
    made.step(FIRST, 'DataAudit', outputs={'audit': {}})
    made.step(FIRST, 'DataGate', STATES.FAILED)
    made.record(FIRST, state=runs.BROKEN, step='DataGate', reasons=[REASON])
    run = only(made.root)
    assert (run.state, run.reasons) == (runs.BROKEN, (REASON,))
    assert 'Trainer' in run.missing and 'Tuner' not in run.missing
    assert set(run.versions) >= {'python', 'tfx', 'tensorflow'}


def test_a_step_that_failed_in_a_run_without_a_record(made: MadeRoot):
    made.step(FIRST, 'Trainer', STATES.FAILED)
    assert only(made.root).reasons == ('Trainer failed; this run has no record, its log says why',)


@pytest.mark.parametrize('state', [STATES.RUNNING, STATES.COMPLETE])
def test_a_run_without_a_record_that_did_not_end(made: MadeRoot, state):
    made.step(FIRST, 'XrayExampleGen', outputs={'examples': {}})
    made.step(FIRST, 'Trainer', state)
    run = only(made.root)
    assert run.state == runs.STOPPED
    assert ('in Trainer' if state == STATES.RUNNING else 'after Trainer') in run.reasons[0]


def test_a_run_without_a_record_and_without_a_step(made: MadeRoot):
    made.begin(FIRST)
    run = only(made.root)
    assert (run.state, run.executions) == (runs.STOPPED, {})
    assert 'before its first step' in run.reasons[0]


def test_a_run_is_running_while_its_process_is(made: MadeRoot):
    made.step(FIRST, 'Trainer', STATES.RUNNING)
    made.record(FIRST, step='Trainer', steps={'Trainer': {'state': 'running', 'seconds': 0.0}})
    run = only(made.root)
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
    ('step', 'state', 'where'),
    [
        ('Trainer', 'running', 'in Trainer'),
        ('Trainer', 'ran', 'after Trainer'),
        ('', '', 'before its first step'),
    ],
)
def test_a_killed_run_is_not_running(made: MadeRoot, reused: bool, step, state, where):
    # The parent of this test lives, and it is not that run: it started at another time.
    pid = os.getppid() if reused else _dead_pid()
    steps = {step: {'state': state, 'seconds': 0.0}} if step else {}
    made.record(FIRST, pid=pid, process_started=1.0, step=step, steps=steps)
    run = only(made.root)
    assert run.state == runs.KILLED
    assert run.reasons[0].startswith(f'it ended {where}: it was killed, or memory ran out')


def test_the_lock_decides_about_a_run_of_another_machine(made: MadeRoot):
    made.record(FIRST, host='elsewhere', pid=_dead_pid())
    assert only(made.root).state == runs.KILLED
    with root_lock.hold(str(made.root)):
        assert only(made.root).state == runs.RUNNING


def test_a_run_that_never_reached_the_store_is_known_by_its_record(made: MadeRoot):
    made.step(FIRST, 'Pusher', outputs={'pushed_model': {'pushed': 1}})
    made.record(FIRST, state=runs.PUSHED, version='7')
    log(made.root, '20261121-222535', 'all is well\n')
    made.record(SECOND, state=runs.NOT_STARTED, reasons=['/none: no files'])
    newest, older = runs.all_runs(store.read(made.root))
    assert (newest.state, newest.reasons, newest.title, newest.pipeline) == (
        runs.NOT_STARTED,
        ('/none: no files',),
        '2026-11-22 08:00:00',
        'made',
    )
    assert older.log == made.root / 'logs' / '20261121-222535.log'


def test_a_run_with_nothing_but_a_log_is_shown_as_one_without_a_record(made: MadeRoot):
    log(made.root, '20261123-070000', 'x\n')
    run = only(made.root)
    assert (run.state, run.title) == (runs.NOT_STARTED, '2026-11-23 07:00:00')
    assert 'no record' in run.reasons[0] and '20261123-070000.log' in run.reasons[0]


def test_a_pushed_run_whose_store_was_deleted_is_still_listed(made: MadeRoot):
    made.record(FIRST, state=runs.PUSHED, version='7')
    run = only(made.root)
    assert run.state == runs.PUSHED
    assert lineage.served_version(run) is None


def test_a_damaged_record_hides_no_other_run(made: MadeRoot):
    made.record(FIRST, state=runs.PUSHED)
    (made.root / 'runs' / 'half.json').write_text('{"name": ')
    assert only(made.root).name == FIRST


def test_makers_are_those_that_made_it_and_not_those_that_found_it(made: MadeRoot):
    first = made.step(FIRST, 'Trainer', outputs={'model': {}})
    made.step(SECOND, 'Trainer', STATES.CACHED, reused={'model': [first['model']]})
    found = store.read(made.root)
    newest, _ = runs.all_runs(found)
    assert newest.artifact('Trainer', 'model').id == first['model']
    assert found.makers[first['model']].run == FIRST


def test_a_root_that_was_copied_finds_its_artifacts(made: MadeRoot, tmp_path):
    number = made.step(FIRST, 'Trainer', outputs={'model': {}})['model']
    (made.folder('Trainer', 'model', number) / 'x.json').write_text('{"a": 1}')
    moved = tmp_path / 'elsewhere'
    shutil.move(made.root, moved)
    run = only(moved)
    assert run.json('Trainer', 'model', 'x.json') == {'a': 1}
    assert run.path('Trainer', 'model', 'none') is None


def test_a_copy_of_a_root_does_not_read_the_original(made: MadeRoot, tmp_path):
    number = made.step(FIRST, 'Trainer', outputs={'model': {}})['model']
    served = made.root / 'serving' / '7'
    served.mkdir(parents=True)
    made.step(
        FIRST,
        'Pusher',
        outputs={
            'pushed_model': {'pushed': 1, 'pushed_version': '7', 'pushed_destination': str(served)}
        },
    )
    original = made.folder('Trainer', 'model', number) / 'x.json'
    original.write_text('{"a": 1}')
    copy = tmp_path / 'copy'
    shutil.copytree(made.root, copy)
    original.write_text('{"a": 2}')
    run = only(copy)
    assert run.json('Trainer', 'model', 'x.json') == {'a': 1}
    assert lineage.served_version(run).path == str(copy / 'serving' / '7')


def test_lineage_goes_back_to_the_first_step_and_names_who_really_made_it(made: MadeRoot):
    examples = made.step(FIRST, 'XrayExampleGen', outputs={'examples': {}})['examples']
    schema = made.step(FIRST, 'CuratedSchema', outputs={'schema': {}})['schema']
    model = made.step(
        FIRST, 'Trainer', inputs={'examples': [examples], 'schema': [schema]}, outputs={'model': {}}
    )['model']
    made.step(FIRST, 'DataAudit', inputs={'examples': [examples]}, outputs={'audit': {}})
    made.step(
        SECOND, 'Trainer', STATES.CACHED, inputs={'examples': [examples]}, reused={'model': [model]}
    )
    pushed = made.step(
        SECOND, 'Pusher', inputs={'model': [model]}, outputs={'pushed_model': {'pushed': 1}}
    )['pushed_model']
    links = lineage.trace(store.read(made.root), pushed)
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


def test_difference_names_what_changed_came_and_went():
    assert lineage.difference({'a': '1', 'b': '2', 'c': '3'}, {'a': '1', 'b': '4', 'd': '5'}) == [
        ('b', '2', '4'),
        ('c', '3', ''),
        ('d', '', '5'),
    ]


def test_facts_hold_configuration_and_digests(made: MadeRoot):
    made.step(
        FIRST,
        'XrayExampleGen',
        outputs={'examples': {}},
        parameters={'code_digest': 'abc', 'fingerprint': 'f00', 'task': 'nih_triage'},
    )
    made.step(
        FIRST,
        'Trainer',
        outputs={'model': {}},
        parameters={'custom_config': '{"code_digest": "def", "weights_digest": "w"}'},
    )
    made.step(
        FIRST,
        'Pusher',
        outputs={'pushed_model': {}},
        parameters={'push': '{"config": {"train": {"epochs": 3}, "beam": []}}'},
    )
    found = lineage.facts(only(made.root))
    assert found == {
        'code.Trainer': 'def',
        'code.XrayExampleGen': 'abc',
        'config.beam': '[]',
        'config.train.epochs': '3',
        'data.fingerprint': 'f00',
        'task': 'nih_triage',
        'weights': 'w',
    }
