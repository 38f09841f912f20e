"""`run --if-needed`: what counts as a change, and what a run depends on."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import pytest

from cli import main as cli
from pipeline import config as config_lib
from pipeline import run_inputs, run_need, run_record
from pipeline.exit_codes import FAILED, NOT_NEEDED

STARTED = '2026-11-21T22:25:35.123'
START = datetime.datetime.fromisoformat(STARTED).astimezone()
HOUR = datetime.timedelta(hours=1)
INPUTS = {
    'data': f'2-files-1000-bytes-{"a" * 64}',
    'spans': '0',
    'code': 'c',
    'weights': '',
    'expert_labels': '',
}
SETTINGS = {'pipeline': 'p', 'train': {'epochs': 8, 'seed': 0}, 'data': {'spans': 'all'}}


def _record(**fields) -> run_record.RunRecord:
    return run_record.RunRecord(
        **{
            'name': STARTED,
            'pipeline': 'p',
            'log': 'logs/a.log',
            'host': 'h',
            'pid': 1,
            'process_started': 0.0,
            'started': STARTED,
            'state': run_record.PUSHED,
            'version': '7',
            'settings': SETTINGS,
            'inputs': INPUTS,
            **fields,
        }
    )


def _reasons(last, inputs=INPUTS, settings=SETTINGS, now=START + HOUR, **more) -> list[str]:
    return run_need.reasons(inputs, settings, last, now=now, **more)


@pytest.mark.parametrize('state', ['pushed', 'served already', 'not blessed'])
def test_nothing_is_needed_if_nothing_changed(state: str) -> None:
    record = _record(state=state)
    assert run_need.last_finished({'a': record}, 'p') is record
    assert _reasons(record) == []


@pytest.mark.parametrize(
    ('inputs', 'settings', 'reason'),
    [
        ({'spans': '0,1,2', 'data': 'x'}, {}, 'new spans: 1, 2'),
        (
            {'data': f'3-files-2000-bytes-{"b" * 64}'},
            {},
            'the data changed: 2 files of 1,000 bytes before, 3 files of 2,000 bytes now',
        ),
        ({'code': 'd'}, {}, 'the code changed'),
        ({'weights': 'w'}, {}, 'the ImageNet weights changed'),
        ({'expert_labels': 'e'}, {}, 'the table of expert labels changed'),
        (
            {},
            {'train': {'epochs': 9, 'seed': 0, 'ema': 0.1}},
            'the configuration changed: train.ema, train.epochs',
        ),
    ],
)
def test_each_change_is_named(inputs: dict, settings: dict, reason: str) -> None:
    assert _reasons(_record(), INPUTS | inputs, SETTINGS | settings) == [reason]


def test_a_run_that_did_not_finish_is_not_compared_with() -> None:
    older = _record(started='2026-11-20T00:00:00.000', state=run_record.NOT_BLESSED)
    records = {
        'older': older,
        'failed': _record(state=run_record.FAILED),
        'killed': _record(state=run_record.RUNNING),
        'other': _record(pipeline='q'),
    }
    assert run_need.last_finished(records, 'p') is older
    assert _reasons(run_need.last_finished({}, 'p')) == ['no run has ended with a model yet']
    assert _reasons(_record(inputs={})) == [
        'the run of 2026-11-21 22:25:35 did not record what it depends on'
    ]


@pytest.mark.parametrize(
    ('is_alarm', 'after', 'version', 'last', 'is_needed'),
    [
        pytest.param(True, HOUR, 7, '7', True, id='alarm'),
        pytest.param(True, HOUR, 6, '', True, id='the last run pushed nothing'),
        pytest.param(False, HOUR, 7, '7', False, id='no alarm'),
        pytest.param(True, -HOUR, 7, '7', False, id='before the last run'),
        pytest.param(True, HOUR, 6, '7', False, id='of a version that is replaced'),
    ],
)
def test_an_alarm_after_the_last_run_counts(is_alarm, after, version, last, is_needed) -> None:
    alarm = run_need.Alarm(Path('m'), is_alarm, START + after, version)
    reasons = _reasons(_record(version=last), alarm=alarm)
    assert bool(reasons) == is_needed
    assert not reasons or reasons[0].startswith(f'version {version} has an alarm of ')


def test_an_old_run_counts() -> None:
    now = START + datetime.timedelta(days=31)
    assert _reasons(_record(), now=now, max_age_days=31.5) == []
    assert _reasons(_record(), now=now, max_age_days=30) == [
        'the last run is 31.0 days old, more than 30'
    ]


@pytest.mark.parametrize(
    'text', [None, '[]', '{}', '{"alarm": true, "at": "2026-01-01T00:00:00", "window": {}}']
)
def test_another_file_than_that_of_monitor_is_refused(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / 'monitor.json'
    if text is not None:
        path.write_text(text)
    with pytest.raises(run_need.AlarmError, match='that `cxr-triage monitor` writes'):
        run_need.read_alarm(path)


def test_the_file_of_monitor_is_read(tmp_path: Path) -> None:
    path = tmp_path / 'monitor.json'
    at = '2026-01-01T10:00:00+00:00'
    path.write_text(json.dumps({'alarm': True, 'at': at, 'version': 7}))
    assert run_need.read_alarm(path) == run_need.Alarm(
        path, True, datetime.datetime.fromisoformat(at), 7
    )


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--max-age', '3'], 'give --if-needed too'),
        (['--alarm', 'x'], 'give --if-needed too'),
        (['--if-needed', '--max-age', 'nan'], 'a number of days above 0'),
    ],
)
def test_options_that_cannot_work_are_refused(options, message, capsys) -> None:
    assert cli.main(['run', '--config', 'x', *options]) == FAILED
    assert message in capsys.readouterr().err


def test_the_command_ends_if_nothing_changed(tmp_path: Path, capsys) -> None:
    data, root = tmp_path / 'data', tmp_path / 'root'
    assert cli.main(['synth', '--out', str(data), '--count', '12', '--seed', '1']) == 0
    config = config_lib.load(
        'tests/support/small_run.yaml', [], data__root=str(data), root=str(root)
    )
    before = run_inputs.read(config)
    record = _record(
        pipeline=config.pipeline,
        inputs=before,
        settings=json.loads(json.dumps(config.settings())),
        started=datetime.datetime.now().isoformat(timespec='milliseconds'),
    )
    (root / 'runs').mkdir(parents=True)
    (root / 'runs' / 'a.json').write_text(json.dumps(vars(record)))
    command = ['run', '--config', 'tests/support/small_run.yaml', '--data-root', str(data)]
    assert cli.main([*command, '--root', str(root), '--if-needed']) == NOT_NEEDED
    assert f'no run is needed, nothing has changed in {root}' in capsys.readouterr().out
    assert not (root / 'logs').exists()

    (data / 'span-1').mkdir()
    source = next(data.rglob('*.tfrec'))
    (data / 'span-1' / '000-1.tfrec').write_bytes(source.read_bytes())
    after = run_inputs.read(config)
    assert {key for key in after if after[key] != before[key]} == {'data', 'spans'}
    assert (before['spans'], after['spans']) == ('0', '0,1')
