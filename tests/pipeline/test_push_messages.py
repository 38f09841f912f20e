"""The messages of `cxr-triage run` about the push."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from rich.console import Console
from tfx.types import standard_artifacts

from components.pusher import target
from pipeline import execute, summary
from pipeline.config import Config
from pipeline.local_runner import Step, StepError


def _config(root: Path) -> Config:
    return Config.model_validate(
        {
            'pipeline': 'p',
            'task': 'nih_triage',
            'root': str(root),
            'data': {'root': str(root / 'data')},
        }
    )


def _serve(root: Path, run_id: str, version: str = '5') -> Path:
    folder = root / 'serving' / version
    folder.mkdir(parents=True)
    (folder / 'saved_model.pb').write_text('graph')
    files = target.digests(str(folder))
    manifest = target.Manifest(
        version=version,
        model_digest=target.model_digest(files),
        files=files,
        pipeline_name='p',
        run_id=run_id,
        candidate_key='k',
        model_uri='/model',
        push_nonce='n',
        pushed_at='2026-11-21T10:20:30+00:00',
    )
    target.write_manifest(str(folder), manifest)
    return folder


def _full_disk() -> OSError:
    return OSError(errno.ENOSPC, 'No space left on device', '/artifacts')


def _failed(step: str) -> StepError:
    try:
        raise StepError(step) from _full_disk()
    except StepError as error:
        return error


def _output(function, *arguments) -> str:
    console = Console(width=200)
    with console.capture() as capture:
        function(*arguments, console)
    return capture.get()


@pytest.mark.parametrize(
    ('step', 'run_id', 'served'),
    [('Pusher', 'this', True), ('Pusher', 'another', False), ('Evaluator', 'this', False)],
    ids=['after the push', 'before the push', 'another step'],
)
def test_a_failure_after_the_push_reports_the_served_model(tmp_path, step, run_id, served):
    folder = _serve(tmp_path, run_id)
    text = _output(execute._print_if_served, _failed(step), _config(tmp_path), 'this')
    assert text == (
        f'The model is served nevertheless, as version 5: {folder}. The push was complete before '
        'the failure, and the same command does not push it again.\n'
        if served
        else ''
    )


def test_a_failure_between_steps_names_the_last_step(tmp_path):
    steps = {name: Step(name, 'ran', 1.0, {}) for name in ('XrayExampleGen', 'Transform')}
    console = Console(width=200)
    with console.capture() as capture:
        execute._print_failure(_full_disk(), steps, console, 'log')
    assert 'The run stopped after Transform:\nthe disk is full' in capture.get()


def _pusher(state: str, already_served: int, path: Path) -> Step:
    artifact = standard_artifacts.PushedModel()
    artifact.set_int_custom_property('pushed', 1)
    artifact.set_int_custom_property('already_served', already_served)
    artifact.set_string_custom_property('pushed_destination', str(path))
    artifact.set_string_custom_property('pushed_version', path.name)
    return Step('Pusher', state, 0.1, {'pushed_model': [artifact]})


@pytest.mark.parametrize(
    ('state', 'already_served', 'manifest', 'message'),
    [
        ('ran', 0, True, 'Pushed.'),
        (
            'cached',
            0,
            True,
            'Nothing to do: version 5 has been served since 2026-11-21 10:20:30 UTC.',
        ),
        (
            'ran',
            1,
            True,
            'Nothing to push: version 5, served since 2026-11-21 10:20:30 UTC, is already this '
            'candidate.',
        ),
        ('cached', 1, False, 'Nothing to do: version 5 has been served before.'),
    ],
    ids=['pushed', 'cached', 'served already', 'no manifest'],
)
def test_the_outcome_of_the_push(tmp_path, state, already_served, manifest, message):
    folder = _serve(tmp_path, 'run') if manifest else tmp_path / 'serving' / '5'
    assert summary.pushed(_pusher(state, already_served, folder)) == summary.Served(
        str(folder), message, is_new=message == 'Pushed.'
    )
