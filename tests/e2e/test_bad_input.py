"""Bad input to the command line: exit code 1, a message with a remedy, no traceback."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from records import tfrecord
from tests.support import pipeline_runs as runs
from tests.support.pipeline_runs import COMPLETE, FAILED, NOISE
from tests.support.program import Finished, Program

pytestmark = pytest.mark.slow


def check_refused(finished: Finished, *phrases: str) -> None:
    """Checks for exit code 1 and a message that contains all `phrases`, without a traceback."""
    assert finished.exit_code == 1, finished.screen
    for phrase in phrases:
        assert phrase in finished.screen, finished.screen
    assert not finished.has_traceback(), finished.screen
    assert NOISE.findall(finished.screen) == []


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path]:
    """Mounts an empty file system at `folder`, or skips the test if that is not permitted."""
    folder.mkdir()
    result = subprocess.run(
        ['mount', '-t', 'tmpfs', '-o', options, 'tmpfs', folder],
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        pytest.skip(f'a file system cannot be mounted here: {result.stderr.strip()}')
    try:
        yield folder
    finally:
        subprocess.run(['umount', folder], check=True)


@pytest.mark.parametrize(
    ('settings', 'phrases'),
    [
        pytest.param(['train.epoch=3'], ["unknown key 'train.epoch'", 'epochs'], id='unknown key'),
        pytest.param(
            ['evaluation.thresholds=[{metric: auroc, min: 0.7}]'],
            ['auroc', 'no such metric', 'pr_auc'],
            id='unknown metric',
        ),
        pytest.param(['train.epochs=many'], ['train.epochs', "'many'"], id='wrong type'),
        pytest.param(['train.epochs'], ['--set train.epochs', 'key=value'], id='no value'),
        pytest.param(['task=nih_triag'], ['nih_triag', 'nih_triage'], id='unknown task'),
    ],
)
def test_a_wrong_setting_is_refused(program: Program, tmp_path, settings, phrases):
    options = [option for setting in settings for option in ('--set', setting)]
    check_refused(program.run(tmp_path / 'root', *options), *phrases)
    assert not (tmp_path / 'root').exists()


def test_a_wrong_configuration_file_is_named(program: Program, tmp_path):
    config = tmp_path / 'mine.yaml'
    config.write_text(program.config.read_text() + 'colour: blue\n')
    finished = program.start(
        'run', '--config', config, '--data-root', program.data, '--root', tmp_path / 'root'
    ).finish()
    check_refused(finished, str(config), "'colour'", 'pipeline')


@pytest.mark.parametrize(
    'content', [pytest.param(None, id='empty folder'), pytest.param('photo.jpg', id='no tfrec')]
)
def test_a_data_root_without_records_is_refused(program: Program, tmp_path, content):
    data = tmp_path / 'images'
    data.mkdir()
    if content:
        (data / content).write_bytes(b'\xff\xd8\xff')
    check_refused(
        program.run(tmp_path / 'root', '--data-root', data),
        str(data),
        '*.tfrec',
        'cxr-triage convert',
    )
    assert not (tmp_path / 'root').exists()


def test_a_missing_data_root_is_named(program: Program, tmp_path):
    check_refused(
        program.run(tmp_path / 'root', '--data-root', tmp_path / 'nothing'),
        str(tmp_path / 'nothing'),
        '--data-root',
    )
    assert not (tmp_path / 'root').exists()


def test_a_file_as_run_root_is_refused(program: Program, tmp_path):
    (tmp_path / 'root').write_text('a file')
    check_refused(program.run(tmp_path / 'root'), str(tmp_path / 'root'), '--root')


def test_a_read_only_run_root_is_refused(program: Program, tmp_path):
    with mounted(tmp_path / 'disk', 'ro') as disk:
        check_refused(
            program.run(disk / 'root'), str(disk / 'root'), 'Read-only file system', '--root'
        )


def test_a_run_on_a_full_disk_stops_and_resumes(program: Program, tmp_path):
    with mounted(tmp_path / 'disk', 'size=6m') as disk:
        finished = program.run(disk / 'root')
        check_refused(finished, 'XrayExampleGen failed', 'the disk is full', 'same command again')
        # With more space, the same command resumes the run.
        subprocess.run(['mount', '-o', 'remount,size=200m', disk], check=True)
        running = program.start_run(disk / 'root')
        running.wait_for(lambda: 'done  DataGate' in running.screen)
        running.signal(signal.SIGINT)
        assert running.finish().exit_code == 130
        assert runs.states(disk / 'root')[-1]['XrayExampleGen'] == COMPLETE


def test_a_file_as_push_directory_is_refused(program: Program, pushed, tmp_path):
    (tmp_path / 'serving').write_text('a file')
    check_refused(
        program.run(pushed.root, '--push-dir', tmp_path / 'serving'),
        str(tmp_path / 'serving'),
        'is a file',
        'another target',
    )


def test_a_read_only_push_directory_is_refused(program: Program, pushed, tmp_path):
    with mounted(tmp_path / 'disk', 'ro') as disk:
        finished = program.run(pushed.root, '--push-dir', disk / 'serving')
        check_refused(
            finished, 'Pusher failed', str(disk / 'serving'), 'read-only', 'another target'
        )
        states = runs.states(pushed.root)[-1]
        assert states['Trainer'] == runs.CACHED
        assert states['Pusher'] == FAILED


def test_too_many_quarantined_records_stop_the_run(program: Program, tmp_path):
    name = '000-122.tfrec'
    data = tmp_path / 'images'
    shutil.copytree(program.data / 'metadata', data / 'metadata')
    (data / 'data').mkdir()
    content = bytearray((program.data / 'data' / name).read_bytes())
    damaged = [
        record
        for record in tfrecord.read(str(program.data / 'data' / name))
        if record.index in (3, 50, 121)
    ]
    for record in damaged:
        content[record.offset + 12 + len(record.payload) // 2] ^= 0x10
    (data / 'data' / name).write_bytes(content)

    finished = program.run(tmp_path / 'root', '--data-root', data)
    check_refused(
        finished,
        'XrayExampleGen failed',
        '3 of 122 records cannot be used',
        'data.max_quarantine_share',
    )
    for record in damaged:
        assert re.search(
            rf'{name}, record {record.index} \(byte {record.offset}\): \S', finished.screen
        ), finished.screen
    quarantine_list = Path(re.search(r'All of them: (\S+)', finished.screen)[1])
    rows = [json.loads(line) for line in quarantine_list.read_text().splitlines()]
    assert [(row['record'], row['offset']) for row in rows] == [
        (record.index, record.offset) for record in damaged
    ]

    allowed = program.start_run(
        tmp_path / 'root', '--data-root', data, '--set', 'data.max_quarantine_share=0.05'
    )
    allowed.wait_for(lambda: 'XrayExampleGen' in allowed.screen)
    allowed.signal(signal.SIGINT)
    assert '122 records in, 3 quarantined' in allowed.finish().screen
