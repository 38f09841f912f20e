"""The folder for TensorBoard has a link for each training, named like its run."""

from __future__ import annotations

from pathlib import Path

from pages import training_logs
from tests.support.synthetic_root import STATES, RootBuilder

FIRST, SECOND = '2026-11-21T22:25:35.123456', '2026-11-21T22:25:35.999999'
NAMED = 'wider head 2026-11-21 22:25:35'


def _train(builder: RootBuilder, run: str, **record: str) -> Path:
    number = builder.step(run, 'Trainer', outputs={'model_run': {}})['model_run']
    builder.record(run, **record)
    logs = builder.folder('Trainer', 'model_run', number) / 'logs'
    logs.mkdir()
    return logs


def test_each_training_has_the_label_of_its_run(builder: RootBuilder) -> None:
    first = _train(builder, FIRST, display_name='wider head')
    second = _train(builder, SECOND, display_name='wider head')
    reused = {'model_run': [int(first.parent.name)]}
    builder.step('2026-11-23T00:00:00', 'Trainer', STATES.CACHED, reused=reused)
    assert training_logs.by_name(builder.root) == {NAMED: first, f'{NAMED} (2)': second}


def test_an_unfinished_training_has_its_own_folder(builder: RootBuilder) -> None:
    builder.step(FIRST, 'Trainer', STATES.RUNNING)
    logs = builder.folder('Trainer', 'model_run', 1) / 'logs'
    assert training_logs.by_name(builder.root) == {}
    logs.mkdir(parents=True)
    assert training_logs.by_name(builder.root) == {'2026-11-21 22:25:35': logs}


def test_links_follow_the_trainings(builder: RootBuilder, tmp_path: Path) -> None:
    folder = tmp_path / 'links'
    folder.mkdir()
    logs = _train(builder, FIRST)
    links = training_logs.Links(builder.root, folder)
    links.update()
    assert {link.name: link.readlink() for link in folder.iterdir()} == {
        '2026-11-21 22:25:35': logs
    }
    # A name is in the record as soon as the run begins; here it was edited.
    builder.record(FIRST, display_name='wider head')
    _train(builder, SECOND)
    links.update()
    assert {link.name for link in folder.iterdir()} == {NAMED, '2026-11-21 22:25:35'}
