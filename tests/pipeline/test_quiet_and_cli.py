"""The command line answers at once and in exit codes; logs go into a file and the screen comes back."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from pipeline import cli, quiet

HEAVY = ('tensorflow', 'tfx', 'apache_beam', 'numpy', 'pandas', 'tf_keras', 'kfp')


@pytest.mark.parametrize('arguments', [['--help'], *([name, '--help'] for name in cli.COMMANDS)], ids=' '.join)
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = (
        'import sys; from pipeline.cli import main\n'
        'try:\n    main(sys.argv[1:])\nexcept SystemExit as end:\n    assert end.code == 0\n'
        f'print("HEAVY", [name for name in {HEAVY!r} if name in sys.modules])'
    )
    done = subprocess.run([sys.executable, '-c', code, *arguments], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == 'HEAVY []'
    assert 'usage: cxr-triage' in done.stdout


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(['--help'])
    assert end.value.code == 0
    told = capsys.readouterr().out
    assert all(f'  {name}' in told for name in cli.COMMANDS)
    assert 'not for clinical use' in ' '.join(told.split())


@pytest.mark.parametrize('arguments', [[], ['fly'], ['run'], ['run', '--config', 'x', '--unknown']], ids=' '.join)
def test_a_command_line_that_cannot_be(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(arguments)
    assert end.value.code == 2
    assert 'usage: cxr-triage' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('text', 'options', 'told'),
    [
        pytest.param('pipeline: p\ntask: nih_triage\nepochs: 3\n', ['--data-root', '.'], "unknown key 'epochs'", id='unknown key'),
        pytest.param('pipeline: p\ntask: nih_triage\n', ['--data-root', '.', '--set', 'x'], '--set x: expected key=value', id='setting'),
        pytest.param('pipeline: p\ntask: nih_triage\n', [], '--data-root', id='no data'),
    ],
)
def test_a_run_that_cannot_be_started(text: str, options: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / 'c.yaml').write_text(text)
    assert cli.main(['run', '--config', str(tmp_path / 'c.yaml'), '--root', str(tmp_path / 'root'), *options]) == 1
    assert told in capsys.readouterr().err
    assert not (tmp_path / 'root').exists()


def test_a_configuration_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(['run', '--config', 'none.yaml']) == 1
    assert 'none.yaml: cannot be read' in capsys.readouterr().err


def test_a_root_that_cannot_be_written_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / 'c.yaml').write_text('pipeline: p\ntask: nih_triage\n')
    for name in ('file', 'a.tfrec'):
        (tmp_path / name).write_text('')
    arguments = ['run', '--config', str(tmp_path / 'c.yaml'), '--data-root', str(tmp_path), '--root', str(tmp_path / 'file' / 'root')]
    with warnings.catch_warnings():
        assert cli.main(arguments) == 1
    assert 'Give a directory that can be written to with --root' in capsys.readouterr().err


_LOGGED = """
import logging, os, sys
from pipeline import quiet
with quiet.logs_to(sys.argv[1], sys.argv[2] == 'verbose') as screen:
    os.write(2, b'native\\n')
    print('python', file=sys.stderr)
    logging.getLogger('tfx.x').info('logged')
    logging.getLogger('absl').warning('Fallback to non-ZetaSQL contexts execution query due to: %s', 'filter_query')
    logging.getLogger('absl').warning('something else')
    logging.getLogger('trainer').info('step', extra={'done': 1, 'total': 2})
    screen.write('shown\\n')
    if len(sys.argv) > 3:
        raise RuntimeError('went wrong')
os.write(2, b'back\\n')
print('back too', file=sys.stderr)
"""


def _logged(log: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, '-c', _LOGGED, str(log), *arguments], capture_output=True, text=True, check=False)


def test_logs_and_native_messages_go_into_the_file_and_the_screen_comes_back(tmp_path: Path) -> None:
    done = _logged(tmp_path / 'logs' / 'a.log', 'quiet')
    assert (done.returncode, done.stderr) == (0, 'shown\nback\nback too\n')
    log = (tmp_path / 'logs' / 'a.log').read_text()
    for part in ('native\n', 'python\n', 'I tfx.x: logged\n'):
        assert part in log
    assert 'step' not in log


@pytest.mark.parametrize('verbosity', ['quiet', 'verbose'])
def test_only_the_one_warning_of_every_look_up_is_dropped(verbosity: str, tmp_path: Path) -> None:
    done = _logged(tmp_path / 'a.log', verbosity)
    told = done.stderr + (tmp_path / 'a.log').read_text()
    assert 'ZetaSQL' not in told
    assert 'W absl: something else\n' in told


def test_verbose_shows_all_on_the_screen_too(tmp_path: Path) -> None:
    done = _logged(tmp_path / 'a.log', 'verbose')
    assert all(part in done.stderr for part in ('native\n', 'python\n', 'logged\n', 'shown\n', 'back\n'))
    assert 'I tfx.x: logged\n' in (tmp_path / 'a.log').read_text()


def test_the_screen_comes_back_after_a_failure(tmp_path: Path) -> None:
    done = _logged(tmp_path / 'a.log', 'quiet', 'fail')
    assert done.returncode == 1
    assert 'RuntimeError: went wrong' in done.stderr


def test_handlers_are_as_before(tmp_path: Path) -> None:
    root = logging.getLogger()
    before = root.handlers[:], root.level, len(os.listdir('/proc/self/fd'))
    with quiet.logs_to(str(tmp_path / 'a.log'), verbose=False):
        assert root.handlers != before[0]
    assert (root.handlers, root.level, len(os.listdir('/proc/self/fd'))) == before


def test_control_characters_do_not_get_into_the_log(tmp_path: Path) -> None:
    with quiet.logs_to(str(tmp_path / 'a.log'), verbose=False):
        logging.getLogger('components').warning('%s', 'film \x1b[2J\x9b.tfrec\nsecond line')
    text = (tmp_path / 'a.log').read_text()
    assert r'film \x1b[2J\x9b.tfrec' in text
    assert '\nsecond line\n' in text
    assert '\x1b' not in text
