"""`Prefer: wait`: clients that wait for the answer about a study."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from serving import studies
from serving.announcements import Announcements
from serving.gateway import waiting
from serving.gateway.guard import Guard
from serving.gateway.metrics import Metrics
from serving.gateway.settings import Limits
from tests.support import gateways
from tests.support.gateways import Gateway


@pytest.fixture
def gateway(database_url: str, pushed: Path, tmp_path: Path) -> Iterator[Gateway]:
    """A gateway whose model server never answers."""
    with gateways.running(tmp_path, database_url, pushed) as gateway:
        yield gateway


def _record(gateway: Gateway, id: str) -> None:
    with gateway.services.sessions() as session, session.begin():
        study = studies.find(session, id)
        assert study is not None
        studies.record_answers(session, [(study, [studies.Outcome(1, 0.5, True)])])


@pytest.mark.parametrize(
    ('prefer', 'seconds'),
    [
        ('wait=7', 7),
        ('respond-async, WAIT = 8', 8),
        ('wait="9"; x=1', 9),
        ('wait=100000', waiting.LONGEST_S),
        ('', 0),
        ('wait', 0),
        ('wait=soon', 0),
        ('wait=-1', 0),
        ('await=5', 0),
    ],
)
def test_the_header_says_how_long(prefer: str, seconds: int) -> None:
    assert waiting.wanted_s(prefer) == seconds


def test_an_event_is_announced_to_all_that_expect_it_and_to_no_others() -> None:
    announcements = Announcements()

    async def expect() -> None:
        with (
            announcements.expected('a') as first,
            announcements.expected('a') as second,
            announcements.expected('b') as other,
        ):
            threading.Thread(target=announcements.announce, args=[['a', 'c']]).start()
            await asyncio.wait_for(asyncio.gather(first.wait(), second.wait()), 30)
            assert not other.is_set()

    asyncio.run(expect())
    # Nobody expects it any more, and the loop has ended.
    announcements.announce(['a', 'b'])


def test_a_client_waits_as_long_as_it_wants(gateway: Gateway) -> None:
    start = time.monotonic()
    response = gateway.upload(gateways.jpeg(), headers={'Prefer': 'wait=1'})
    assert time.monotonic() - start >= 1
    assert (response.status_code, response.json()['state']) == (202, 'pending')
    path = f'/v1/studies/{response.json()["id"]}'
    start = time.monotonic()
    response = gateway.get(path, headers={'Prefer': 'wait=1'})
    assert time.monotonic() - start >= 1
    assert (response.status_code, response.json()['state']) == (200, 'pending')


@pytest.mark.parametrize('is_announced', [True, False], ids=['here', 'by another gateway'])
def test_an_answer_ends_the_wait(gateway: Gateway, is_announced: bool) -> None:
    id = gateway.upload(gateways.jpeg()).json()['id']

    def answer() -> None:
        time.sleep(0.3)
        _record(gateway, id)
        if is_announced:
            gateway.services.answered.announce([id])

    answering = threading.Thread(target=answer)
    answering.start()
    response = gateway.get(f'/v1/studies/{id}', headers={'Prefer': 'wait=50'})
    answering.join()
    assert response.json()['state'] == 'scored'
    assert response.json()['images'][0]['answer']['probability'] == 0.5
    # A study that has its answer is shown at once, and so is an error.
    assert gateway.get(f'/v1/studies/{id}', headers={'Prefer': 'wait=50'}).json()['state']
    for other in ('0' * 32, '%00'):
        response = gateway.get(f'/v1/studies/{other}', headers={'Prefer': 'wait=50'})
        assert response.status_code == 404


def test_an_accepted_study_stays_accepted_if_the_wait_fails(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> bool:
        raise OperationalError('', None, Exception('gone'))

    monkeypatch.setattr(studies, 'is_pending', fail)
    response = gateway.upload(gateways.jpeg(), headers={'Prefer': 'wait=50'})
    assert response.status_code == 202
    assert gateway.get(f'/v1/studies/{response.json()["id"]}').json()['state'] == 'pending'


def test_the_time_that_a_client_waits_is_not_latency() -> None:
    metrics = Metrics()

    async def app(scope, receive, send) -> None:
        scope['state'] = {waiting.STATE: 1000.0}
        await send({'type': 'http.response.start', 'status': 200, 'headers': []})
        await send({'type': 'http.response.body', 'body': b''})

    async def send(message) -> None:
        del message

    scope = {'type': 'http', 'method': 'GET', 'path': '/', 'headers': [], 'client': ('x', 1)}
    asyncio.run(Guard(app, Limits(), (), metrics)(scope, None, send))
    assert metrics.registry.get_sample_value('cxr_request_seconds_sum', {'route': 'unknown'}) < 0
