"""Every command of README and docs works as written, up to its first call of a cloud.

A shell runs the code blocks with stand-ins that record their calls. The recorded `cxr-triage`
commands then run, with folders instead of buckets and a test double of Kubeflow's API server. For
the other calls, the tests check that the files, targets and modules they name exist.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from cli import experiment_options as options
from cli import main as cli
from pipeline.kubeflow import display as remote_display
from tests.support import docs_sandbox as sandboxes
from tests.support import kfp_api_double as api_double
from tests.support.docs_sandbox import Call, Sandbox
from tests.support.documents import DOCUMENTS, PROJECT, shell_blocks
from tests.support.program import Running, start_fresh

pytestmark = pytest.mark.slow

_GFILE = ('exists', 'isdir', 'stat', 'walk', 'listdir', 'glob', 'GFile', 'makedirs')
_TARGETS = set(re.findall(r'^([a-z]+):', (PROJECT / 'Makefile').read_text(), re.MULTILINE))
_STAGES = set(
    re.findall(
        r'^FROM \S+ AS (\S+)', (PROJECT / 'kubeflow' / 'Dockerfile').read_text(), re.MULTILINE
    )
)


@dataclasses.dataclass
class Reader:
    """Follows a document: runs or checks its recorded calls.

    Attributes:
      sandbox: the folder in which the commands run.
      server: a test double of Kubeflow's API server.
      screens: a folder for the screen output of `run`.
    """

    sandbox: Sandbox
    server: api_double.ApiDouble
    screens: Path

    def follow(self, call: Call) -> None:
        """Runs a `cxr-triage` command, or checks what another call names."""
        for argument in call.arguments:
            assert argument, f'an empty argument: {call}'
            assert not re.search(r'…|://-|://$|\$', argument), f'unfilled {argument}: {call}'
        check = getattr(self, '_' + call.name.replace('-', '_'), None)
        if check:
            check(call)

    def _make(self, call: Call) -> None:
        assert call.arguments[0] in _TARGETS, call

    def _docker(self, call: Call) -> None:
        if call.arguments[0] == 'build':
            assert call.arguments[call.arguments.index('--target') + 1] in _STAGES, call

    def _python(self, call: Call) -> None:
        assert call.arguments[0] == '-m', call
        assert importlib.util.find_spec(call.arguments[1]), call

    def _kubectl(self, call: Call) -> None:
        for option, value in zip(call.arguments, call.arguments[1:], strict=False):
            if option == '-k' and '://' not in value and not value.startswith('github.com/'):
                assert (PROJECT / value / 'kustomization.yaml').is_file(), call
            if option == '-f' and value != '-':
                assert (self.sandbox.folder / value).is_file(), call
            if option == '--from-file':
                assert (self.sandbox.folder / value.rpartition('=')[2]).is_file(), call

    def _curl(self, call: Call) -> None:
        if '@-' in call.arguments:
            assert re.search(r'"b64":"[\w+/=]{100,}"', call.input), call

    def _cxr_triage(self, call: Call) -> None:
        command, *rest = call.arguments
        match command:
            case 'run':
                self._run(call, rest)
            case 'submit':
                assert call.endpoint or '--host' in rest, f'no address of Kubeflow: {call}'
                # No run pushes a model in the test double: with --wait, the exit code is 3.
                assert cli.main([command, *rest, '--host', self.server.url]) == (
                    3 if '--wait' in rest else 0
                ), call
            case 'status' | 'logs' | 'cancel':
                (run_id,) = self.server.runs
                rest = [run_id if argument == 'a-run' else argument for argument in rest]
                assert cli.main([command, *rest, '--host', self.server.url]) in (0, 1), call
            # The one serves until it is interrupted, the other needs a pushed model; they have
            # tests of their own.
            case 'serve' | 'predict':
                cli.build_parser().parse_args([command, *rest])
            case _:
                assert cli.main([command, *rest]) == 0, call

    def _run(self, call: Call, rest: list[str]) -> None:
        """Stops the run after the first step; with a remote engine, only reads its options."""
        if '--beam' in rest:
            config = options.configuration(cli.build_parser().parse_args(['run', *rest]))
            assert config.beam.arguments(str(PROJECT / 'setup.py')), call
            return
        environment = {name: os.environ[name] for name in ('PATH', 'HOME') if name in os.environ}
        environment['PYTHONPATH'] = str(PROJECT)
        command = [sys.executable, '-m', 'cxr_triage', 'run', *rest]
        screen = self.screens / 'screen.txt'
        running = Running(start_fresh(command, self.sandbox.folder, environment, screen), screen)
        # A document may run the pipeline a second time, and then the step is cached.
        running.wait_for(lambda: '  CuratedSchema' in running.screen)
        running.signal(signal.SIGINT)
        assert running.finish().exit_code == 130, running.screen


@pytest.fixture(scope='module')
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Sandbox:
    """A sandbox for commands, with ImageNet weights if available, or with random ones."""
    weights = PROJECT.parent / 'shared' / 'data' / 'weights' / sandboxes.WEIGHTS
    if not weights.exists():
        import tf_keras as keras

        weights = tmp_path_factory.mktemp('weights') / sandboxes.WEIGHTS
        keras.applications.MobileNetV2(include_top=False, weights=None).save_weights(weights)
    return sandboxes.build(tmp_path_factory.mktemp('docs'), weights)


@pytest.fixture
def reader(sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reader]:
    """A reader in the sandbox, with folders instead of buckets."""
    monkeypatch.chdir(sandbox.folder)
    monkeypatch.setattr(remote_display, 'INTERVAL_S', 0.0)
    # kfp stores a namespace under HOME.
    monkeypatch.setattr('kfp.Client._LOCAL_KFP_CONTEXT', '/nowhere/context.json')
    for name in _GFILE:
        monkeypatch.setattr(
            tf.io.gfile, name, _in_folders(getattr(tf.io.gfile, name), sandbox.buckets)
        )
    with api_double.serve() as server:
        yield Reader(sandbox, server, tmp_path)


def _in_folders(function: Callable, buckets: Path) -> Callable:
    """Wraps a file function of TensorFlow: `gs://` paths are under `buckets`."""

    def to_url(result: Any) -> Any:
        if isinstance(result, str):
            return result.replace(f'{buckets}/', 'gs://')
        return type(result)(map(to_url, result)) if isinstance(result, list | tuple) else result

    def wrapper(path: str, *rest: Any, **options: Any) -> Any:
        result = function(str(path).replace('gs://', f'{buckets}/'), *rest, **options)
        return map(to_url, result) if hasattr(result, 'send') else to_url(result)

    return wrapper


@pytest.mark.parametrize('document', filter(shell_blocks, DOCUMENTS), ids=lambda path: path.name)
def test_commands_work_as_written(document: Path, sandbox: Sandbox, reader: Reader):
    calls = sandbox.calls(document)
    assert calls
    for call in calls:
        reader.follow(call)


def test_every_command_is_documented(sandbox: Sandbox):
    text = '\n'.join(document.read_text() for document in DOCUMENTS)
    assert [name for name in cli.COMMANDS if f'cxr-triage {name}' not in text] == []
