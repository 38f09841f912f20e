"""`cxr-triage models auto`: what it decides on answers in a database, and that it gives way."""

from __future__ import annotations

import datetime
import json
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy import special
from sqlalchemy import update
from sqlalchemy.orm import Session, sessionmaker

from cli import auto_release
from cli import main as cli
from components.pusher import journal
from schemas import not_assessed
from serving import audit, studies
from serving.database import connection
from serving.database.tables import Answer, Image, Study
from serving.housekeeping import Housekeeping
from serving.image_files import ImageFiles
from serving.releases import CANARY, STABLE
from serving.releases.release import Releases
from serving.studies import Outcome
from tests.support import gateways, push_targets
from tests.support.model_servers import MODEL

_ENOUGH = 300
_LONG_AGO = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)


class _Service:
    """A push directory with a canary, and a database with what both versions answered."""

    def __init__(self, folder: Path, sessions: sessionmaker[Session], url: str):
        self.target, self.sessions, self._url = folder / 'target', sessions, url
        for number in (1, 2):
            model = Path(push_targets.model(folder / f'model{number}', f'weights {number}'))
            extra = model / 'assets.extra'
            extra.mkdir()
            info = {'task': 'nih_triage', 'operating_point': {'threshold': 0.5}}
            (extra / 'triage.json').write_text(json.dumps(info))
            gateways.push(model, self.target, number)
            manifest = self.target / str(number) / 'manifest.json'
            metrics = {'sensitivity': 0.9, 'specificity': 0.7}
            manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {'metrics': metrics}))
        self.releases = Releases(self.target, MODEL)
        self.releases.move('promote', STABLE, 1, 'start')
        self.releases.canary(2, 'try it')

    def answer(
        self, count: int, shift: float = 0.0, seed: int = 0, lost: float = 0.0, read: float = 0.0
    ) -> None:
        """Studies that both versions answer; the logits of the canary are shifted."""
        rng = np.random.default_rng(seed)
        is_abnormal = rng.random(count) < 0.4
        shared = rng.normal(-1.5, 1.5, count) + 3 * is_abnormal
        stable, canary = (shared + rng.normal(0, 0.5, count) for _ in range(2))
        answers = [
            (_outcome(1, a), _outcome(2, b + shift)) for a, b in zip(stable, canary, strict=True)
        ]
        failed = Outcome(2, None, True, not_assessed.NO_ANSWER)
        with self.sessions.begin() as session:
            # Not one by one, as the gateway would.
            waiting = [_study() for _ in range(count)]
            session.add_all(waiting)
            session.flush()
            answered = [(study, [pair[0]]) for study, pair in zip(waiting, answers, strict=True)]
            beside = [
                (study, [failed if rng.random() < lost else pair[1]])
                for study, pair in zip(waiting, answers, strict=True)
            ]
            studies.record_answers(session, answered, beside)
            for study, abnormal in zip(waiting, is_abnormal, strict=True):
                if rng.random() < read:
                    verdict = 'abnormal' if abnormal else 'normal'
                    studies.add_reading(session, study, 'reader', verdict, [], '')

    def auto(self, *more: str) -> int:
        """Runs the command."""
        options = ['--target', str(self.target), '--model', MODEL, '--database', self._url]
        return cli.main(['models', 'auto', *options, '--answers', str(_ENOUGH), *more])


def _study() -> Study:
    image = Image(
        id=studies.new_id(),
        position=0,
        kind='png',
        sha256='0' * 64,
        size=1,
        width=gateways.SIDE,
        height=gateways.SIDE,
    )
    return Study(
        id=studies.new_id(),
        arrived_at=datetime.datetime.now(datetime.timezone.utc),
        uploaded_by='test',
        image_count=1,
        images=[image],
    )


def _outcome(version: int, logit: float) -> Outcome:
    return Outcome(version, float(special.expit(logit)), bool(logit >= 0), '', 0.5)


@pytest.fixture
def service(tmp_path: Path, sessions: sessionmaker[Session], database_url: str) -> _Service:
    return _Service(tmp_path, sessions, database_url)


@pytest.fixture
def sqlite_service(tmp_path: Path) -> _Service:
    url = connection.sqlite_url(tmp_path / 'gateway.sqlite')
    return _Service(tmp_path, connection.connect(url), url)


def test_a_good_canary_waits_and_is_promoted(
    service: _Service, capsys: pytest.CaptureFixture[str]
) -> None:
    assert service.auto() == auto_release.UNCHANGED
    assert 'Waiting: 300 more studies' in (printed := capsys.readouterr().out)
    assert '--canary-share above 0' in printed
    service.answer(_ENOUGH - 1, read=0.3)
    assert service.auto() == auto_release.UNCHANGED
    assert 'Waiting: 1 more studies' in capsys.readouterr().out
    service.answer(1, seed=1)
    assert service.auto('--dry-run') == auto_release.UNCHANGED
    assert 'Without it: promote 2' in capsys.readouterr().out
    assert service.auto() == auto_release.PROMOTED
    assert service.releases.labels() == {STABLE: 2}
    entry = journal.read(service.target)[-1]
    assert (entry.action, entry.before, entry.after) == ('promote', 1, 2)
    assert entry.why.startswith('automatic: no alarm in 300 studies {"alpha": 0.05')
    assert json.loads(entry.why[entry.why.index('{') :])['flags']['studies'] == 300
    assert service.auto() == auto_release.UNCHANGED
    assert 'no version is canary' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('options', 'text'),
    [
        ({'shift': 1.0}, 'the canary flags too many images'),
        ({'shift': -1.0}, 'the canary flags too few images'),
        ({'lost': 0.2}, 'the canary does not assess images'),
        ({'shift': -3.0, 'read': 1.0}, 'the canary misses what readers call abnormal'),
    ],
    ids=['too high', 'too low', 'lost', 'readings'],
)
def test_a_bad_canary_is_withdrawn(
    sqlite_service: _Service, options: dict, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    sqlite_service.answer(_ENOUGH, **options)
    assert sqlite_service.auto() == auto_release.ALARM
    assert text in capsys.readouterr().out
    assert sqlite_service.releases.labels() == {STABLE: 1}
    entry = journal.read(sqlite_service.target)[-1]
    assert (entry.action, entry.before, entry.after) == ('withdraw', 2, None)
    assert text in entry.why


def test_a_decision_gets_into_the_audit_log(service: _Service, tmp_path: Path) -> None:
    service.answer(_ENOUGH, shift=1.0)
    service.releases.hold('wait for me')
    assert service.auto() == auto_release.ALARM
    service.releases.resume('go on')
    assert service.auto() == auto_release.ALARM
    Housekeeping(service.sessions, ImageFiles(tmp_path / 'images'), service.target).run()
    with service.sessions() as session:
        entries = [entry for entry in audit.entries(session) if entry.action == 'release']
    assert [json.loads(entry.details)['release']['action'] for entry in entries] == [
        *('promote', 'canary', 'hold', 'resume', 'withdraw')
    ]
    assert entries[-1].subject == '2'


def test_a_canary_that_is_outside_of_its_limits_waits_even_without_an_alarm(
    sqlite_service: _Service, capsys: pytest.CaptureFixture[str]
) -> None:
    sqlite_service.answer(30, shift=1.0)
    assert sqlite_service.auto('--answers', '20') == auto_release.UNCHANGED
    assert 'Waiting: more answers have to show' in capsys.readouterr().out


def test_a_hold_changes_nothing(
    sqlite_service: _Service, capsys: pytest.CaptureFixture[str]
) -> None:
    sqlite_service.releases.hold('conference')
    sqlite_service.answer(_ENOUGH)
    assert sqlite_service.auto() == auto_release.UNCHANGED
    assert 'has stopped automatic decisions: conference). Without it: promote' in (
        capsys.readouterr().out
    )
    sqlite_service.answer(_ENOUGH, shift=2.0)
    assert sqlite_service.auto() == auto_release.ALARM
    assert 'Without it: withdraw 2' in capsys.readouterr().out
    assert sqlite_service.releases.labels() == {STABLE: 1, CANARY: 2}


def test_answers_of_an_earlier_time_as_canary_do_not_count(
    sqlite_service: _Service, capsys: pytest.CaptureFixture[str]
) -> None:
    sqlite_service.answer(_ENOUGH, shift=2.0)
    with sqlite_service.sessions.begin() as session:
        session.execute(update(Answer).values(answered_at=_LONG_AGO))
    sqlite_service.releases.withdraw('it was not configured well')
    sqlite_service.releases.canary(2, 'now it is')
    assert sqlite_service.auto() == auto_release.UNCHANGED
    assert 'both answered 0 studies' in capsys.readouterr().out


@pytest.mark.parametrize('shift', [0.0, 2.0], ids=['promoted', 'withdrawn'])
def test_two_at_the_same_time_decide_once(sqlite_service: _Service, shift: float) -> None:
    sqlite_service.answer(_ENOUGH, shift=shift)
    codes: list[int] = []
    gate = threading.Barrier(2)

    def look() -> None:
        gate.wait()
        codes.append(sqlite_service.auto())

    threads = [threading.Thread(target=look) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    done = auto_release.ALARM if shift else auto_release.PROMOTED
    # The other one comes too late, or finds no canary any more.
    assert sorted(codes) in (
        sorted([done, auto_release.ERROR]),
        sorted([done, auto_release.UNCHANGED]),
    )
    actions = [entry.action for entry in journal.read(sqlite_service.target)]
    assert actions == ['promote', 'canary', 'withdraw' if shift else 'promote']


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--alpha', '0'], '--alpha 0.0: expected 0.001 to 0.5'),
        (['--margin', '0.9'], '--margin 0.9: expected 0.01 to 0.5'),
        (['--answers', '0'], '--answers 0: expected at least 1'),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else '',
)
def test_errors_are_no_alarms(
    sqlite_service: _Service,
    options: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert sqlite_service.auto(*options) == auto_release.ERROR
    assert message in capsys.readouterr().err


def test_a_canary_whose_files_changed_is_not_promoted(
    sqlite_service: _Service, capsys: pytest.CaptureFixture[str]
) -> None:
    sqlite_service.answer(_ENOUGH)
    (sqlite_service.target / '2' / 'saved_model.pb').write_text('damaged')
    assert sqlite_service.auto() == auto_release.ERROR
    assert 'is not what was pushed' in capsys.readouterr().err
    assert sqlite_service.releases.labels() == {STABLE: 1, CANARY: 2}


@pytest.mark.slow
@pytest.mark.parametrize('is_better', [True, False], ids=['good', 'bad'])
def test_on_a_real_gateway(
    tmp_path: Path, is_better: bool, push_two: Callable[[Path, bool], None]
) -> None:
    """Uploads over HTTP, two served versions, and the answers that the gateway recorded."""
    target, database_url = tmp_path / 'serving', connection.sqlite_url(tmp_path / 'gateway.sqlite')
    push_two(target, is_better)
    options = ['--target', str(target), '--model', MODEL, '--database', database_url]
    with (
        gateways.model_server('embedded', target, tmp_path) as address,
        gateways.running(
            tmp_path / 'data', database_url, target, address, canary_share=1.0
        ) as gateway,
    ):
        ids = [gateway.accepted(gateways.jpeg(n % 4 + 1)) for n in range(120)]
        assert all(gateway.scored(id)['version'] == 1 for id in ids)
        command = ['models', 'auto', *options, '--model-server', f'grpc://{address}']
        code = cli.main([*command, '--answers', '100'])
        assert code == (auto_release.PROMOTED if is_better else auto_release.ALARM)
        study = gateway.scored(gateway.accepted(gateways.jpeg(9)))
        assert study['version'] == (2 if is_better else 1)


@pytest.fixture
def push_two(tmp_path: Path) -> Callable[[Path, bool], None]:
    """Pushes a stable version, and as canary the same model, or one that assesses no image."""
    from tests.support import tiny_model

    def push(target: Path, is_good: bool) -> None:
        for version, defect in ((1, ''), (2, '' if is_good else 'refuses')):
            model = tmp_path / f'tiny-{version}'
            tiny_model.export(model, seed=1, defect=defect)
            (model / 'assets.extra').mkdir()
            info = {'task': 'nih_triage', 'operating_point': {'threshold': tiny_model.THRESHOLD}}
            (model / 'assets.extra' / 'triage.json').write_text(json.dumps(info))
            gateways.push(model, target, version)
        gateways.write_labels(target, {STABLE: 1, CANARY: 2})

    return push
