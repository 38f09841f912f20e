"""The command line: help, exit codes, error messages, and logs in a file."""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
import subprocess
import sys
import tempfile
import warnings
from importlib import metadata
from pathlib import Path

import pytest

import cxr_triage
import pipeline
from cli import experiment_options as options
from cli import main as cli
from pipeline import quiet

HEAVY = ('tensorflow', 'tfx', 'apache_beam', 'numpy', 'pandas', 'tf_keras', 'kfp')


@pytest.mark.parametrize(
    'arguments', [['--help'], *([name, '--help'] for name in cli.COMMANDS)], ids=' '.join
)
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = (
        'import sys; from cli.main import main\n'
        'try:\n    main(sys.argv[1:])\nexcept SystemExit as end:\n    assert end.code == 0\n'
        f'print("HEAVY", [name for name in {HEAVY!r} if name in sys.modules])'
    )
    result = subprocess.run(
        [sys.executable, '-c', code, *arguments], capture_output=True, text=True, check=True
    )
    assert result.stdout.splitlines()[-1] == 'HEAVY []'
    assert 'usage: cxr-triage' in result.stdout


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(['--help'])
    assert caught.value.code == 0
    output = capsys.readouterr().out
    assert all(f'  {name}' in output for name in cli.COMMANDS)
    assert 'not for clinical use' in ' '.join(output.split())


@pytest.mark.parametrize(
    'arguments', [[], ['fly'], ['run'], ['run', '--config', 'x', '--unknown']], ids=' '.join
)
def test_an_invalid_command_line_prints_the_usage(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    assert 'usage: cxr-triage' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('text', 'options', 'message'),
    [
        pytest.param(
            'pipeline: p\ntask: nih_triage\nepochs: 3\n',
            ['--data-root', '.'],
            "unknown key 'epochs'",
            id='unknown key',
        ),
        pytest.param(
            'pipeline: p\ntask: nih_triage\n',
            ['--data-root', '.', '--set', 'x'],
            '--set x: expected key=value',
            id='setting',
        ),
        pytest.param('pipeline: p\ntask: nih_triage\n', [], '--data-root', id='no data'),
    ],
)
def test_an_invalid_run_is_rejected_before_it_creates_its_root(
    text: str, options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / 'c.yaml').write_text(text)
    assert (
        cli.main(
            [
                'run',
                '--config',
                str(tmp_path / 'c.yaml'),
                '--root',
                str(tmp_path / 'root'),
                *options,
            ]
        )
        == 1
    )
    assert message in capsys.readouterr().err
    assert not (tmp_path / 'root').exists()


def test_a_missing_configuration_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(['run', '--config', 'none.yaml']) == 1
    assert 'none.yaml: cannot be read' in capsys.readouterr().err


def test_a_root_that_is_not_writable_is_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / 'c.yaml').write_text(
        'pipeline: p\ntask: nih_triage\nmodel: {backbone: scratch_cnn}\n'
    )
    for name in ('file', 'a.tfrec'):
        (tmp_path / name).write_text('')
    arguments = [
        'run',
        '--config',
        str(tmp_path / 'c.yaml'),
        '--data-root',
        str(tmp_path),
        '--root',
        str(tmp_path / 'file' / 'root'),
    ]
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
    logging.getLogger('absl').warning(
        'Fallback to non-ZetaSQL contexts execution query due to: %s', 'filter_query'
    )
    logging.getLogger('absl').warning('something else')
    logging.getLogger('trainer').info('step', extra={'done': 1, 'total': 2})
    screen.write('shown\\n')
    if len(sys.argv) > 3:
        raise RuntimeError('went wrong')
os.write(2, b'back\\n')
print('back too', file=sys.stderr)
"""


def _logged(log: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, '-c', _LOGGED, str(log), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def test_logs_and_native_messages_go_into_the_file(
    tmp_path: Path,
) -> None:
    result = _logged(tmp_path / 'logs' / 'a.log', 'quiet')
    assert (result.returncode, result.stderr) == (0, 'shown\nback\nback too\n')
    log = (tmp_path / 'logs' / 'a.log').read_text()
    for part in ('native\n', 'python\n', 'I tfx.x: logged\n'):
        assert part in log
    assert 'step' not in log


@pytest.mark.parametrize('verbosity', ['quiet', 'verbose'])
def test_only_the_warning_about_zetasql_is_dropped(verbosity: str, tmp_path: Path) -> None:
    result = _logged(tmp_path / 'a.log', verbosity)
    messages = result.stderr + (tmp_path / 'a.log').read_text()
    assert 'ZetaSQL' not in messages
    assert 'W absl: something else\n' in messages


def test_verbose_also_shows_all_messages_on_the_screen(tmp_path: Path) -> None:
    result = _logged(tmp_path / 'a.log', 'verbose')
    assert all(
        part in result.stderr for part in ('native\n', 'python\n', 'logged\n', 'shown\n', 'back\n')
    )
    assert 'I tfx.x: logged\n' in (tmp_path / 'a.log').read_text()


def test_the_screen_is_restored_after_a_failure(tmp_path: Path) -> None:
    result = _logged(tmp_path / 'a.log', 'quiet', 'fail')
    assert result.returncode == 1
    assert 'RuntimeError: went wrong' in result.stderr


def test_log_handlers_are_restored(tmp_path: Path) -> None:
    root = logging.getLogger()
    before = root.handlers[:], root.level, len(os.listdir('/proc/self/fd'))
    with quiet.logs_to(str(tmp_path / 'a.log'), verbose=False):
        assert root.handlers != before[0]
    assert (root.handlers, root.level, len(os.listdir('/proc/self/fd'))) == before


def _program(*arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs the installed command with additional environment variables."""
    program = Path(sys.executable).parent / 'cxr-triage'
    env = {**os.environ, **variables}
    return subprocess.run(
        [program, *map(str, arguments)], env=env, capture_output=True, text=True, check=False
    )


def test_version() -> None:
    result = _program('--version')
    assert re.fullmatch(
        r'cxr-triage \d+\.\d+\.\d+ \(TensorFlow 2\.\d+\S*, TFX 1\.\d+\S*, Python 3\.\d+\.\d+\)\n',
        result.stdout,
    ), result
    assert metadata.version('cxr-triage') == pipeline.__version__


@pytest.mark.parametrize('package', ['pipeline', 'records'])
def test_another_package_of_the_same_name_is_named(package: str, tmp_path: Path) -> None:
    (tmp_path / package).mkdir()
    (tmp_path / package / '__init__.py').write_text('raise SystemExit("imported")')
    result = _program('run', '--help', PYTHONPATH=str(tmp_path))
    assert (result.returncode, result.stdout) == (1, '')
    assert len(result.stderr.splitlines()) == 1
    assert f'Python finds another one, {tmp_path / package}. Unset PYTHONPATH' in result.stderr


@pytest.mark.parametrize('argument', ['--version', '--help'])
def test_closed_standard_output_causes_no_error_message(argument: str) -> None:
    read, write = os.pipe()
    os.close(read)
    program = Path(sys.executable).parent / 'cxr-triage'
    result = subprocess.run(
        [program, argument], stdout=write, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(write)
    assert result.stderr == ''
    # Since Python 3.11, argparse ignores that its output cannot be written.
    assert result.returncode in (0, 1)


def test_another_module_of_the_same_name_is_named(tmp_path: Path) -> None:
    (tmp_path / 'trainer.py').write_text('')
    result = _program('--help', PYTHONPATH=str(tmp_path))
    assert (
        f"the package 'trainer' has to be that of {Path(cli.__file__).parents[1]}" in result.stderr
    )
    assert str(tmp_path / 'trainer.py') in result.stderr


def test_all_packages_of_the_project_are_checked() -> None:
    installed = metadata.distribution('cxr-triage').read_text('top_level.txt')
    assert installed
    assert set(installed.split()) - {'cxr_triage'} == set(cxr_triage._PACKAGES)


def test_a_missing_home_directory_is_reported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Containers often run as a user ID that has no entry in the user database.
    monkeypatch.delenv('HOME')
    monkeypatch.setattr(os, 'getuid', lambda: 4_000_000)
    assert cli.main(['run', '--config', 'none.yaml']) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert 'HOME is not set, and user 4000000 is not in the user database. Set HOME' in line


def test_ctrl_c_exits_with_130_and_explains_how_to_resume(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(options, 'configuration', interrupt)
    assert cli.main(['run', '--config', 'c.yaml']) == 130
    assert 'run the same command again to resume' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('error', 'cause'),
    [
        (ModuleNotFoundError("No module named 'tfx'"), 'run `make environment`'),
        (KeyError('a\nb'), 'please report it'),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_unexpected_error_is_reported_with_its_log(
    error, cause: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path))
    monkeypatch.setattr(options, 'configuration', fail)
    assert cli.main(['run', '--config', 'c.yaml']) == 1
    (line,) = capsys.readouterr().err.splitlines()
    (log,) = tmp_path.iterdir()
    assert line.startswith(f'cxr-triage run: unexpected {type(error).__name__}: ')
    assert cause in line
    assert line.endswith(f' The traceback is in {log}')
    assert 'in fail\n' in log.read_text()


def test_help_of_run_lists_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(['run', '--help'])
    text = capsys.readouterr().out
    assert [line.split()[0] for line in text.partition('exit codes:\n')[2].splitlines()[:5]] == [
        '0',
        '1',
        '3',
        '4',
        '130',
    ]
    assert 'run the same command again to resume' in text


def test_a_tilde_is_the_home_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('HOME', str(tmp_path))
    (tmp_path / 'c.yaml').write_text('pipeline: p\ntask: nih_triage\nmodel: {weights: ~/w.h5}\n')
    parser = argparse.ArgumentParser()
    options.add_arguments(parser)
    arguments = [
        '--config',
        str(tmp_path / 'c.yaml'),
        '--data-root=~/data',
        '--root=~/runs',
        '--push-dir',
        'gs://b/~/served',
    ]
    config = options.configuration(parser.parse_args(arguments))
    assert [config.data.root, config.root, config.model.weights] == [
        str(tmp_path / name) for name in ('data', 'runs', 'w.h5')
    ]
    assert config.push_directory == 'gs://b/~/served'


@pytest.mark.parametrize(
    'option', ['--data-root', '--weights', '--root', '--push-dir', 'artifacts']
)
def test_an_empty_path_is_rejected(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / 'c.yaml').write_text('pipeline: p\ntask: nih_triage\n')
    arguments = ['run', '--config', str(tmp_path / 'c.yaml'), '--data-root', str(tmp_path)]
    arguments += ['--set', "artifacts=' '"] if option == 'artifacts' else [option, '']
    assert cli.main(arguments) == 1
    text = capsys.readouterr().err
    assert text.startswith(f'cxr-triage run: {option}')
    assert 'is empty: give a path, or leave it out' in text


@pytest.mark.parametrize('path', ['x[1]', 'x*', 'x?', 'x]', 'x\\y'])
@pytest.mark.parametrize('key', ['root', 'artifacts'])
def test_a_path_of_artifacts_with_wildcards_is_rejected(
    key: str, path: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / 'c.yaml').write_text('pipeline: p\ntask: nih_triage\n')
    folder = tmp_path / path / 'runs'
    setting = json.dumps(str(folder))
    assert (
        cli.main(
            [
                'run',
                '--config',
                str(tmp_path / 'c.yaml'),
                '--data-root',
                '.',
                '--set',
                f'{key}={setting}',
            ]
        )
        == 1
    )
    text = capsys.readouterr().err
    assert text.startswith(f'cxr-triage run: {folder}: TFX takes ')
    assert text.strip().endswith(f'as {"--root" if key == "root" else "artifacts"}.')
    assert not folder.parent.exists()


def test_control_characters_are_escaped_in_the_log(tmp_path: Path) -> None:
    with quiet.logs_to(str(tmp_path / 'a.log'), verbose=False):
        logging.getLogger('components').warning('%s', 'image \x1b[2J\x9b.tfrec\nsecond line')
    text = (tmp_path / 'a.log').read_text()
    assert r'image \x1b[2J\x9b.tfrec' in text
    assert '\nsecond line\n' in text
    assert '\x1b' not in text
