"""Every command of README and docs works as it is written, up to its first call of a cloud.

A shell runs the code blocks with recording stand-ins. What they recorded is then held against the
real thing: `cxr-triage` commands run, with folders in the place of buckets and a test double of
Kubeflow's API server; the others are held against what they name.
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
    """Types the recorded commands, one after the other.

    Attributes:
      sandbox: where.
      server: a double of Kubeflow's API server.
      screens: a folder for what `run` shows.
    """

    sandbox: Sandbox
    server: api_double.ApiDouble
    screens: Path

    def follow(self, call: Call) -> None:
        """Runs a command of `cxr-triage`, or holds a stand-in's call against what it names."""
        for word in call.arguments:
            assert word, f'an empty argument: {call}'
            assert not re.search(r'…|://-|://$|\$', word), f'{word} is not filled in: {call}'
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
        for flag, folder in zip(call.arguments, call.arguments[1:], strict=False):
            if flag == '-k' and '://' not in folder and not folder.startswith('github.com/'):
                assert (PROJECT / folder / 'kustomization.yaml').is_file(), call
            if flag == '-f' and folder != '-':
                assert (self.sandbox.folder / folder).is_file(), call
            if flag == '--from-file':
                assert (self.sandbox.folder / folder.rpartition('=')[2]).is_file(), call

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
                # Nobody pushes in the double, so with --wait the verdict is "not blessed".
                assert cli.main([command, *rest, '--host', self.server.url]) == (
                    3 if '--wait' in rest else 0
                ), call
            case 'status' | 'logs' | 'cancel':
                (run_id,) = self.server.runs
                words = [run_id if word == 'a-run' else word for word in rest]
                assert cli.main([command, *words, '--host', self.server.url]) in (0, 1), call
            case _:
                assert cli.main([command, *rest]) == 0, call

    def _run(self, call: Call, rest: list[str]) -> None:
        """Up to the end of the first step, or to the configuration where the engine is
        elsewhere.
        """
        if '--beam' in rest:
            config = options.configuration(cli.build_parser().parse_args(['run', *rest]))
            assert config.beam.arguments(str(PROJECT / 'setup.py')), call
            return
        environment = {name: os.environ[name] for name in ('PATH', 'HOME') if name in os.environ}
        environment['PYTHONPATH'] = str(PROJECT)
        command = [sys.executable, '-m', 'cxr_triage', 'run', *rest]
        screen = self.screens / 'screen.txt'
        running = Running(start_fresh(command, self.sandbox.folder, environment, screen), screen)
        running.wait_for(lambda: 'done  CuratedSchema' in running.screen)
        running.signal(signal.SIGINT)
        assert running.finish().exit_code == 130, running.screen


@pytest.fixture(scope='module')
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Sandbox:
    """See `sandbox.build`, with ImageNet's weights where they are at hand, else random ones."""
    weights = PROJECT.parent / 'shared' / 'data' / 'weights' / sandboxes.WEIGHTS
    if not weights.exists():
        import tf_keras as keras

        weights = tmp_path_factory.mktemp('weights') / sandboxes.WEIGHTS
        keras.applications.MobileNetV2(include_top=False, weights=None).save_weights(weights)
    return sandboxes.build(tmp_path_factory.mktemp('docs'), weights)


@pytest.fixture
def reader(sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reader]:
    """In the sandbox, with buckets that are folders."""
    monkeypatch.chdir(sandbox.folder)
    monkeypatch.setattr(remote_display, 'INTERVAL_S', 0.0)
    # kfp remembers a namespace under HOME.
    monkeypatch.setattr('kfp.Client._LOCAL_KFP_CONTEXT', '/nowhere/context.json')
    for name in _GFILE:
        monkeypatch.setattr(
            tf.io.gfile, name, _in_folders(getattr(tf.io.gfile, name), sandbox.buckets)
        )
    with api_double.serve() as server:
        yield Reader(sandbox, server, tmp_path)


def _in_folders(function: Callable, buckets: Path) -> Callable:
    """`function` of TensorFlow's file system, with `gs://` under a folder; what it lists is under
    `gs://` again.
    """

    def outside(answer: Any) -> Any:
        if isinstance(answer, str):
            return answer.replace(f'{buckets}/', 'gs://')
        return type(answer)(map(outside, answer)) if isinstance(answer, list | tuple) else answer

    def inside(path: str, *rest: Any, **options: Any) -> Any:
        answer = function(str(path).replace('gs://', f'{buckets}/'), *rest, **options)
        return map(outside, answer) if hasattr(answer, 'send') else outside(answer)

    return inside


@pytest.mark.parametrize(
    'document', [d for d in DOCUMENTS if shell_blocks(d)], ids=lambda path: path.name
)
def test_commands_work_as_written(document: Path, sandbox: Sandbox, reader: Reader):
    calls = sandbox.calls(document)
    assert calls
    for call in calls:
        reader.follow(call)


def test_each_command_of_the_program_is_documented(sandbox: Sandbox):
    text = '\n'.join(document.read_text() for document in DOCUMENTS)
    assert [name for name in cli.COMMANDS if f'cxr-triage {name}' not in text] == []
