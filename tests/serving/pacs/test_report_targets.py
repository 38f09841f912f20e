"""Reports by HTTP, from a gateway to servers that fail first: each arrives, once."""

from __future__ import annotations

import contextlib
import datetime
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.serving import dicom_files
from cli.main import main
from serving import studies
from serving.claims import claimed
from serving.database import connection
from serving.notice import RESEARCH_USE
from serving.pacs import unsent
from serving.pacs.settings import PacsSettings, Target
from serving.studies import Outcome
from tests.support import gateways, report_receivers

_PATIENCE_S = 120.0
_FAILURES = [
    (503, {}, b''),
    (302, {'Location': '/elsewhere'}, b''),
]
# As a page of a proxy that asks for a login.
_NO_FHIR = (200, {'Content-Type': 'text/html'}, b'<html></html>')


@contextlib.contextmanager
def _gateway(
    folder: Path, *receivers: report_receivers.Receiver, database: str = ''
) -> Iterator[gateways.Gateway]:
    """A gateway that reports to servers; the tests answer its studies."""
    pacs = PacsSettings(
        targets=tuple(Target.parse(receiver.url) for receiver in receivers), report_after_s=0.0
    )
    database = database or connection.sqlite_url(folder / 'gateway.sqlite')
    with gateways.running(folder, database, folder, pacs=pacs) as gateway:
        yield gateway


def _stow(gateway: gateways.Gateway, content: bytes) -> None:
    body = b'--cut\r\nContent-Type: application/dicom\r\n\r\n' + content + b'\r\n--cut--\r\n'
    kind = 'multipart/related; type="application/dicom"; boundary=cut'
    stored = gateway.post('/dicom-web/studies', data=body, headers={'Content-Type': kind})
    assert stored.status_code == 200, stored.text


def _answer(gateway: gateways.Gateway, probability: float) -> str:
    """Answers the image that waits as the scorer does; returns the id of its study."""
    # The scorer, whose model server is not there, may have it just now.
    return _wait(lambda: _answer_if_free(gateway, probability))


def _answer_if_free(gateway: gateways.Gateway, probability: float) -> str:
    sessions = gateway.services.sessions
    with claimed(sessions, 1) as waiting, sessions() as session, session.begin():
        for study in studies.still_pending(session, waiting):
            outcome = Outcome(7, probability, probability >= 0.5, '', 0.5, {'Effusion': 0.25})
            studies.record_answers(session, [(study, [outcome])])
            gateway.services.pacs.outbox.plan(session, study)
            return study.id
    return ''


def _wait(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + _PATIENCE_S
    while not (result := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return result


def _reports_sent(gateway: gateways.Gateway, count: int) -> None:
    _wait(lambda: f'cxr_reports{{state="sent"}} {count}.0' in gateway.get('/metrics').text)


@pytest.fixture
def fhir_server() -> Iterator[report_receivers.FhirServer]:
    server = report_receivers.FhirServer()
    with report_receivers.running(server):
        yield server


@pytest.fixture
def webhook() -> Iterator[report_receivers.Webhook]:
    server = report_receivers.Webhook()
    with report_receivers.running(server):
        yield server


def test_reports_arrive_once_at_servers_that_fail_first(
    tmp_path: Path, fhir_server: report_receivers.FhirServer, webhook: report_receivers.Webhook
) -> None:
    fhir_server.first = [*_FAILURES, _NO_FHIR]
    webhook.first = [*_FAILURES]
    fhir_server.lost_answers = webhook.lost_answers = 1
    with _gateway(tmp_path, fhir_server, webhook) as gateway:
        _stow(gateway, dicom_files.content(gateways.pixels(1)))
        id = _answer(gateway, 0.75)
        _reports_sent(gateway, 2)
    assert (fhir_server.problems, webhook.problems) == ([], [])
    assert (fhir_server.attempts, webhook.attempts) == (5, 4)
    places = list(fhir_server.resources)
    assert [place.split('/')[0] for place in places] == ['DiagnosticReport', *['Observation'] * 2]
    ((report, again), *_) = fhir_server.resources.values()
    assert report == again
    assert report['subject']['identifier']['value'] == dicom_files.PATIENT['PatientID']
    (message,) = webhook.messages.values()
    assert (message['id'], message['probability'], message['flag']) == (id, 0.75, True)
    assert message['images'][0]['answer']['findings'] == {'Effusion': 0.25}
    assert message['notice'] == RESEARCH_USE
    text = json.dumps(message)
    assert not [v for v in dicom_files.PATIENT.values() if len(v) > 3 and v in text]


def test_an_image_that_follows_changes_the_resources(
    tmp_path: Path, fhir_server: report_receivers.FhirServer, webhook: report_receivers.Webhook
) -> None:
    with _gateway(tmp_path, fhir_server, webhook) as gateway:
        _stow(gateway, dicom_files.content(gateways.pixels(1), '1.2.3'))
        _answer(gateway, 0.25)
        _reports_sent(gateway, 2)
        _stow(gateway, dicom_files.content(gateways.pixels(2), '1.2.3'))
        _answer(gateway, 0.75)
        _reports_sent(gateway, 4)
    versions = [len(found) for found in fhir_server.resources.values()]
    assert (fhir_server.problems, versions) == ([], [2, 2, 2, 1])
    assert [message['probability'] for message in webhook.messages.values()] == [0.25, 0.75]


def test_a_webhook_alone_is_told_of_uploads_and_no_header_is_kept(
    tmp_path: Path, webhook: report_receivers.Webhook
) -> None:
    with _gateway(tmp_path, webhook) as gateway:
        gateway.accepted(gateways.jpeg(1))
        _answer(gateway, 0.25)
        _stow(gateway, dicom_files.content(gateways.pixels(1)))
        id = _answer(gateway, 0.75)
        _reports_sent(gateway, 2)
        assert len(webhook.messages) == 2
        report = gateway.body(f'/v1/studies/{id}/fhir')['entry'][0]['resource']
    assert 'subject' not in report
    assert not list((tmp_path / 'origins').rglob('*.*'))


def test_the_bundle_of_a_study(tmp_path: Path, fhir_server: report_receivers.FhirServer) -> None:
    with _gateway(tmp_path, fhir_server) as gateway:
        _stow(gateway, dicom_files.content(gateways.pixels(1)))
        (row,) = gateway.body('/v1/worklist')['studies']
        path = f'/v1/studies/{row["id"]}/fhir'
        assert gateway.get(path).status_code == 409
        assert gateway.get('/v1/studies/nonsense/fhir').status_code == 404
        _answer(gateway, 0.75)
        answer = gateway.get(path)
    assert answer.headers['Content-Type'] == 'application/fhir+json'
    content = gateways.body(answer)
    resources = [entry['resource'] for entry in content['entry']]
    assert content['type'] == 'collection'
    for resource in resources:
        report_receivers.MODELS[resource['resourceType']].model_validate(resource)
    assert resources[0]['basedOn'][0]['identifier']['value'] == 'A-1'


def test_the_bundle_needs_the_role_read(tmp_path: Path) -> None:
    database = connection.sqlite_url(tmp_path / 'gateway.sqlite')
    with gateways.running(tmp_path, database, tmp_path, requires_token=True) as gateway:
        assert gateway.get(f'/v1/studies/{"ab" * 16}/fhir').status_code == 401


def test_a_report_that_was_given_up_or_lost_is_sent_again(
    database_url: str,
    tmp_path: Path,
    fhir_server: report_receivers.FhirServer,
    webhook: report_receivers.Webhook,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fhir_server.first = [(503, {}, b'')] * 1000
    with _gateway(tmp_path, fhir_server, webhook, database=database_url) as gateway:
        _stow(gateway, dicom_files.content(gateways.pixels(1)))
        id = _answer(gateway, 0.75)
        _reports_sent(gateway, 1)
        _wait(lambda: fhir_server.attempts)
        names = frozenset(target.name for target in gateway.services.settings.pacs.targets)
    # Without a gateway, no report is on its way.
    fhir_server.first.clear()
    sessions = connection.connect(database_url)
    with sessions() as session, session.begin():
        (row,) = studies.work_list(session, studies.Filters()).studies
        row.arrived_at -= datetime.timedelta(days=2)
        assert unsent.give_up(session, unsent.Patience(names, 1)) == 1
    sessions.kw['bind'].dispose()
    with _gateway(tmp_path, fhir_server, webhook, database=database_url) as gateway:
        assert 'cxr_reports{state="given_up"} 1.0' in gateway.get('/metrics').text
        of_database = ['--database', database_url]
        assert main(['resend', '--given-up', *of_database]) == 0
        assert '/fhir: 1 reports to be sent again' in capsys.readouterr().out
        _reports_sent(gateway, 2)
        assert main(['resend', '--study', id, *of_database]) == 0
        assert len(capsys.readouterr().out.splitlines()) == 2
        _reports_sent(gateway, 2)
    # The same ids and contents as before: nothing is there twice.
    assert (fhir_server.problems, webhook.problems) == ([], [])
    assert all(first == again for first, again in fhir_server.resources.values())
    assert len(webhook.messages) == 1


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ([], 'say which reports'),
        (['--study', 'nonsense'], 'no such study'),
        (['--target', 'dicom://A@a:1'], 'no reports. Targets: none'),
        (['--dates', '20261301'], 'expected YYYYMMDD'),
        (['--dates', '20260102-20260101'], 'expected the earlier day first'),
    ],
)
def test_what_cannot_be_sent_again_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    url = connection.sqlite_url(tmp_path / 'gateway.sqlite')
    assert main(['resend', *options, '--database', url]) == 1
    assert message in capsys.readouterr().err
