"""Releases by programs and persons: withdrawal, holds, kills in the middle."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cli import main as cli
from components.pusher import journal
from serving.releases import CANARY, STABLE, ReleaseError
from serving.releases.release import Releases
from tests.support import gateways, push_targets
from tests.support.model_servers import MODEL


@pytest.fixture
def releases(tmp_path: Path) -> Releases:
    """Versions 1 (stable) and 2 (canary) of files that look like models."""
    target = tmp_path / 'target'
    for number in (1, 2):
        model = push_targets.model(tmp_path / f'model{number}', f'weights {number}')
        gateways.push(Path(model), target, number)
    made = Releases(target, MODEL)
    made.move('promote', STABLE, 1, 'start')
    made.canary(2, 'try it')
    return made


def _actions(releases: Releases) -> list[tuple[str, int | None, int | None]]:
    return [(e.action, e.before, e.after) for e in journal.read(releases.target)]


def test_a_canary_is_withdrawn(releases: Releases) -> None:
    assert releases.withdraw('it is slow') == 2
    assert releases.labels() == {STABLE: 1}
    assert _actions(releases)[-1] == ('withdraw', 2, None)
    with pytest.raises(ReleaseError, match='no version is canary'):
        releases.withdraw('')
    # The version is still there, and may become canary again.
    assert releases.canary(2, 'again') == 2


def test_a_hold_stops_automatic_decisions_and_no_person(releases: Releases) -> None:
    seen = releases.labels()
    releases.hold('on holiday')
    for decide in (releases.withdraw, lambda why, only_if: releases.promote(2, why, only_if)):
        with pytest.raises(ReleaseError, match='has stopped automatic decisions: on holiday'):
            decide('', only_if=seen)
    assert releases.labels() == seen
    releases.resume('back')
    releases.promote(None, 'by hand')
    assert releases.labels() == {STABLE: 2}
    assert _actions(releases)[-3:] == [('hold', 2, 2), ('resume', 2, 2), ('promote', 1, 2)]
    releases.hold('no canary at all')
    assert _actions(releases)[-1] == ('hold', None, None)


def test_an_automatic_decision_on_other_labels_is_refused(releases: Releases) -> None:
    seen = releases.labels()
    releases.withdraw('a person was faster')
    with pytest.raises(ReleaseError, match='the labels have changed meanwhile'):
        releases.promote(2, '', only_if=seen)
    assert releases.labels() == {STABLE: 1}


# Where the process is killed: the function, and whether before or after it.
_KILLS = [
    ('serving.releases.intent', 'write', 'after'),
    ('serving.releases.config_file', 'write', 'before'),
    ('serving.releases.config_file', 'write', 'after'),
    ('components.pusher.journal', 'append', 'after'),
]


@pytest.mark.parametrize(('module', 'name', 'when'), _KILLS, ids=lambda value: value)
def test_a_killed_promotion_leaves_one_of_two_states(
    releases: Releases, module: str, name: str, when: str
) -> None:
    script = f"""
import importlib, os, signal, sys
from pathlib import Path
from serving.releases.release import Releases
module = importlib.import_module({module!r})
real = getattr(module, {name!r})
def killed(*arguments):
    if {when!r} == 'after':
        real(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)
setattr(module, {name!r}, killed)
Releases(Path(sys.argv[1]), sys.argv[2]).promote(2, 'killed')
"""
    done = subprocess.run([sys.executable, '-c', script, releases.target, MODEL], check=False)
    assert done.returncode == -signal.SIGKILL
    is_promoted = releases.labels() == {STABLE: 2}
    assert is_promoted or releases.labels() == {STABLE: 1, CANARY: 2}
    assert is_promoted == ((name, when) not in [('write', 'before'), ('write', 'after')]) or (
        module.endswith('config_file') and is_promoted == (when == 'after')
    )
    # The next release finds the record as the labels are.
    releases.hold('look at it')
    promoted = [action for action in _actions(releases) if action == ('promote', 1, 2)]
    assert len(promoted) == is_promoted
    if is_promoted:
        assert releases.rollback('') == 1
    else:
        assert releases.promote(None, 'again') == 2


def test_the_commands_of_a_person(releases: Releases, capsys: pytest.CaptureFixture[str]) -> None:
    options = ['--target', str(releases.target), '--model', MODEL, '--why', 'my reason']
    for action, text in (
        ('hold', 'Automatic decisions are stopped'),
        ('resume', 'Automatic decisions are allowed'),
        ('withdraw', 'Version 2 is no longer canary'),
    ):
        assert cli.main(['models', action, *options]) == 0
        assert text in capsys.readouterr().out
        assert cli.main(['models', 'list', *options[:-2]]) == 0
        is_held = 'Automatic decisions are stopped since ' in (listed := capsys.readouterr().out)
        assert is_held == (action == 'hold') == ('my reason' in listed)
    assert [(e.action, e.why) for e in journal.read(releases.target)[-3:]] == [
        (action, 'my reason') for action in ('hold', 'resume', 'withdraw')
    ]
    assert cli.main(['models', 'withdraw', *options]) == 1
    assert 'no version is canary' in capsys.readouterr().err
