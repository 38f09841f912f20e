"""The process of its own in which a model is checked: what its death says about the model."""

from __future__ import annotations

import pytest

from components.serving_check import launcher, session_probe
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
    with pytest.raises(launcher.ProbeError, match='died of SIGABRT before it came to the model') as error:
        _run(tmp_path, monkeypatch, False, 'os.abort()')
    assert 'free(): corrupted' in str(error.value)


def test_switches_of_this_process_do_not_reach_the_model(tmp_path, monkeypatch):
    monkeypatch.setenv('TF_ENABLE_ONEDNN_OPTS', '0')
    monkeypatch.setenv('TF_USE_LEGACY_KERAS', '1')
    (check,) = _run(tmp_path, monkeypatch, True, "sys.exit(' '.join(name for name in os.environ if name.startswith('TF_')))")['checks']
    assert check['reasons'] == ['the process died of exit code 1. Its last words: free(): corruptedTF_CPP_MIN_LOG_LEVEL']
