"""`cxr-triage recalibrate` on a run root: what is pushed, refused, and left after a kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cli import main as cli
from components.pusher import target as push_target
from components.serving_check.session_model import SessionModel
from monitoring.recalibration.known_images import of_version
from pipeline import root_lock
from pipeline.exit_codes import FAILED, NOT_BLESSED, PUSHED
from pipeline.run_root import RunRoot
from pipeline.steps import INGESTION
from records import examples, tfrecord
from records.intake import image_digest
from schemas import signatures
from schemas.features import PATIENT_ID
from serving import served_versions
from serving.releases.release import Releases
from tests.support import push_targets, shifted_root
from tests.support.synthetic_root import RootBuilder

_PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope='module')
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    folder = tmp_path_factory.mktemp('exported')
    return folder / 'model', shifted_root.export(folder)


@pytest.fixture(scope='module')
def shifted(tmp_path_factory: pytest.TempPathFactory, exported: tuple[Path, np.ndarray]) -> Path:
    """Images of which more are abnormal than the model believes."""
    return shifted_root.write_data(tmp_path_factory.mktemp('shifted'), exported[1], 0.6, 1.2)


@pytest.fixture
def root(tmp_path: Path, exported: tuple[Path, np.ndarray]) -> Path:
    """A root whose version is stable."""
    shifted_root.push(exported[0], tmp_path / 'root')
    _releases(tmp_path / 'root').ensure()
    return tmp_path / 'root'


def _releases(root: Path) -> Releases:
    return Releases(RunRoot(root).serving, 'cxr_triage')


def _versions(root: Path) -> list[push_target.ServedVersion]:
    return push_target.versions(str(RunRoot(root).serving))


def _run(root: Path, data: Path, *more: str) -> int:
    return cli.main(['recalibrate', '--root', str(root), '--data-root', str(data), *more])


@pytest.mark.slow
def test_a_shift_gives_a_new_stable_version(
    root: Path, shifted: Path, exported: tuple[Path, np.ndarray], capsys: pytest.CaptureFixture
) -> None:
    assert _run(root, shifted, '--why', 'new scanner') == PUSHED
    old, new = _versions(root)
    output = capsys.readouterr().out
    assert f'Pushed version {new.version}, a recalibration of {old.version}.' in output
    assert not push_target.verify(new.path)
    assert _releases(root).labels() == {'stable': int(new.version)}
    assert old.manifest and new.manifest and new.manifest.recalibration
    about = new.manifest.recalibration
    assert (about.of_version, about.images, about.patients) == (old.version, 360, 180)
    assert about.prevalence == pytest.approx(about.positives / 360)
    assert about.data == str(shifted) and about.spans == (0,) and about.by
    info = served_versions.read(new.path, int(new.version))
    assert info.compared_with == int(old.version)
    assert info.paired['normal']['images'] == 360 - about.positives
    assert new.manifest.metrics['sensitivity'] == pytest.approx(0.95, abs=0.05)
    assert new.manifest.metrics['log_loss'] < about.served_metrics['log_loss']
    # The labels were drawn with 0.6 times the log odds plus 1.2.
    _, log_odds = exported
    images = shifted_root.images(16)
    scores = SessionModel(new.path).score(signatures.IMAGES, images)
    expected = 1 / (1 + np.exp(-(0.6 * log_odds[:16] + 1.2)))
    np.testing.assert_allclose(scores.probability, expected, atol=0.12)
    name = scores.model_version[0].decode()
    assert name.startswith('tiny-1-recalibrated-')
    for file in ('variables.data-00000-of-00001', 'variables.index'):
        parts = [Path(version.path, 'variables', file).read_bytes() for version in (old, new)]
        assert parts[0] == parts[1]

    assert cli.main(['models', 'show', new.version, '--root', str(root)]) == 0
    shown = capsys.readouterr().out
    assert f'recalibration of version {old.version}' in shown and 'new scanner' in shown

    # Again, on the same images: the new version is calibrated for them.
    assert _run(root, shifted) == NOT_BLESSED
    refused = capsys.readouterr().out
    assert 'Refused, nothing was pushed:\n  off target: ' in refused
    # The older version again gives the newest one.
    assert _run(root, shifted, '--version', old.version) == PUSHED
    assert f'Version {new.version} has this calibration already.' in capsys.readouterr().out
    assert len(_versions(root)) == 2


@pytest.mark.slow
def test_a_dry_run_and_a_canary(root: Path, shifted: Path, capsys: pytest.CaptureFixture) -> None:
    assert _run(root, shifted, '--dry-run') == PUSHED
    assert 'Nothing was pushed (--dry-run).' in capsys.readouterr().out
    (old,) = _versions(root)
    assert _run(root, shifted, '--release', 'canary') == PUSHED
    new = _versions(root)[-1]
    assert _releases(root).labels() == {'stable': int(old.version), 'canary': int(new.version)}


def _fails(root: Path, data: Path, capsys: pytest.CaptureFixture, *more: str) -> str:
    assert _run(root, data, *more) == FAILED
    assert len(_versions(root)) == 1
    return capsys.readouterr().err


def test_errors_say_what_to_do(
    root: Path, shifted: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert 'no version 7; there are:' in _fails(root, shifted, capsys, '--version', '7')
    message = _fails(root, shifted, capsys, '--spans', '3')
    assert 'no files for span [3]; the data root has spans [0]' in message
    assert 'expected all, latest, or numbers' in _fails(root, shifted, capsys, '--spans', 'new')
    assert 'not a directory' in _fails(root, tmp_path / 'nothing', capsys)
    with root_lock.acquire(str(root)):
        assert 'another run uses this root' in _fails(root, shifted, capsys)
    Path(_versions(root)[0].path, 'variables', 'variables.index').write_bytes(b'')
    assert 'is not what was pushed: variables/variables.index' in _fails(root, shifted, capsys)


def test_a_root_without_versions(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    RunRoot(tmp_path).serving.mkdir()
    assert _run(tmp_path, tmp_path) == FAILED
    assert 'no version was pushed there; run the pipeline first' in capsys.readouterr().err


def test_one_class_is_refused(
    root: Path, exported: tuple[Path, np.ndarray], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    data = shifted_root.write_data(tmp_path / 'normal', exported[1], 0.0, -20.0)
    message = _fails(root, data, capsys)
    assert '0 positive images of 0 patients can be used: expected at least 50 of 20' in message


def test_images_that_the_version_learned_from_are_left_out(
    tmp_path: Path, exported: tuple[Path, np.ndarray]
) -> None:
    shifted_root.push(exported[0], tmp_path / 'root')
    (version,) = _versions(tmp_path / 'root')
    assert of_version(tmp_path / 'root', version) is None
    builder = RootBuilder(tmp_path / 'root')
    outputs = builder.step(shifted_root.RUN, INGESTION.name, outputs={'examples': {}})
    folder = builder.folder(INGESTION.name, 'examples', outputs['examples'])
    for split, patient, image in (('train', '1', b'one'), ('val', '2', b'two'), ('test', '3', b'')):
        (folder / f'Split-{split}').mkdir()
        example = examples.Example.FromString(examples.build(image, None, {}))
        examples.put_bytes(example, PATIENT_ID, patient.encode())
        record = tfrecord.frame(examples.serialize(example))
        (folder / f'Split-{split}' / 'data').write_bytes(record)
    is_known = of_version(tmp_path / 'root', version)
    assert is_known is not None
    assert [is_known(patient, '') for patient in '123'] == [True, True, False]
    assert is_known('9', image_digest(b'two')) and not is_known('9', image_digest(b'x'))


def test_another_push_meanwhile_is_not_overtaken(
    root: Path, shifted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    """The check of the new model takes seconds; a version that came in between is not judged."""
    from monitoring.recalibration.candidate import Candidate

    def check(*_: object) -> list[str]:
        push_targets.publish(push_targets.model(tmp_path / 'other'), RunRoot(root).serving)
        return []

    monkeypatch.setattr(Candidate, 'check', check)
    assert _run(root, shifted) == FAILED
    assert 'another version was pushed' in capsys.readouterr().err
    assert [v.manifest and v.manifest.recalibration for v in _versions(root)] == [None, None]


_KILL = """
import os, signal, sys
from components.pusher import delivery

def kill(*_):
    os.kill(os.getpid(), signal.SIGKILL)

rename = os.rename
if sys.argv[1] == 'before':
    delivery.write_manifest = kill
else:
    delivery.os.rename = lambda *paths: (rename(*paths), '/serving/' in paths[1] and kill())
from cli import main
sys.exit(main.main(sys.argv[2:]))
"""


@pytest.mark.slow
@pytest.mark.parametrize('moment', ['before', 'after'])
def test_a_kill_leaves_no_half_version(root: Path, shifted: Path, moment: str) -> None:
    """Before the manifest, nothing is there; after the rename, the version is complete."""
    command = ['recalibrate', '--root', str(root), '--data-root', str(shifted)]
    environment = {**os.environ, 'PYTHONPATH': str(_PROJECT), 'PYTHONDONTWRITEBYTECODE': '1'}
    killed = subprocess.run(
        [sys.executable, '-c', _KILL, moment, *command],
        check=False,
        cwd=_PROJECT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    versions = _versions(root)
    assert len(versions) == (1 if moment == 'before' else 2)
    assert all(not push_target.verify(version.path) for version in versions)
    assert _releases(root).labels() == {'stable': int(versions[0].version)}
    assert cli.main(command) == PUSHED
    assert len(_versions(root)) == 2
    assert _releases(root).labels() == {'stable': int(_versions(root)[-1].version)}
    assert not list(RunRoot(root).serving.glob('.incoming*'))
