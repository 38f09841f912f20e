"""The process that checks a model: how its death is reported, and when it ends."""

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
if {reaches_model}:
    open(os.path.join(sys.argv[1], 'stage'), 'w').write('some check')
sys.stderr.write('free(): corrupted')
sys.stderr.flush()
{end}
"""


def _run(folder, monkeypatch, reaches_model: bool, end: str) -> dict:
    """Lets the launcher start a program that dies, instead of the probe."""
    (folder / 'dying_probe.py').write_text(_PROGRAM.format(reaches_model=reaches_model, end=end))
    monkeypatch.setattr(launcher, '_ROOT', str(folder))
    monkeypatch.setattr(session_probe, '__name__', 'dying_probe')
    return launcher.run(str(folder), ServingCheckParameters())


@pytest.mark.parametrize(
    ('end', 'cause'),
    [
        ('os.abort()', 'was killed by SIGABRT'),
        ('os.kill(os.getpid(), 9)', 'was killed by SIGKILL'),
        ('sys.exit(3)', 'ended with exit code 3'),
        ('', 'ended without a result'),
    ],
    ids=['abort', 'killed', 'exit', 'no result'],
)
def test_death_during_a_check_fails_the_check(tmp_path, monkeypatch, end, cause):
    (check,) = _run(tmp_path, monkeypatch, True, end)['checks']
    assert check == {
        'name': 'some check',
        'passed': False,
        'reasons': [f'the process {cause}. Its last output: free(): corrupted'],
    }


def test_death_before_loading_the_model_is_an_error(tmp_path, monkeypatch):
    with pytest.raises(
        launcher.ProbeError, match='was killed by SIGABRT before it loaded the model'
    ) as error:
        _run(tmp_path, monkeypatch, False, 'os.abort()')
    assert 'free(): corrupted' in str(error.value)


def test_the_probe_does_not_inherit_tensorflows_environment_variables(tmp_path, monkeypatch):
    monkeypatch.setenv('TF_ENABLE_ONEDNN_OPTS', '0')
    monkeypatch.setenv('TF_USE_LEGACY_KERAS', '1')
    (check,) = _run(
        tmp_path,
        monkeypatch,
        True,
        "sys.exit(' '.join(name for name in os.environ if name.startswith('TF_')))",
    )['checks']
    assert check['reasons'] == [
        'the process ended with exit code 1. Its last output: free(): corruptedTF_CPP_MIN_LOG_LEVEL'
    ]


_ROOT = Path(__file__).resolve().parents[2]


def _python(program: str, *arguments: object) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, '-c', program, *map(str, arguments)],
        cwd=_ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_the_probe_ends_when_its_parent_is_killed(tmp_path):
    # The probe blocks on its parameters, because they are a pipe without content.
    pipe = tmp_path / session_probe.PARAMETERS
    os.mkfifo(pipe)
    program = (
        'import sys; from components.serving_check import launcher, parameters; '
        'launcher.run(sys.argv[1], parameters.ServingCheckParameters())'
    )
    parent = _python(program, tmp_path)
    with open(pipe, 'wb'):  # returns when the probe opens the pipe
        (probe,) = psutil.Process(parent.pid).children()
        parent.kill()
        parent.communicate()
        probe.wait(timeout=60)


def test_a_probe_whose_parent_has_ended_does_not_start(tmp_path):
    result = subprocess.run(
        [sys.executable, '-m', session_probe.__name__, tmp_path, '1'],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stderr.strip()) == (
        1,
        'process 1, which started this one, has ended',
    )


def test_a_check_removes_the_folders_of_killed_checks_only(tmp_path, monkeypatch):
    monkeypatch.setenv('TMPDIR', str(tmp_path))
    monkeypatch.setattr('tempfile.tempdir', None)
    program = (
        'import sys; from components.serving_check import workspace\n'
        'with workspace.folder() as folder:\n'
        '    open(folder + "/image", "w").close(); print(folder, flush=True); sys.stdin.read()'
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
    assert (killed / 'image').exists()
    with workspace.folder() as folder:
        assert {*tmp_path.iterdir()} == {running, Path(folder)}
    checks[1].communicate()
    assert list(tmp_path.iterdir()) == []


_PIPES = {'stdin': subprocess.PIPE, 'stdout': subprocess.PIPE}
