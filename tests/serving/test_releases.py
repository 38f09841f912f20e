"""Releases: labels move after checks, each move is recorded, and a failure changes nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cli import main as cli
from components.pusher import journal, push
from components.serving_check import sample_answers
from components.serving_check.session_model import SessionModel
from serving.api.client import ModelServer
from serving.releases import CANARY, STABLE, ReleaseError, config_file
from serving.releases.release import Releases
from tests.support import model_servers, push_targets, tiny_model
from tests.support.model_servers import MODEL

_IMAGES = tiny_model.images()

_SHIPPED = sorted((Path(__file__).resolve().parents[2] / 'kubeflow').rglob('models.config'))


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """A push directory with versions 1 to 4 of files that look like models."""
    folder = tmp_path / 'target'
    for number in (1, 2, 3, 4):
        _publish(
            push_targets.model(tmp_path / f'model{number}', f'weights {number}'), folder, number
        )
    return folder


def _publish(model: str, target: Path, number: int) -> None:
    """Pushes a model as version `number`."""
    staged = target.parent / f'staged-{number}'
    version = push_targets.publish(model, staged).version
    text = (staged / version / 'manifest.json').read_text()
    target.mkdir(exist_ok=True)
    shutil.copytree(staged / version, target / str(number))
    content = {**json.loads(text), 'version': str(number)}
    (target / str(number) / 'manifest.json').write_text(json.dumps(content))


def test_the_first_file_serves_the_newest_version(target: Path) -> None:
    path = Releases(target, MODEL).ensure()
    config = config_file.read(path)
    assert config_file.labels(config, MODEL) == {STABLE: 4}
    assert config_file.base_path(config, MODEL) == str(target)
    assert Releases(target, MODEL).ensure() == path
    assert len(journal.read(target)) == 1


def test_a_file_of_another_model_is_not_overwritten(target: Path) -> None:
    path = Releases(target, MODEL).ensure()
    before = path.read_text()
    with pytest.raises(ReleaseError, match=f'serves the model {MODEL}, not other: give --model'):
        Releases(target, 'other').ensure()
    with pytest.raises(ReleaseError, match='not other'):
        Releases(target, 'other').promote(1, '')
    assert path.read_text() == before


def test_other_models_of_the_file_stay(target: Path) -> None:
    path = Releases(target, MODEL).ensure()
    other = config_file.build('other', '/models/other', {STABLE: 7})
    (entry,) = other.model_config_list.config
    config_file.write(path, config_file.build(MODEL, str(target), {STABLE: 4}, (), [entry]))
    Releases(target, MODEL).promote(1, '')
    after = config_file.read(path)
    assert config_file.labels(after, MODEL) == {STABLE: 1}
    assert config_file.others(after, MODEL) == [entry]


def test_a_canary_is_promoted_and_rolled_back(target: Path) -> None:
    releases = Releases(target, MODEL)
    releases.move('promote', STABLE, 2, 'start')
    assert releases.canary(None, 'try it') == 4
    assert releases.labels() == {STABLE: 2, CANARY: 4}
    assert releases.promote(None, 'it is good') == 4
    assert releases.labels() == {STABLE: 4}
    assert releases.rollback('it is not') == 2
    assert releases.labels() == {STABLE: 2}
    entries = journal.read(target)
    assert [(e.action, e.label, e.before, e.after, e.why) for e in entries] == [
        ('promote', STABLE, None, 2, 'start'),
        ('canary', CANARY, None, 4, 'try it'),
        ('promote', STABLE, 2, 4, 'it is good'),
        ('rollback', STABLE, 4, 2, 'it is not'),
    ]
    assert all(entry.who and entry.at for entry in entries)


def test_without_an_earlier_version_there_is_no_rollback(target: Path) -> None:
    releases = Releases(target, MODEL)
    releases.ensure()
    with pytest.raises(ReleaseError, match='no version was stable before 4'):
        releases.rollback('')


@pytest.mark.parametrize(
    ('damage', 'message'),
    [
        (shutil.rmtree, 'no such version; there are: 1, 2, 4'),
        (lambda path: (path / 'saved_model.pb').unlink(), 'saved_model.pb is missing'),
        (lambda path: (path / 'manifest.json').unlink(), 'manifest'),
    ],
    ids=['missing', 'file missing', 'no manifest'],
)
def test_a_damaged_version_is_not_released(target: Path, damage, message: str) -> None:
    releases = Releases(target, MODEL)
    releases.move('promote', STABLE, 2, '')
    before = releases.config_path.read_text()
    damage(target / '3')
    with pytest.raises(ReleaseError, match=message):
        releases.promote(3, '')
    assert releases.config_path.read_text() == before
    assert len(journal.read(target)) == 1


def test_prune_keeps_labelled_versions_and_the_way_back(target: Path) -> None:
    releases = Releases(target, MODEL)
    releases.move('promote', STABLE, 1, '')
    releases.move('promote', STABLE, 2, '')
    releases.canary(3, '')
    assert releases.prune(1, 'space') == []
    releases.promote(3, '')
    assert releases.prune(1, 'space') == [1]
    assert sorted(path.name for path in target.glob('[0-9]*')) == ['2', '3', '4']
    assert releases.rollback('') == 2


def test_a_push_does_not_delete_a_released_version(target: Path, tmp_path: Path) -> None:
    Releases(target, MODEL).move('promote', STABLE, 1, '')
    model = push_targets.model(tmp_path / 'new', 'new weights')
    push.publish(model, str(target), push_targets.maker(), keep_versions=2)
    numbers = sorted(int(path.name) for path in target.glob('[0-9]*') if path.is_dir())
    assert numbers[:2] == [1, 4] and len(numbers) == 3


def test_a_release_that_cannot_be_recorded_changes_nothing(target: Path) -> None:
    releases = Releases(target, MODEL)
    releases.move('promote', STABLE, 1, '')
    record = target / journal.NAME
    record.rename(target / 'kept')
    record.mkdir()
    with pytest.raises(ReleaseError, match=r'releases\.jsonl.* The old configuration is in force'):
        releases.promote(2, '')
    assert releases.labels() == {STABLE: 1}


def test_a_record_on_a_full_disk_stays_readable(target: Path) -> None:
    entry = journal.Entry(journal.now(), 'x', 'promote', STABLE, None, 1, 'y' * 3000)
    journal.append(target, entry)
    size = (target / journal.NAME).stat().st_size
    # A limit of the size of files: the next entry fits in part.
    script = (
        'import resource, signal, sys; from pathlib import Path; '
        'from components.pusher import journal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); '
        f'resource.setrlimit(resource.RLIMIT_FSIZE, ({size + 100}, {size + 100})); '
        'target = Path(sys.argv[1]); journal.append(target, journal.read(target)[0])'
    )
    done = subprocess.run([sys.executable, '-c', script, target], capture_output=True, check=False)
    assert b'No space left' in done.stderr, done.stderr
    assert journal.read(target) == [entry]


def test_the_reason_may_have_any_character(target: Path) -> None:
    why = 'ünsere Gründe\u2028in zwei\x85Zeilen\n"'
    Releases(target, MODEL).move('promote', STABLE, 1, why)
    assert [entry.why for entry in journal.read(target)] == [why]


def test_a_user_without_a_name_is_recorded_by_number(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ('CXR_USER', 'LOGNAME', 'USER', 'LNAME', 'USERNAME'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, 'getuid', lambda: 2_000_000_001)
    Releases(target, MODEL).move('promote', STABLE, 1, '')
    assert [entry.who for entry in journal.read(target)] == ['user 2000000001']


def test_one_release_at_a_time(target: Path) -> None:
    releases = Releases(target, MODEL)
    with releases._locked(), pytest.raises(ReleaseError, match='another release is under way'):
        releases.promote(2, '')


def test_a_file_of_an_overlay_keeps_its_path_and_comments(target: Path, tmp_path: Path) -> None:
    overlay = tmp_path / 'overlay' / 'models.config'
    overlay.parent.mkdir()
    overlay.write_text('# Releases a version.\n' + model_servers.config_text(Path('/models/x')))
    Releases(target, MODEL, config=overlay).promote(2, '')
    text = overlay.read_text()
    config = config_file.read(overlay)
    assert text.startswith('# Releases a version.\n')
    assert config_file.base_path(config, MODEL) == '/models/x'
    assert config_file.labels(config, MODEL) == {STABLE: 2}
    assert not (target / 'models.config').exists()


@pytest.mark.parametrize('file', _SHIPPED, ids=lambda file: file.parent.name)
def test_the_first_release_replaces_the_placeholder_of_a_shipped_file(
    target: Path, tmp_path: Path, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(target / '1')
    folder = tmp_path / file.parent.name
    shutil.copytree(file.parent, folder)
    options = ['--target', str(target), '--config-file', str(folder / file.name)]
    assert cli.main(['models', 'promote', *options]) == 0
    config = config_file.read(folder / file.name)
    assert config_file.labels(config, 'cxr_triage') == {STABLE: 4}
    is_kustomized = (folder / 'kustomization.yaml').exists()
    assert (f'kubectl apply -k {folder}' in capsys.readouterr().out) == is_kustomized
    assert cli.main(['models', 'list', *options]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if 'stable' in line]
    assert line.split()[:2] == ['4', 'stable']


def test_a_damaged_config_file_is_named(target: Path) -> None:
    (target / 'models.config').write_text('model_config_list {')
    with pytest.raises(ReleaseError, match=r'models\.config: not a model config file'):
        Releases(target, MODEL).promote(2, '')


@pytest.fixture(scope='module')
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three small models with samples; the samples of the third are of another model."""
    folder = tmp_path_factory.mktemp('models')
    for seed in (1, 2, 3):
        path = folder / str(seed)
        tiny_model.export(path, seed=seed)
        sample_answers.write(SessionModel(str(path)), str(path))
    shutil.copy(folder / '1' / sample_answers.FILE, folder / '3' / sample_answers.FILE)
    return folder


@pytest.fixture(params=model_servers.KINDS)
def served(
    request: pytest.FixtureRequest, models: Path, tmp_path: Path
) -> Iterator[tuple[Releases, ModelServer]]:
    """A server whose stable version is 1; versions 2 and 3 are there too."""
    target = tmp_path / 'target'
    for number in (1, 2, 3):
        _publish(str(models / str(number)), target, number)
    Releases(target, MODEL).move('promote', STABLE, 1, '')
    with model_servers.running(
        request.param, target / 'models.config', tmp_path / 'server.log'
    ) as client:
        model_servers.wait_for_version(client, 1)
        yield Releases(target, MODEL, client), client


def _answering(client: ModelServer, label: str = STABLE) -> int:
    prediction = client.predict(MODEL, 'serve_image', {'image_bytes': _IMAGES[:1]}, label=label)
    return prediction.version


@pytest.mark.slow
def test_labels_move_on_the_server_without_an_error(served) -> None:
    releases, client = served
    versions, stop = [], threading.Event()

    def ask() -> None:
        while not stop.is_set():
            versions.append(_answering(client))

    with ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(ask) for _ in range(4)]
        releases.canary(2, '')
        assert (_answering(client), _answering(client, CANARY)) == (1, 2)
        releases.promote(None, '')
        assert _answering(client) == 2
        releases.rollback('')
        assert _answering(client) == 1
        stop.set()
        for asked in asking:
            asked.result()
    assert {1, 2} == set(versions)


@pytest.mark.slow
def test_a_version_that_answers_in_another_way_is_not_released(served) -> None:
    releases, client = served
    with pytest.raises(ReleaseError, match=r'version 3: sample 1: probability .* expected'):
        releases.promote(3, '')
    assert _answering(client) == 1
    assert releases.labels() == {STABLE: 1}
    assert [entry.after for entry in journal.read(releases.target)] == [1]


@pytest.mark.slow
def test_a_version_that_cannot_be_loaded_is_not_released(served, tmp_path: Path) -> None:
    releases, client = served
    _publish(push_targets.model(tmp_path / 'empty'), releases.target, 4)
    with pytest.raises(ReleaseError, match='version 4 cannot be loaded'):
        releases.promote(4, '')
    assert _answering(client) == 1
    assert releases.labels() == {STABLE: 1}


@pytest.mark.slow
def test_a_version_that_could_not_be_loaded_is_tried_again(served, models: Path) -> None:
    releases, client = served
    _publish(push_targets.model(releases.target.parent / 'damaged'), releases.target, 4)
    with pytest.raises(ReleaseError, match='version 4 cannot be loaded'):
        releases.promote(4, '')
    for folder in (releases.target / '4', releases.target.parent / 'staged-4'):
        shutil.rmtree(folder)
    _publish(str(models / '2'), releases.target, 4)
    # TF Serving looks at its configuration once a second, and forgets version 4 then.
    time.sleep(2)
    releases.promote(4, '')
    assert _answering(client) == 4
