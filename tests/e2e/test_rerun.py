"""Which steps a rerun repeats, and what it may replace in the push directory.

An unchanged run repeats nothing. Else a run repeats exactly the steps that depend on the change.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from components.pusher import target
from pipeline.exit_codes import NOT_NEEDED
from pipeline.steps import REQUIRED
from tests.support import pipeline_runs as runs
from tests.support.pipeline_runs import CACHED, COMPLETE, NOISE, that_ran
from tests.support.program import Program

pytestmark = pytest.mark.slow


@contextmanager
def appended(path: Path, text: str) -> Iterator[None]:
    """Appends `text` to a source file inside the context."""
    before = path.read_text()
    path.write_text(before + text)
    try:
        yield
    finally:
        path.write_text(before)


def serve_only_the_first(pushed) -> None:
    """Deletes what other tests have pushed, so that the model of the first run is served."""
    for version in pushed.serving.iterdir():
        if (
            version.name.isdigit()
            and runs.manifest(version)['model_digest'] != pushed.manifest['model_digest']
        ):
            shutil.rmtree(version)


def test_the_first_run_pushes_a_model(pushed):
    assert pushed.states == dict.fromkeys(REQUIRED, COMPLETE)
    screen = pushed.finished.screen
    version = runs.newest_version(pushed.serving)
    assert str(version) in screen
    assert 'Pushed.' in screen
    assert 'not for clinical use' in screen
    assert '244 records in, 0 quarantined' in screen
    assert target.verify(str(version)) == []
    assert pushed.manifest['baseline_version'] is None
    assert pushed.manifest['metrics']['auc'] >= 0.4


def test_the_final_table_names_every_step(pushed):
    table = pushed.finished.screen.split('step ', 1)[1]
    for step in REQUIRED:
        assert re.search(rf'^{step} +\d+\.\d s +ran\b', table, re.MULTILINE), step
    assert re.search(r'^auc +all +0\.\d{4} +>= 0\.4', table, re.MULTILINE)


def test_the_screen_shows_the_epochs_and_the_log_has_the_rest(pushed):
    epochs = re.findall(r'epoch (\d+)/20: loss', pushed.finished.screen)
    assert epochs == [str(number) for number in range(1, 21)]
    assert NOISE.findall(pushed.finished.screen) == []
    assert re.search(r'^\S+ \S+ I absl: ', pushed.log, re.MULTILINE)
    assert re.search(r'^\S+ \S+ I trainer\.training: epoch 1/20: loss', pushed.log, re.MULTILINE)


def test_an_unchanged_run_is_cached_and_pushes_nothing(program: Program, pushed):
    serve_only_the_first(pushed)
    before = runs.served(pushed.serving)
    finished = program.run(pushed.root)
    assert finished.exit_code == 0, finished.screen
    assert runs.states(pushed.root)[-1] == dict.fromkeys(REQUIRED, CACHED)
    assert runs.served(pushed.serving) == before
    assert NOISE.findall(finished.screen) == []
    version = runs.newest_version(pushed.serving).name
    assert re.search(
        rf'^Nothing to do: version {version} has been served since 20\d\d-.* UTC\.',
        finished.screen,
        re.MULTILINE,
    )
    assert 'Pushed.' not in finished.screen and 'nothing served yet' not in finished.screen


def test_a_run_happens_only_if_it_is_needed(program: Program, pushed):
    serve_only_the_first(pushed)
    before = runs.states(pushed.root)
    finished = program.run(pushed.root, '--if-needed')
    assert finished.exit_code == NOT_NEEDED, finished.screen
    assert 'no run is needed, nothing has changed' in finished.screen
    assert runs.states(pushed.root) == before

    finished = program.run(
        pushed.root, '--if-needed', '--set', 'gate.max_share={inverted_polarity: 0.03}'
    )
    assert finished.exit_code == 0, finished.screen
    assert 'runs because the configuration changed: gate.max_share.inverted_p' in finished.screen
    assert that_ran(pushed.root) == {'DataGate', 'Pusher'}


def test_an_unchanged_run_repairs_a_damaged_served_version(program: Program, pushed):
    """The run, which cannot write its pages either, still reports what became of the model."""
    serve_only_the_first(pushed)
    version = runs.newest_version(pushed.serving)
    with (version / 'variables' / 'variables.index').open('r+b') as file:
        file.truncate(10)
    (version / 'saved_model.pb').unlink()
    pictures = pushed.root / 'pictures'
    pictures.rename(pushed.root / 'pictures.away')
    pictures.write_text('a file where a folder is needed')
    try:
        finished = program.run(pushed.root)
    finally:
        pictures.unlink()
        (pushed.root / 'pictures.away').rename(pictures)
    assert finished.exit_code == 0, finished.screen
    assert runs.states(pushed.root)[-1] == dict.fromkeys(REQUIRED, CACHED)
    assert target.verify(str(version)) == []
    # The screen wraps long lines.
    assert 'saved_model.pb is missing; variables/variables.index differs' in ' '.join(
        finished.screen.split()
    )
    assert 'It is repaired.' in finished.screen
    assert 'All steps are done, but their results could not be shown:' in finished.screen
    assert f'Nothing to do: version {version.name} has been served since' in finished.screen
    assert 'The run could not start' not in finished.screen and not finished.has_traceback()


def test_a_comment_does_not_repeat_the_training(program: Program, pushed):
    with appended(program.source / 'trainer' / 'training.py', '\n# A comment.\n'):
        finished = program.run(pushed.root)
    assert finished.exit_code == 0, finished.screen
    assert not that_ran(pushed.root) & {*REQUIRED[: REQUIRED.index('Evaluator')], 'ServingCheck'}


@pytest.mark.parametrize(
    ('module', 'first'),
    [
        pytest.param('training', 'Trainer', id='training', marks=pytest.mark.long),
        pytest.param('preprocessing', 'Transform', id='preprocessing'),
    ],
)
def test_new_trainer_code_repeats_its_step_and_later_ones(program: Program, pushed, module, first):
    with appended(program.source / 'trainer' / f'{module}.py', '\nREVISION = 2\n'):
        finished = program.run(pushed.root)
    assert finished.exit_code == 0, finished.screen
    assert that_ran(pushed.root) == runs.steps_from(first)


def test_a_new_gate_limit_repeats_neither_audit_nor_training(program: Program, pushed):
    serve_only_the_first(pushed)
    finished = program.run(pushed.root, '--set', 'gate.max_share={inverted_polarity: 0.02}')
    assert finished.exit_code == 0, finished.screen
    assert that_ran(pushed.root) == {'DataGate', 'Pusher'}


def test_a_new_file_repeats_ingestion_and_later_steps(program: Program, pushed, spare_file):
    new = program.data / 'data' / spare_file.name
    shutil.copy(spare_file, new)
    try:
        finished = program.run(pushed.root)
    finally:
        new.unlink()
    assert finished.exit_code == 0, finished.screen
    assert that_ran(pushed.root) == set(REQUIRED) - {'CuratedSchema', 'Baseline'}
    assert '366 records in, 0 quarantined' in finished.screen


def test_a_candidate_worse_than_the_served_model_is_refused(program: Program, pushed):
    serve_only_the_first(pushed)
    before = runs.served(pushed.serving)
    baseline = pushed.manifest['metrics']['auc']
    finished = program.run(
        pushed.root,
        *('--set', 'train.epochs=1', '--set', 'train.learning_rate=1.0e-9'),
        *(
            '--set',
            'evaluation.thresholds=[{metric: auc, max_worse: 0.01}, {metric: auc, slice: {sex: '
            'M}, min: 0.999}]',
        ),
    )
    assert finished.exit_code == 3, finished.screen
    assert runs.states(pushed.root)[-1]['Trainer'] == COMPLETE
    assert runs.served(pushed.serving) == before
    assert not finished.has_traceback()

    comparison = re.search(
        r'auc on all is (\d\.\d+), required >= (\d\.\d+) '
        r'\(served (\d\.\d+) - 0\.01\) \((-\d\.\d+)\)',
        finished.screen,
    )
    assert comparison, finished.screen
    value, bound, served, margin = map(float, comparison.groups())
    assert served == pytest.approx(baseline, abs=1e-4)
    assert bound == pytest.approx(served - 0.01, abs=2e-4)
    assert margin == pytest.approx(value - bound, abs=2e-4)
    slice_verdict = re.search(
        r'auc on sex=M is (\d\.\d+), required >= 0\.999 \((-\d\.\d+)\)', finished.screen
    )
    assert slice_verdict, finished.screen
    assert float(slice_verdict[2]) == pytest.approx(float(slice_verdict[1]) - 0.999, abs=2e-4)
    assert len(re.findall(r'FAIL', finished.screen)) == 2


def test_a_deleted_served_version_is_pushed_again(program: Program, pushed):
    for version in pushed.serving.iterdir():
        if version.name.isdigit():
            shutil.rmtree(version)
    finished = program.run(pushed.root)
    assert finished.exit_code == 0, finished.screen
    assert that_ran(pushed.root) == {'Pusher'}
    version = runs.newest_version(pushed.serving)
    assert target.verify(str(version)) == []
    assert runs.manifest(version)['model_digest'] == pushed.manifest['model_digest']


def test_lost_artifacts_are_rebuilt_and_the_served_version_stays(program: Program, pushed):
    """Comes last in this file: afterwards the cached model is not the served one."""
    shutil.rmtree(pushed.root / 'artifacts' / 'Transform' / 'transformed_examples')
    before = runs.newest_version(pushed.serving)
    finished = program.run(pushed.root)
    assert finished.exit_code == 0, finished.screen
    assert {'Transform', 'Trainer', 'Pusher'} <= that_ran(pushed.root)
    assert runs.newest_version(pushed.serving) == before
    assert (
        f'Version {before.name} was pushed for the same data, code and configuration and stays'
        in finished.screen
    )
    assert f'Nothing to push: version {before.name}, served since' in finished.screen
    assert target.verify(str(before)) == []
