"""The metadata store as runs: how each ended and why, and where its artifacts lie."""

from __future__ import annotations

import os
import shutil
import socket
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


FAILURE = """2026-11-21 22:26:00,123 E cxr_triage: run failed
Traceback (most recent call last):
  File "/x/local_runner.py", line 1, in run
    ).launch()
components.data_gate.rules.DataGateError: the data breaks 1 of its limits:
  - missing_metadata: 244 of 244 images
All rules: /x/gate.json

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "/x/execute.py", line 2, in execute
pipeline.local_runner.StepError: step DataGate failed
"""


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
        pytest.param(STATES.COMPLETE, {'pushed': 0}, runs.REFUSED, id='not blessed'),
        pytest.param(STATES.COMPLETE, {}, runs.REFUSED, id='a property is missing'),
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
    log(made.root, '20261121-222535', FAILURE)
    run = only(made.root)
    assert run.state == runs.BROKEN
    (reason,) = run.reasons
    assert reason.startswith(
        'DataGate failed: the data breaks 1 of its limits:\n  - missing_metadata: 244 of 244 images'
    )
    assert 'Trainer' in run.missing and 'Tuner' not in run.missing


def test_a_step_that_failed_whose_log_is_gone(made: MadeRoot):
    made.step(FIRST, 'Trainer', STATES.FAILED)
    assert only(made.root).reasons == ('Trainer failed; its log is gone',)


@pytest.mark.parametrize('state', [STATES.RUNNING, STATES.COMPLETE])
def test_a_run_that_was_killed(made: MadeRoot, state):
    made.step(FIRST, 'XrayExampleGen', outputs={'examples': {}})
    made.step(FIRST, 'Trainer', state)
    run = only(made.root)
    assert run.state == runs.STOPPED
    assert ('in Trainer' if state == STATES.RUNNING else 'after Trainer') in run.reasons[0]


def test_a_run_that_was_killed_before_its_first_step(made: MadeRoot):
    made.begin(FIRST)
    run = only(made.root)
    assert (run.state, run.executions) == (runs.STOPPED, {})
    assert 'before its first step' in run.reasons[0]


def test_only_the_newest_run_can_be_running(made: MadeRoot):
    for name in (FIRST, SECOND):
        made.step(name, 'Trainer', STATES.RUNNING)
    with root_lock.hold(str(made.root)):
        newest, older = runs.all_runs(store.read(made.root))
    assert (newest.state, older.state) == (runs.RUNNING, runs.STOPPED)
    (reason,) = newest.reasons
    assert f'process {os.getpid()} on {socket.gethostname()}' in reason
    assert reason.endswith('is at Trainer')


def test_a_killed_run_whose_process_number_lives_on_in_another_process_is_not_running(
    made: MadeRoot,
):
    made.step(FIRST, 'Trainer', STATES.RUNNING)
    (made.root / '.lock').touch()
    # The parent of this test is a process that lives, and it is not that run.
    (made.root / '.lock-owner').write_text(
        f'process {os.getppid()} on {socket.gethostname()}, since now'
    )
    assert only(made.root).state == runs.STOPPED


def test_a_run_that_ended_before_the_store_is_known_by_its_log(made: MadeRoot):
    made.step(FIRST, 'Pusher', outputs={'pushed_model': {'pushed': 1}})
    log(made.root, '20261121-222535', 'all is well\n')
    log(
        made.root,
        '20261123-070000',
        'x\n2026 E cxr_triage: run failed\nTraceback (most recent call last):\n  '
        'File\nrecords.DataRootError: /none: no files\n',
    )
    log(made.root, '20261123-080000', 'it is about to begin\n')
    newest, older = runs.all_runs(store.read(made.root))
    assert (newest.state, newest.reasons, newest.title) == (
        runs.NOT_STARTED,
        ('/none: no files',),
        '2026-11-23 07:00:00',
    )
    assert older.log == made.root / 'logs' / '20261121-222535.log'


@pytest.mark.parametrize(
    ('text', 'found'),
    [
        pytest.param('', '', id='nothing'),
        pytest.param(
            FAILURE,
            'the data breaks 1 of its limits:\n  - missing_metadata: 244 of 244 images\nAll '
            'rules: /x/gate.json',
            id='a step',
        ),
        pytest.param(
            'cxr_triage: run failed\nTraceback (most recent call last):\n  File "x"\nValueError: '
            'one\n'
            '\nDuring handling of the above exception, another exception occurred:\n'
            '\nTraceback (most recent call last):\n  File "y"\nOSError: two\n',
            'two',
            id='while another was handled',
        ),
        pytest.param(
            'cxr_triage: run failed\nTraceback (most recent call last):\n  File "x"\nKeyError\n',
            'KeyError',
            id='without words',
        ),
        pytest.param(
            'cxr_triage: run failed\nTraceback (most recent call last):\n  x\nValueError: a: '
            'b\n2026-11-21 22:26:00,123 I absl: next\n',
            'a: b',
            id='log goes on',
        ),
    ],
)
def test_what_ended_a_run_out_of_its_log(text, found):
    assert runs.failure(text) == found


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
