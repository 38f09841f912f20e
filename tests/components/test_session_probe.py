"""The process of its own in which a model is checked: what its death says about the model."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from components.serving_check import launcher, session_probe, workspace
from components.serving_check.parameters import ServingCheckParameters

_PROGRAM = """
import os, sys
if {begins}:
    open(os.path.join(sys.argv[1], 'stage'), 'w').write('some check')
sys.stderr.write('free(): corrupted')
sys.stderr.flush()
{end}
"""


def _run(folder, monkeypatch, begins: bool, end: str) -> dict:
    """Lets the launcher start a program that dies in the probe's place."""
    (folder / 'dying.py').write_text(_PROGRAM.format(begins=begins, end=end))
    monkeypatch.setattr(launcher, '_ROOT', str(folder))
    monkeypatch.setattr(session_probe, '__name__', 'dying')
    return launcher.run(str(folder), ServingCheckParameters())


@pytest.mark.parametrize(
    ('end', 'cause'),
    [
        ('os.abort()', 'died of SIGABRT'),
        ('os.kill(os.getpid(), 9)', 'died of SIGKILL'),
        ('sys.exit(3)', 'died of exit code 3'),
        ('', 'ended without a result'),
    ],
    ids=['abort', 'killed', 'exit', 'no result'],
)
def test_death_amid_a_check_is_the_models_fault(tmp_path, monkeypatch, end, cause):
    (check,) = _run(tmp_path, monkeypatch, True, end)['checks']
    assert check == {
        'name': 'some check',
        'passed': False,
        'reasons': [f'the process {cause}. Its last words: free(): corrupted'],
    }


def test_death_before_the_model_is_an_error(tmp_path, monkeypatch):
    with pytest.raises(
        launcher.ProbeError, match='died of SIGABRT before it came to the model'
    ) as error:
        _run(tmp_path, monkeypatch, False, 'os.abort()')
    assert 'free(): corrupted' in str(error.value)


def test_switches_of_this_process_do_not_reach_the_model(tmp_path, monkeypatch):
    monkeypatch.setenv('TF_ENABLE_ONEDNN_OPTS', '0')
    monkeypatch.setenv('TF_USE_LEGACY_KERAS', '1')
    (check,) = _run(
        tmp_path,
        monkeypatch,
        True,
        "sys.exit(' '.join(name for name in os.environ if name.startswith('TF_')))",
    )['checks']
    assert check['reasons'] == [
        'the process died of exit code 1. Its last words: free(): corruptedTF_CPP_MIN_LOG_LEVEL'
    ]


_ROOT = Path(__file__).resolve().parents[2]


def _python(program: str, *arguments: object) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, '-c', program, *map(str, arguments)],
        cwd=_ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_the_probe_ends_with_the_process_that_started_it(tmp_path):
    """The probe waits at its parameters, a pipe that nobody writes into, when its parent is
    killed.
    """
    pipe = tmp_path / session_probe.PARAMETERS
    os.mkfifo(pipe)
    program = (
        'import sys; from components.serving_check import launcher, parameters; '
        'launcher.run(sys.argv[1], parameters.ServingCheckParameters())'
    )
    parent = _python(program, tmp_path)
    with open(pipe, 'wb'):  # returns once the probe has opened it
        (probe,) = psutil.Process(parent.pid).children()
        parent.kill()
        parent.communicate()
        probe.wait(timeout=60)


def test_a_probe_without_its_parent_does_not_begin(tmp_path):
    done = subprocess.run(
        [sys.executable, '-m', session_probe.__name__, tmp_path, '1'],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr.strip()) == (
        1,
        'process 1, which started this one, has ended',
    )


def test_the_folder_of_a_killed_check_is_removed_by_the_next_and_that_of_a_running_one_is_not(
    tmp_path, monkeypatch
):
    monkeypatch.setenv('TMPDIR', str(tmp_path))
    monkeypatch.setattr('tempfile.tempdir', None)
    program = (
        'import sys; from components.serving_check import workspace\n'
        'with workspace.folder() as folder:\n'
        '    open(folder + "/film", "w").close(); print(folder, flush=True); sys.stdin.read()'
    )
    checks = [
        subprocess.Popen([sys.executable, '-c', program], cwd=_ROOT, text=True, **_PIPES)
        for _ in range(2)
    ]
    killed, running = (Path(check.stdout.readline().strip()) for check in checks)
    assert killed.parent == tmp_path
    assert killed.stat().st_mode & 0o777 == 0o700
    checks[0].send_signal(signal.SIGKILL)
    checks[0].communicate()
    assert (killed / 'film').exists()
    with workspace.folder() as mine:
        assert {*tmp_path.iterdir()} == {running, Path(mine)}
    checks[1].communicate()
    assert list(tmp_path.iterdir()) == []


_PIPES = {'stdin': subprocess.PIPE, 'stdout': subprocess.PIPE}
