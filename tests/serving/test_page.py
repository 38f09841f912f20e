"""The reader's page in Chromium, on a gateway that runs as a reader would start it."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import re
import signal
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import requests
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    generate_uid,
)

from components.pusher import push
from pages.card import ModelCard
from pipeline import run_record
from pipeline.run_root import RunRoot
from records import synth
from schemas.labels import FINDINGS
from serving import studies, tokens
from serving.database import connection
from serving.gateway import page
from serving.gateway.settings import Limits
from serving.notice import RESEARCH_USE
from serving.uploads import Upload
from tests.pages.test_card import card_parts
from tests.support import accessibility, program, push_targets

_PROJECT = Path(__file__).resolve().parents[2]
_RUN = '2026-11-30T10:05:34.180363'
_THRESHOLD = 0.5
_METRICS = {
    f'{name}{suffix}': value
    for name, values in {'sensitivity': (0.9, 0.8, 0.96), 'specificity': (0.7, 0.6, 0.81)}.items()
    for suffix, value in zip(('', '_lower', '_upper'), values, strict=True)
}
_ROLES = {
    'reader': ['read', 'upload'],
    'other reader': ['read'],
    'archive': ['upload'],
}
_PATIENCE_MS = 30_000
# Six times the pause between two updates of the work list, on a slow machine with other work.
expect.set_options(timeout=_PATIENCE_MS)
# Longer than that pause.
_PAUSE_MS = 6_000
_DESKTOP, _PHONE = {'width': 1280, 'height': 800}, {'width': 360, 'height': 740}


@dataclasses.dataclass(frozen=True)
class Gateway:
    """A running gateway.

    Attributes:
      url: without a slash at the end.
      secrets: name of a token -> the token; the names are those of `_ROLES`.
      version: the served version.
      database: a URL.
      pid: the process.
    """

    url: str
    secrets: dict[str, str]
    version: int
    database: str
    pid: int

    def request(self, path: str, body: Any = None, token: str = 'reader') -> Any:
        """The JSON answer of a request."""
        headers = {'Authorization': f'Bearer {self.secrets[token]}'}
        data = None
        if body is not None:
            headers['Content-Type'] = 'application/json'
            data = json.dumps(body).encode()
        request = urllib.request.Request(f'{self.url}{path}', data, headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def studies(self, **query: Any) -> list[dict[str, Any]]:
        """All studies of the work list, over all of its pages."""
        rows: list[dict[str, Any]] = []
        cursor = ''
        while True:
            values = {'limit': 200, **query} | ({'cursor': cursor} if cursor else {})
            part = self.request(f'/v1/worklist?{urllib.parse.urlencode(values)}')
            rows, cursor = rows + part['studies'], part['next_cursor']
            if not cursor:
                return rows

    def add(self, reference: str, probability: float | None = None) -> str:
        """Adds a study without a file, scored if there is a probability; returns its id."""
        image = studies.NewImage(studies.new_id(), Upload('png', 300, 300), '0' * 64, 1)
        sessions = connection.connect(self.database)
        with sessions() as session, session.begin():
            study = studies.accept(session, [image], 'test', reference)
            if probability is not None:
                flag = probability >= _THRESHOLD
                outcome = studies.Outcome(self.version, probability, flag, '', _THRESHOLD)
                studies.record_answers(session, [(study, [outcome])])
        sessions.kw['bind'].dispose()
        return study.id

    def upload(self, *contents: bytes, reference: str = '') -> str:
        """Uploads files as one study and returns its id after it was answered."""
        boundary = uuid.uuid4().hex
        fields = [('files"; filename="f', content) for content in contents]
        fields.append(('reference', reference.encode()))
        body = b''.join(
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode()
            + content
            + b'\r\n'
            for name, content in fields
        )
        request = urllib.request.Request(
            f'{self.url}/v1/studies',
            body + f'--{boundary}--\r\n'.encode(),
            {
                'Authorization': f'Bearer {self.secrets["reader"]}',
                'Content-Type': f'multipart/form-data; boundary={boundary}',
            },
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            id = json.load(answer)['id']
        _wait(lambda: self.request(f'/v1/studies/{id}')['state'] != 'pending')
        return id


def _wait(condition: Callable[[], object], timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, 'it did not happen in time'
        time.sleep(0.05)


@pytest.fixture(scope='module')
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """`cxr-triage serve` on a root with one pushed version and its model card."""
    from tests.support import tiny_model

    root = RunRoot(tmp_path_factory.mktemp('root'))
    model = tmp_path_factory.mktemp('model') / 'model'
    tiny_model.export(model)
    info = {'task': 'nih_triage', 'operating_point': {'threshold': _THRESHOLD}}
    (model / 'assets.extra').mkdir(exist_ok=True)
    (model / 'assets.extra' / 'triage.json').write_text(json.dumps(info))
    manifest = push_targets.maker(run_id=_RUN, metrics=_METRICS)
    version = int(push.publish(str(model), str(root.serving), manifest).version)
    parts = card_parts()
    parts['details']['served_as'] = f'version {version}'
    card = root.pages / 'runs' / run_record.run_id(_RUN) / 'model_card.json'
    card.parent.mkdir(parents=True)
    card.write_text(ModelCard.model_validate(parts).model_dump_json())

    database = f'sqlite:///{root.path}/service/gateway.sqlite'
    sessions = connection.connect(database)
    with sessions() as session, session.begin():
        secrets = {
            name: tokens.create(session, name, roles, 'test') for name, roles in _ROLES.items()
        }
    sessions.kw['bind'].dispose()
    screen = root.path / 'screen.txt'
    command = [sys.executable, '-m', 'cxr_triage', 'serve', '--root', str(root.path)]
    command += ['--port', '0', '--tokens', 'on', '--database', database]
    process = program.start_fresh(command, _PROJECT, dict(os.environ), screen)
    running = program.Running(process, screen)
    address = re.compile(r'http://127\.0\.0\.1:\d+')
    try:
        running.wait_for(lambda: 'startup complete' in running.screen)
        url = address.search(running.screen)
        assert url, running.screen
        ready = f'{url[0]}/readyz'
        running.wait_for(lambda: requests.get(ready, timeout=60).json()['model_server'] == 'ok')
        yield Gateway(url[0], secrets, version, database, process.pid)
    finally:
        process.send_signal(signal.SIGINT)
        # 130: interrupted.
        assert process.wait(30) in (0, 130), running.screen


@pytest.fixture(scope='module')
def image() -> bytes:
    """A synthetic chest X-ray, 320 x 320, as PNG, so that its pixels are known."""
    stream = io.BytesIO()
    Image.fromarray(synth.phantom(patient=3, size=320)).save(stream, 'PNG')
    return stream.getvalue()


@contextlib.contextmanager
def signed_in(
    browser: Browser,
    gateway: Gateway,
    token: str = 'reader',
    expected_errors: tuple[int, ...] = (),
    offline_errors: bool = False,
    **settings: Any,
) -> Iterator[Page]:
    """A page with a reader's cookie; an error of a script, or a forbidden resource, fails the test.

    Args:
      browser: from the fixture.
      gateway: which serves the page.
      token: whose cookie.
      expected_errors: statuses of answers that the test provokes.
      offline_errors: whether the test takes the network away.
      settings: of the context.
    """
    context = browser.new_context(**{'viewport': _DESKTOP, **settings})
    context.add_cookies(
        [{'name': 'cxr_token', 'value': gateway.secrets[token], 'url': gateway.url}]
    )
    # The list also has the studies of other tests, whose files may be gone.
    expected = [f'status of {status} ' for status in (410, *expected_errors)]
    with _watched(context, [*expected, 'ERR_INTERNET_'] if offline_errors else expected) as opened:
        yield opened


@contextlib.contextmanager
def _watched(context: BrowserContext, expected: list[str]) -> Iterator[Page]:
    opened = context.new_page()
    opened.set_default_timeout(_PATIENCE_MS)
    problems: list[str] = []

    def note(message: Any) -> None:
        is_problem = message.type in ('error', 'warning')
        if is_problem and not any(text in message.text for text in expected):
            problems.append(message.text)

    opened.on('console', note)
    opened.on('pageerror', lambda error: problems.append(str(error)))
    try:
        yield opened
        assert not problems
    finally:
        context.close()


def _rows(opened: Page) -> Locator:
    return opened.locator('#studies tbody tr')


def _ids(opened: Page) -> list[str]:
    return _rows(opened).evaluate_all('rows => rows.map(row => row.dataset.id)')


def _open_list(opened: Page, gateway: Gateway, query: str = '') -> None:
    opened.goto(f'{gateway.url}/{query}')
    expect(opened.locator('#total')).not_to_be_empty()


def _open_study(opened: Page, gateway: Gateway, id: str, query: str = '') -> None:
    opened.goto(f'{gateway.url}/studies/{id}{query}')
    expect(opened.locator('#answer .verdict')).to_be_visible()
    expect(opened.locator('#stage-message')).to_be_hidden()


def _pixels(opened: Page) -> np.ndarray:
    """The canvas of the viewer, uint8 [height, width, 3]."""
    url = opened.locator('#stage canvas').evaluate('canvas => canvas.toDataURL()')
    with urllib.request.urlopen(url) as stream:
        return np.asarray(Image.open(io.BytesIO(stream.read())).convert('RGB'))


def _settled(opened: Page) -> None:
    """Waits until what was changed is drawn."""
    opened.evaluate('() => new Promise(done => requestAnimationFrame(() => setTimeout(done, 30)))')


# Login


@pytest.mark.parametrize(
    ('path', 'expected'),
    [
        ('/', '/'),
        ('/studies/1?flag=true', '/studies/1?flag=true'),
        ('https://elsewhere.example/', '/'),
        ('//elsewhere.example/', '/'),
        ('/\\elsewhere.example', '/'),
        ('\\\\elsewhere.example', '/'),
        ('javascript:alert(1)', '/'),
        ('/a\r\nSet-Cookie: a=b', '/'),
        ('', '/'),
    ],
)
def test_a_login_leads_only_to_paths_of_this_service(path: str, expected: str) -> None:
    assert page._own_path(path) == expected


@pytest.mark.slow
def test_login_leads_back_to_the_requested_study(browser: Browser, gateway: Gateway) -> None:
    id = gateway.add('login', 0.9)
    with _watched(browser.new_context(), ['status of 401', 'status of 410']) as opened:
        opened.goto(f'{gateway.url}/studies/{id}?sort=arrived')
        assert opened.url.startswith(f'{gateway.url}/login')
        opened.get_by_label('Access token').fill('cxr_wrong')
        opened.keyboard.press('Enter')
        expect(opened.get_by_role('alert')).to_contain_text('not valid')
        opened.get_by_label('Access token').fill(gateway.secrets['reader'])
        opened.get_by_role('button', name='Sign in').click()
        expect(opened.locator('#study-title')).to_have_text('Study login')
        assert opened.url == f'{gateway.url}/studies/{id}?sort=arrived'
        (cookie,) = opened.context.cookies()
        assert cookie['httpOnly'] and cookie['sameSite'] == 'Strict'
        opened.get_by_role('button', name='Sign out').click()
        opened.goto(gateway.url)
        assert opened.url.startswith(f'{gateway.url}/login')


@pytest.mark.slow
def test_roles_decide_what_a_page_offers(browser: Browser, gateway: Gateway) -> None:
    with signed_in(browser, gateway, 'other reader') as opened:
        _open_list(opened, gateway)
        assert opened.locator('#upload').count() == 0
    with signed_in(browser, gateway, 'archive', expected_errors=(403,)) as opened:
        opened.goto(gateway.url)
        expect(opened.get_by_role('alert')).to_contain_text('role read')


@pytest.mark.slow
def test_an_expired_session_leads_to_the_login(browser: Browser, gateway: Gateway) -> None:
    with signed_in(browser, gateway, expected_errors=(401,)) as opened:
        _open_list(opened, gateway)
        opened.context.clear_cookies()
        opened.wait_for_url('**/login?next=*')


# Uploads


def _files(*images: tuple[str, bytes]) -> list[dict[str, Any]]:
    return [{'name': name, 'mimeType': 'image/png', 'buffer': content} for name, content in images]


@pytest.mark.slow
def test_each_file_becomes_a_study_and_no_file_name_is_kept(
    browser: Browser, gateway: Gateway, image: bytes
) -> None:
    before = {study['id'] for study in gateway.studies()}
    with signed_in(browser, gateway, expected_errors=(422,)) as opened:
        _open_list(opened, gateway)
        opened.locator('#files').set_input_files(
            _files(
                ('MUSTERMANN_1.png', image),
                ('MUSTERMANN_2.png', image),
                ('notes.png', b'not an image'),
                ('empty.png', b''),
            )
        )
        lines = opened.locator('#uploads li')
        expect(lines).to_have_count(4)
        expect(opened.locator('#upload-status')).to_have_text('2 accepted, 2 not accepted')
        expect(lines.nth(2)).to_contain_text('not a PNG, JPEG or DICOM image')
        expect(lines.nth(3)).to_contain_text('the file is empty')
        expect(opened.get_by_role('button', name='Try again')).to_have_count(0)
        new = [study for study in gateway.studies() if study['id'] not in before]
        assert [study['reference'] for study in new] == ['', '']
        for study in new:
            expect(opened.locator(f'tr[data-id="{study["id"]}"]')).to_contain_text('0.')
        opened.get_by_role('button', name='Clear finished').click()
        expect(lines).to_have_count(0)


@pytest.mark.slow
def test_dropped_files_become_one_study_if_the_reader_chooses_so(
    browser: Browser, gateway: Gateway, image: bytes
) -> None:
    with signed_in(browser, gateway) as opened:
        _open_list(opened, gateway)
        opened.get_by_label('All files are one study').check()
        opened.get_by_label('Reference', exact=False).first.fill('two views')
        transfer = opened.evaluate_handle(
            """bytes => {
              const transfer = new DataTransfer();
              for (const name of ['a.png', 'b.png']) {
                transfer.items.add(new File([new Uint8Array(bytes)], name, {type: 'image/png'}));
              }
              return transfer;
            }""",
            list(image),
        )
        opened.dispatch_event('body', 'dragenter', {'dataTransfer': transfer})
        expect(opened.locator('body')).to_have_class(re.compile('dropping'))
        opened.dispatch_event('body', 'drop', {'dataTransfer': transfer})
        expect(opened.locator('#uploads li')).to_contain_text('2 files')
        expect(opened.locator('#upload-status')).to_have_text('1 accepted')
        opened.get_by_role('button', name='Open 2 files').click()
        expect(opened.locator('#image-numbers button')).to_have_count(2)
        id = opened.url.rpartition('/')[2]
    study = gateway.request(f'/v1/studies/{id}')
    assert study['reference'] == 'two views' and len(study['images']) == 2


@pytest.mark.slow
def test_an_upload_shows_its_progress_and_can_be_cancelled(
    browser: Browser, gateway: Gateway, image: bytes
) -> None:
    before = len(gateway.studies())
    with signed_in(browser, gateway) as opened:
        _open_list(opened, gateway)
        session = opened.context.new_cdp_session(opened)
        session.send('Network.enable')
        session.send(
            'Network.emulateNetworkConditions',
            {
                'offline': False,
                'latency': 0,
                'downloadThroughput': -1,
                'uploadThroughput': len(image) / 4,
            },
        )
        opened.locator('#files').set_input_files(_files(('slow.png', image)))
        bar = opened.get_by_role('progressbar', name='Upload of slow.png')
        values = set()

        def is_halfway() -> bool:
            values.add(bar.evaluate('bar => bar.value'))
            return any(0 < value < 0.95 for value in values)

        _wait(is_halfway)
        opened.get_by_role('button', name='Cancel slow.png').click()
        expect(opened.locator('#uploads li')).to_contain_text('Cancelled')
        opened.wait_for_timeout(500)
    assert len(gateway.studies()) == before


@pytest.mark.slow
def test_an_upload_that_was_cut_off_can_be_tried_again(
    browser: Browser, gateway: Gateway, image: bytes
) -> None:
    before = len(gateway.studies())
    with signed_in(browser, gateway, offline_errors=True) as opened:
        _open_list(opened, gateway)
        opened.context.set_offline(True)
        opened.locator('#files').set_input_files(_files(('cut.png', image)))
        expect(opened.locator('#uploads li')).to_contain_text('the connection was lost')
        expect(opened.locator('#upload-status')).to_have_text('1 not accepted')
        opened.context.set_offline(False)
        opened.get_by_role('button', name='Try again cut.png').click()
        expect(opened.locator('#upload-status')).to_have_text('1 accepted')
    assert len(gateway.studies()) == before + 1


# The work list


@pytest.fixture(scope='module')
def long_list(gateway: Gateway) -> None:
    """More studies than two pages of the work list hold."""
    for number in range(120):
        probability = None if number % 40 == 7 else (number * 37 % 100) / 100
        gateway.add(f'list {number:03d}', probability)


@pytest.mark.slow
@pytest.mark.usefixtures('long_list')
def test_all_studies_are_listed_by_arrival_whatever_their_flag(
    browser: Browser, gateway: Gateway
) -> None:
    expected = gateway.studies()
    assert {study['flag'] for study in expected} >= {True, False}
    with signed_in(browser, gateway) as opened:
        _open_list(opened, gateway)
        expect(opened.locator('#total')).to_have_text(f'{len(expected)} studies')
        listed: list[str] = []
        while True:
            listed += _ids(opened)
            later = opened.get_by_role('button', name='Next page')
            if later.is_disabled():
                break
            first = _ids(opened)[0]
            later.click()
            expect(_rows(opened).first).not_to_have_attribute('data-id', first)
        assert listed == [study['id'] for study in expected]
        # Back to the first page, by the button and by the browser.
        opened.get_by_role('button', name='Previous page').click()
        expect(opened.locator('#page-number')).to_contain_text('Page 2')
        opened.reload()
        expect(opened.locator('#page-number')).to_contain_text('Page 2')
        while not opened.get_by_role('button', name='Previous page').is_disabled():
            opened.get_by_role('button', name='Previous page').click()
            opened.wait_for_timeout(300)
        assert _ids(opened) == listed[:50]


@pytest.mark.slow
@pytest.mark.usefixtures('long_list')
def test_the_way_back_from_a_review_leads_to_the_same_page(
    browser: Browser, gateway: Gateway
) -> None:
    with signed_in(browser, gateway) as opened:
        _open_list(opened, gateway, '?search=list')
        opened.get_by_role('button', name='Next page').click()
        expect(opened.locator('#page-number')).to_contain_text('Page 2')
        listed = _ids(opened)
        _rows(opened).nth(20).locator('a').click()
        expect(opened.locator('#next')).to_have_attribute('href', re.compile(listed[21]))
        opened.keyboard.press('n')
        opened.wait_for_url(f'**/studies/{listed[21]}*')
        opened.get_by_role('link', name='Work list').click()
        expect(opened.locator('#page-number')).to_contain_text('Page 2')
        expect(opened.locator(f'tr[data-id="{listed[21]}"] a')).to_be_focused()
        assert _ids(opened) == listed
        assert opened.url == f'{gateway.url}/?search=list'


@pytest.mark.slow
@pytest.mark.usefixtures('long_list')
def test_a_row_shows_what_the_service_answered(browser: Browser, gateway: Gateway) -> None:
    with signed_in(browser, gateway) as opened:
        _open_list(opened, gateway)
        for study in gateway.studies()[:50]:
            row = opened.locator(f'tr[data-id="{study["id"]}"]')
            flag = {True: '⚑ Flagged', False: 'Not flagged', None: '–'}[study['flag']]
            value = study['probability']
            score = '–' if value is None else f'{value:.3f}'
            state = {'pending': 'Waiting', 'scored': 'Scored', 'not_assessed': 'Not assessed'}
            cells = [text.strip() for text in row.locator('td').all_inner_texts()]
            assert cells[0].endswith(study['reference'] or study['id'][:8])
            assert cells[2:5] == [state[study['state']], flag, score]


@pytest.mark.slow
@pytest.mark.usefixtures('long_list')
def test_filters_search_and_order_select_what_the_api_selects(
    browser: Browser, gateway: Gateway
) -> None:
    with signed_in(browser, gateway) as opened:
        _open_list(opened, gateway)
        opened.get_by_label('Flag').select_option('Flagged')
        flagged = [study['id'] for study in gateway.studies(flag='true')]
        expect(opened.locator('#total')).to_contain_text(
            f'{len(flagged)} studies match these filters'
        )
        assert _ids(opened) == flagged[:50]
        opened.get_by_role('button', name='Score').click()
        by_score = [study['id'] for study in gateway.studies(flag='true', sort='-probability')]
        heading = opened.locator('th[data-sort=probability]')
        expect(heading).to_have_attribute('aria-sort', 'descending')
        expect(_rows(opened).first).to_have_attribute('data-id', by_score[0])
        opened.get_by_role('button', name='Score').click()
        expect(heading).to_have_attribute('aria-sort', 'ascending')
        expect(opened.locator('th[data-sort=arrived]')).not_to_have_attribute(
            'aria-sort', re.compile('.')
        )
        opened.reload()
        expect(opened.get_by_label('Order')).to_have_value('probability')
        expect(opened.get_by_label('Flag')).to_have_value('true')
        opened.get_by_label('Search', exact=True).fill('LIST 01')
        expect(opened.locator('#total')).to_contain_text('match these filters')
        expected = gateway.studies(flag='true', sort='probability', search='list 01')
        expect(_rows(opened)).to_have_count(len(expected))
        assert _ids(opened) == [study['id'] for study in expected]
        opened.get_by_label('Search', exact=True).fill('no such study')
        expect(opened.locator('#empty')).to_contain_text('No study matches these filters')
        opened.get_by_role('button', name='Clear filters').click()
        expect(opened.locator('#total')).to_have_text(f'{len(gateway.studies())} studies')
        # The dates of the reader's calendar include both days.
        today = opened.evaluate("new Date().toLocaleDateString('sv')")
        opened.get_by_label('From', exact=True).fill(today)
        opened.get_by_label('To', exact=True).fill(today)
        expect(opened.locator('#total')).to_contain_text(f'{len(gateway.studies())} studies match')
        opened.get_by_label('To', exact=True).fill('2020-01-01')
        expect(opened.locator('#empty')).to_be_visible()


@pytest.mark.slow
@pytest.mark.usefixtures('long_list')
def test_the_list_follows_what_happens_without_a_reload(browser: Browser, gateway: Gateway) -> None:
    id = gateway.add('live 1')
    with signed_in(browser, gateway) as opened:
        _open_list(opened, gateway)
        row = opened.locator(f'tr[data-id="{id}"]')
        link = row.locator('a')
        expect(row).to_contain_text('Unread')
        link.focus()
        top = row.bounding_box()['y']
        gateway.request(f'/v1/studies/{id}/reading', {'verdict': 'normal'}, 'other reader')
        newer = gateway.add('live 2', 0.75)
        expect(row).to_contain_text('✓ Read')
        expect(opened.locator(f'tr[data-id="{newer}"]')).to_have_class('new')
        expect(opened.locator('#news')).to_have_text(re.compile('1 new study'))
        # The reader neither loses the focus nor the row below the pointer.
        expect(link).to_be_focused()
        assert row.bounding_box()['y'] == pytest.approx(top, abs=2)


@pytest.mark.slow
def test_a_hidden_tab_asks_for_nothing(browser: Browser, gateway: Gateway) -> None:
    with signed_in(browser, gateway) as opened:
        requests: list[str] = []
        opened.on('request', lambda request: requests.append(request.url))
        opened.clock.install()
        _open_list(opened, gateway)

        def count_during(milliseconds: int) -> int:
            requests.clear()
            opened.clock.run_for(milliseconds)
            opened.wait_for_timeout(300)
            return sum('/v1/worklist' in url for url in requests)

        hide = """hidden => {
          Object.defineProperty(document, 'hidden', {value: hidden, configurable: true});
          document.dispatchEvent(new Event('visibilitychange'));
        }"""
        assert count_during(_PAUSE_MS) == 1
        opened.evaluate(hide, True)
        assert count_during(10 * _PAUSE_MS) == 0
        requests.clear()
        opened.evaluate(hide, False)
        opened.wait_for_timeout(300)
        assert sum('/v1/worklist' in url for url in requests) == 1


@pytest.mark.slow
def test_the_list_says_when_studies_wait_for_the_model_server(
    browser: Browser, gateway: Gateway
) -> None:
    (server,) = (
        process
        for process in psutil.Process(gateway.pid).children()
        if 'serving.model_server' in process.cmdline()
    )
    with signed_in(browser, gateway) as opened:
        server.suspend()
        try:
            gateway.add('delayed')
            _open_list(opened, gateway)
            expect(opened.locator('#delayed')).to_contain_text('Scoring is delayed')
        finally:
            server.resume()
        expect(opened.locator('#delayed')).to_be_hidden()


@pytest.mark.slow
def test_an_unreachable_service_is_reported_and_the_list_stays(
    browser: Browser, gateway: Gateway
) -> None:
    gateway.add('offline', 0.5)
    with signed_in(browser, gateway, offline_errors=True) as opened:
        _open_list(opened, gateway)
        shown = _ids(opened)
        opened.context.set_offline(True)
        expect(opened.locator('#problem')).to_contain_text('does not answer')
        assert _ids(opened) == shown
        opened.context.set_offline(False)
        expect(opened.locator('#problem')).to_be_hidden(timeout=30_000)


# The review


@pytest.mark.slow
def test_the_answer_is_that_of_the_service(
    browser: Browser, gateway: Gateway, image: bytes
) -> None:
    id = gateway.upload(image, reference='answer')
    study = gateway.request(f'/v1/studies/{id}')
    (answer,) = [image['answer'] for image in study['images']]
    with signed_in(browser, gateway) as opened:
        _open_study(opened, gateway, id)
        text = opened.locator('#answer').inner_text().replace('\xa0', ' ')
        assert ('⚑ Flagged' if answer['flag'] else 'Not flagged') in text
        assert f'{answer["probability"]:.3f} calibrated probability' in text
        assert '0.500' in text
        assert '90.0 % (80.0 to 96.0 %)' in text and '70.0 % (60.0 to 81.0 %)' in text
        assert str(gateway.version) in text
        opened.get_by_text('Technical details').click()
        details = opened.locator('#details').inner_text()
        assert study['images'][0]['sha256'] in details and id in details
        expect(opened.get_by_role('note')).to_have_text(RESEARCH_USE)


@pytest.mark.slow
def test_an_image_that_was_not_assessed_is_flagged_with_the_reason(
    browser: Browser, gateway: Gateway
) -> None:
    stream = io.BytesIO()
    Image.new('L', (300, 300), 90).save(stream, 'PNG')
    id = gateway.upload(stream.getvalue())
    with signed_in(browser, gateway) as opened:
        _open_study(opened, gateway, id)
        answer = opened.locator('#answer')
        expect(answer).to_contain_text('⚑ Not assessed')
        expect(answer).to_contain_text('The image shows nothing.')
        expect(opened.get_by_role('button', name='Heat map')).to_be_disabled()


@pytest.mark.slow
def test_a_study_that_waits_is_answered_on_the_open_page(
    browser: Browser, gateway: Gateway
) -> None:
    # Its file is missing, so the service needs no model to answer; it has to wait until it looks.
    id = gateway.add('waits')
    with signed_in(browser, gateway) as opened:
        opened.goto(f'{gateway.url}/studies/{id}')
        expect(opened.locator('#stage-message')).to_contain_text('was removed')
        expect(opened.locator('#answer')).to_contain_text('⚑ Not assessed')
        expect(opened.locator('#answer')).to_contain_text('no longer stored')


@pytest.mark.slow
def test_the_heat_map_is_on_this_page_alone_and_off_at_first(
    browser: Browser, gateway: Gateway, image: bytes
) -> None:
    id = gateway.upload(image, image)
    with signed_in(browser, gateway) as opened:
        requests: list[str] = []
        opened.on('request', lambda request: requests.append(request.url))
        _open_list(opened, gateway)
        opened.wait_for_timeout(300)
        _open_study(opened, gateway, id)
        assert not any('explanation' in url for url in requests)

        def is_coloured() -> bool:
            _settled(opened)
            pixels = _pixels(opened).astype(int)
            return bool((pixels.max(axis=-1) - pixels.min(axis=-1) > 20).mean() > 0.01)

        assert not is_coloured()
        button = opened.get_by_role('button', name='Heat map')
        button.click()
        expect(button).to_have_attribute('aria-pressed', 'true')
        expect(opened.locator('#legend')).to_contain_text('does not show where disease is')
        assert is_coloured()
        opened.get_by_role('button', name='Image 2').click()
        expect(button).to_have_attribute('aria-pressed', 'false')
        expect(opened.locator('#stage-message')).to_be_hidden()
        assert not is_coloured()
        opened.keyboard.press('h')
        expect(button).to_have_attribute('aria-pressed', 'true')
        opened.keyboard.press('h')
        expect(opened.locator('#legend')).to_be_hidden()
        assert not is_coloured()


def _centre(opened: Page) -> tuple[float, float]:
    box = opened.locator('#stage').bounding_box()
    return box['x'] + box['width'] / 2, box['y'] + box['height'] / 2


@pytest.mark.slow
def test_the_viewer_shows_the_pixels_of_the_file(
    browser: Browser, gateway: Gateway, image: bytes
) -> None:
    id = gateway.upload(image)
    pixels = np.asarray(Image.open(io.BytesIO(image))).astype(int)
    with signed_in(browser, gateway) as opened:
        _open_study(opened, gateway, id)
        opened.keyboard.press('a')

        def shown() -> np.ndarray:
            _settled(opened)
            canvas = _pixels(opened).astype(int)
            assert (canvas == canvas[..., :1]).all()
            height, width = canvas.shape[:2]
            top, left = (height - 320) // 2, (width - 320) // 2
            return canvas[top : top + 320, left : left + 320, 0]

        def offset(actual: np.ndarray, expected: np.ndarray) -> float:
            # Half a pixel of the canvas may be to each side of the image.
            return float(np.abs(actual[2:-2, 2:-2] - expected[2:-2, 2:-2]).mean())

        expect(opened.locator('#zoom')).to_have_text('100 %')
        assert offset(shown(), pixels) < 2
        opened.keyboard.press('i')
        assert offset(shown(), 255 - pixels) < 2
        expect(opened.get_by_role('button', name='Invert')).to_have_attribute(
            'aria-pressed', 'true'
        )
        opened.keyboard.press('i')
        opened.get_by_label('Window', exact=True).fill('100')
        opened.get_by_label('Level').fill('90')
        windowed = np.clip((pixels - 40) / 100, 0, 1) * 255
        assert offset(shown(), windowed) < 4
        opened.keyboard.press('0')
        opened.keyboard.press('a')
        assert offset(shown(), pixels) < 2


@pytest.mark.slow
def test_a_dicom_image_is_shown_as_its_window_says(browser: Browser, gateway: Gateway) -> None:
    side = 320
    grey = synth.phantom(patient=4, size=side).astype(np.uint16)
    id = gateway.upload(_dicom(4095 - grey * 16))
    with signed_in(browser, gateway) as opened:
        _open_study(opened, gateway, id)
        opened.keyboard.press('a')
        _settled(opened)
        canvas = _pixels(opened)[..., 0].astype(int)
        top, left = (canvas.shape[0] - side) // 2, (canvas.shape[1] - side) // 2
        shown = canvas[top : top + side, left : left + side]
        assert np.corrcoef(shown[2:-2, 2:-2].ravel(), grey[2:-2, 2:-2].ravel())[0, 1] > 0.99


@pytest.mark.slow
def test_a_window_acts_on_the_values_of_a_dicom_image(browser: Browser, gateway: Gateway) -> None:
    """Not on the 256 grey levels of the page, in each of which are the values of four squares."""
    values = np.kron(2000 + 4 * np.arange(400).reshape(20, 20), np.ones((16, 16)))
    id = gateway.upload(_dicom(values.astype(np.uint16)))
    with signed_in(browser, gateway) as opened:
        _open_study(opened, gateway, id)
        expect(opened.locator('output[for=width]')).to_have_text('4095')
        expect(opened.locator('output[for=level]')).to_have_text('2048')
        opened.keyboard.press('a')
        opened.get_by_label('Level').fill('2800')
        with opened.expect_response(re.compile(r'center=2800&width=64$')):
            opened.get_by_label('Window', exact=True).fill('64')
        _settled(opened)
        canvas = _pixels(opened)[..., 0].astype(int)
        top, left = (canvas.shape[0] - 320) // 2, (canvas.shape[1] - 320) // 2
        shown = canvas[top + 8 : top + 320 : 16, left + 8 : left + 320 : 16]
        # High values are dark.
        expected = 255 * (1 - np.clip((values[8::16, 8::16] - 2768) / 64, 0, 1))
        np.testing.assert_allclose(shown, expected, atol=1.5)
        opened.keyboard.press('0')
        expect(opened.locator('output[for=width]')).to_have_text('4095')


@pytest.mark.slow
def test_a_reader_of_a_hundred_studies_a_minute_is_within_the_rate(
    browser: Browser, gateway: Gateway
) -> None:
    id = gateway.upload(_dicom(4095 - synth.phantom(patient=5, size=320).astype(np.uint16) * 16))
    with signed_in(browser, gateway) as opened:
        # The same request again is an update, which goes by the clock.
        sent = set()
        opened.on('request', lambda request: sent.add((request.method, request.url)))
        _open_study(opened, gateway, id)
        opened.get_by_role('button', name='Heat map').click()
        expect(opened.locator('#legend')).to_be_visible()
        with opened.expect_response(re.compile('width=1000$')):
            opened.get_by_label('Window', exact=True).fill('1000')
        opened.keyboard.press('1')
        opened.get_by_role('button', name='Save', exact=True).click()
        expect(opened.locator('#reading-status')).to_contain_text('Saved')
    counted = [url for _, url in sent if '/static/' not in url]
    assert len(counted) < len(sent)
    # And a work list beside it, which is updated every two seconds.
    assert 100 * len(counted) + 30 <= Limits().requests_per_minute, counted


def _dicom(values: np.ndarray) -> bytes:
    """A radiograph of 12 bits whose low values are bright."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset = Dataset()
    dataset.file_meta = meta
    dataset.SOPClassUID = meta.MediaStorageSOPClassUID
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    dataset.Modality, dataset.ViewPosition, dataset.BodyPartExamined = 'DX', 'PA', 'CHEST'
    dataset.Rows, dataset.Columns = values.shape
    dataset.SamplesPerPixel, dataset.PixelRepresentation = 1, 0
    dataset.PhotometricInterpretation = 'MONOCHROME1'
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.WindowCenter, dataset.WindowWidth = 2048, 4096
    dataset.PixelData = values.astype('<u2').tobytes()
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


@pytest.mark.slow
def test_the_viewer_obeys_wheel_drag_and_keys(
    browser: Browser, gateway: Gateway, image: bytes
) -> None:
    id = gateway.upload(image)
    with signed_in(browser, gateway) as opened:
        _open_study(opened, gateway, id)

        def zoom() -> int:
            _settled(opened)
            return int(opened.locator('#zoom').inner_text().split()[0])

        fitted, whole = zoom(), _pixels(opened)
        x, y = _centre(opened)
        opened.mouse.move(x, y)
        opened.mouse.wheel(0, -400)
        assert zoom() > 1.5 * fitted
        zoomed = _pixels(opened)
        opened.mouse.down()
        opened.mouse.move(x + 90, y + 40, steps=5)
        opened.mouse.up()
        _settled(opened)
        moved = _pixels(opened)
        np.testing.assert_allclose(moved[40:, 90:], zoomed[:-40, :-90], atol=2)
        opened.locator('#stage').focus()
        for _ in range(3):
            opened.keyboard.press('ArrowLeft')
        _settled(opened)
        assert (_pixels(opened) != moved).any()

        width, level = opened.locator('#width'), opened.locator('#level')
        opened.keyboard.press('Shift+ArrowRight')
        opened.keyboard.press('Shift+ArrowUp')
        expect(width).to_have_value('263')
        expect(level).to_have_value('120')
        opened.keyboard.press('0')
        assert zoom() == fitted
        np.testing.assert_array_equal(_pixels(opened), whole)
        for button, modifier in (('left', 'Shift'), ('right', '')):
            if modifier:
                opened.keyboard.down(modifier)
            opened.mouse.move(x, y)
            opened.mouse.down(button=button)
            opened.mouse.move(x + 60, y - 60, steps=6)
            opened.mouse.up(button=button)
            if modifier:
                opened.keyboard.up(modifier)
            _settled(opened)
            assert int(width.input_value()) > 270 and int(level.input_value()) < 120
            assert zoom() == fitted
            opened.keyboard.press('0')
            expect(width).to_have_value('255')
        opened.get_by_role('button', name='Window/level').click()
        opened.mouse.move(x, y)
        opened.mouse.down()
        opened.mouse.move(x - 80, y, steps=6)
        opened.mouse.up()
        _settled(opened)
        assert int(width.input_value()) < 240
        opened.keyboard.press('+')
        assert zoom() > fitted
        opened.keyboard.press('f')
        assert zoom() == fitted
        opened.mouse.dblclick(x, y)
        assert zoom() != fitted
        expect(opened.locator('#stage-status')).to_contain_text('Zoom')


@pytest.mark.slow
def test_two_fingers_zoom_and_one_moves(browser: Browser, gateway: Gateway, image: bytes) -> None:
    id = gateway.upload(image)
    with signed_in(browser, gateway, viewport=_PHONE, has_touch=True) as opened:
        _open_study(opened, gateway, id)
        opened.locator('#stage').scroll_into_view_if_needed()
        touch = opened.context.new_cdp_session(opened)
        x, y = _centre(opened)

        def send(kind: str, *points: tuple[float, float]) -> None:
            fingers = [{'x': a, 'y': b, 'id': number} for number, (a, b) in enumerate(points)]
            touch.send('Input.dispatchTouchEvent', {'type': kind, 'touchPoints': fingers})

        before = int(opened.locator('#zoom').inner_text().split()[0])
        send('touchStart', (x - 20, y), (x + 20, y))
        for step in range(1, 6):
            send('touchMove', (x - 20 - 12 * step, y), (x + 20 + 12 * step, y))
        send('touchEnd')
        _settled(opened)
        assert int(opened.locator('#zoom').inner_text().split()[0]) > 2 * before
        pixels = _pixels(opened)
        send('touchStart', (x, y))
        for step in range(1, 6):
            send('touchMove', (x + 8 * step, y + 8 * step))
        send('touchEnd')
        _settled(opened)
        assert (_pixels(opened) != pixels).any()
        assert opened.evaluate('scrollX') == 0


@pytest.mark.slow
def test_a_study_is_read_with_the_keyboard_alone(
    browser: Browser, gateway: Gateway, image: bytes
) -> None:
    older = gateway.upload(image, reference='keys older')
    newer = gateway.upload(image, reference='keys newer')
    with signed_in(browser, gateway) as opened:
        _open_study(opened, gateway, newer, '?search=keys')
        expect(opened.locator('#next')).to_have_attribute('href', re.compile(older))
        expect(opened.locator('#previous')).to_have_attribute('aria-disabled', 'true')
        assert opened.locator('#findings').is_hidden()
        opened.keyboard.press('Control+Enter')
        opened.keyboard.press('2')
        expect(opened.get_by_label('Abnormal')).to_be_checked()
        opened.keyboard.press('Enter')
        assert not gateway.request(f'/v1/studies/{newer}')['readings']
        opened.keyboard.press('Tab')
        opened.keyboard.press('Space')
        expect(opened.get_by_label(FINDINGS[0])).to_be_checked()
        opened.keyboard.press('c')
        opened.keyboard.type('left base, n p u 1')
        opened.keyboard.press('Control+Enter')
        opened.wait_for_url(f'**/studies/{older}?search=keys')
        (reading,) = gateway.request(f'/v1/studies/{newer}')['readings']
        assert (reading['verdict'], reading['findings'], reading['text'], reading['reader']) == (
            'abnormal',
            [FINDINGS[0]],
            'left base, n p u 1',
            'reader',
        )
        expect(opened.locator('#previous')).to_have_attribute('href', re.compile(newer))
        opened.keyboard.press('p')
        opened.wait_for_url(f'**/studies/{newer}?search=keys')
        expect(opened.locator('#readings')).to_contain_text('left base')
        expect(opened.locator('#readings')).to_contain_text(f'Abnormal: {FINDINGS[0]}')
        expect(opened.locator('#reading-state')).to_have_text('✓ Read')
        expect(opened.locator('#next')).to_have_attribute('href', re.compile(older))
        opened.keyboard.press('n')
        opened.wait_for_url(f'**/studies/{older}?search=keys')
        expect(opened.locator('#previous')).to_have_attribute('href', re.compile(newer))
        opened.keyboard.press('u')
        opened.wait_for_url(f'{gateway.url}/?search=keys')
        expect(opened.locator(f'tr[data-id="{older}"] a')).to_be_focused()
        expect(opened.locator(f'tr[data-id="{newer}"]')).to_contain_text('✓ Read')
        expect(opened.locator(f'tr[data-id="{older}"]')).to_contain_text('Unread')


@pytest.mark.slow
def test_neighbours_are_those_of_the_filtered_list(browser: Browser, gateway: Gateway) -> None:
    ids = [gateway.add(f'neighbour {number}', 0.1 * number) for number in (5, 2, 9, 7)]
    query = 'search=neighbour&sort=-probability&is_read=false'
    order = [study['id'] for study in gateway.studies(search='neighbour', sort='-probability')]
    assert order == [ids[2], ids[3], ids[0], ids[1]]
    chain = [order[0]]
    while following := gateway.request(f'/studies/{chain[-1]}/links?{query}')['next']:
        chain.append(following)
    assert chain == order
    assert gateway.request(f'/studies/{order[0]}/links?{query}')['previous'] is None
    # A study that no longer passes the filters still knows its place.
    gateway.request(f'/v1/studies/{order[1]}/reading', {'verdict': 'normal'})
    links = gateway.request(f'/studies/{order[1]}/links?{query}')
    assert (links['previous'], links['next']) == (order[0], order[2])
    assert gateway.request(f'/studies/{order[0]}/links?{query}')['next'] == order[2]
    with pytest.raises(urllib.error.HTTPError, match='422'):
        gateway.request(f'/studies/{order[0]}/links?sort=flag')
    with pytest.raises(urllib.error.HTTPError, match='404'):
        gateway.request('/studies/0/links')


@pytest.mark.slow
def test_single_keys_can_be_switched_off(browser: Browser, gateway: Gateway, image: bytes) -> None:
    id = gateway.upload(image)
    with signed_in(browser, gateway) as opened:
        _open_study(opened, gateway, id)
        opened.keyboard.press('?')
        expect(opened.get_by_role('dialog', name='Keys')).to_be_visible()
        opened.get_by_label('Keys without Ctrl work everywhere').uncheck()
        opened.keyboard.press('Escape')
        opened.locator('#main').focus()
        opened.keyboard.press('2')
        opened.keyboard.press('i')
        assert not opened.get_by_label('Abnormal').is_checked()
        invert = opened.get_by_role('button', name='Invert')
        expect(invert).to_have_attribute('aria-pressed', 'false')
        opened.locator('#stage').focus()
        opened.keyboard.press('i')
        expect(invert).to_have_attribute('aria-pressed', 'true')


@pytest.mark.slow
def test_the_model_card_is_one_click_away(browser: Browser, gateway: Gateway) -> None:
    id = gateway.add('card', 0.9)
    with signed_in(browser, gateway, expected_errors=(404,)) as opened:
        opened.goto(f'{gateway.url}/studies/{id}')
        opened.get_by_role('link', name='Model card').click()
        expect(opened.locator('h1')).to_contain_text(f'version {gateway.version}')
        text = opened.locator('main').inner_text()
        assert 'Near copies: 6 of 600 images' in text and 'Sex: female (30 images)' in text
        assert opened.goto(f'{gateway.url}/models/1/card').status == 404


@pytest.mark.slow
def test_a_text_that_looks_like_html_stays_text(
    browser: Browser, gateway: Gateway, image: bytes
) -> None:
    text = '<img src=x onerror=alert(1)><b>bold</b>'
    id = gateway.upload(image, reference=text)
    gateway.request(f'/v1/studies/{id}/reading', {'verdict': 'normal', 'text': text})
    with signed_in(browser, gateway) as opened:
        _open_list(opened, gateway)
        expect(opened.locator(f'tr[data-id="{id}"] a')).to_have_text(text)
        _open_study(opened, gateway, id)
        expect(opened.locator('#study-title')).to_have_text(f'Study {text}')
        expect(opened.locator('#readings .comment')).to_have_text(text)


# Looks and accessibility


def _pages(gateway: Gateway, image: bytes) -> dict[str, str]:
    id = gateway.upload(image, image, reference='pages')
    gateway.request(
        f'/v1/studies/{id}/reading', {'verdict': 'abnormal', 'findings': ['Mass'], 'text': 'a'}
    )
    return {
        'list': '/',
        'empty list': '/?search=nothing',
        'review': f'/studies/{id}',
        'card': f'/models/{gateway.version}/card',
        'login': '/login',
    }


@pytest.mark.slow
@pytest.mark.parametrize('theme', ['light', 'dark'])
@pytest.mark.parametrize('size', [_DESKTOP, _PHONE], ids=['desktop', 'phone'])
def test_axe_finds_nothing(
    browser: Browser, gateway: Gateway, image: bytes, size: dict[str, int], theme: str
) -> None:
    def check(opened: Page, name: str) -> None:
        assert accessibility.violations(opened) == [], name

    # A colour that is half faded in has another contrast.
    with signed_in(
        browser, gateway, expected_errors=(422,), viewport=size, reduced_motion='reduce'
    ) as opened:
        cookies = [
            {'name': name, 'value': theme, 'url': gateway.url} for name in ('theme', 'theme_review')
        ]
        opened.context.add_cookies(cookies)
        for name, path in _pages(gateway, image).items():
            opened.goto(gateway.url + path)
            opened.wait_for_load_state('networkidle')
            expect(opened.locator('html')).to_have_attribute('data-theme', theme)
            for details in opened.locator('details').all():
                details.evaluate('details => { details.open = true; }')
            if name == 'list':
                opened.locator('#files').set_input_files(_files(('a.png', image), ('b', b'b')))
                expect(opened.locator('#upload-status')).to_contain_text('1 not accepted')
            if name == 'review':
                opened.get_by_role('button', name='Heat map').click()
                expect(opened.locator('#legend')).to_be_visible()
                opened.get_by_label('Abnormal').check()
                check(opened, name)
                opened.get_by_role('button', name='Keys').click()
            check(opened, name)


@pytest.mark.slow
# 640 is a screen of 1280 at 200 %.
@pytest.mark.parametrize('width', [360, 640, 1280])
def test_pages_fit_and_the_notice_stays_in_sight(
    browser: Browser, gateway: Gateway, image: bytes, width: int
) -> None:
    with signed_in(browser, gateway, viewport={'width': width, 'height': 740}) as opened:
        for name, path in _pages(gateway, image).items():
            opened.goto(gateway.url + path)
            opened.wait_for_load_state('networkidle')
            for details in opened.locator('details').all():
                details.evaluate('details => { details.open = true; }')
            sideways = 'document.documentElement.scrollWidth - document.documentElement.clientWidth'
            assert opened.evaluate(sideways) == 0, name
            opened.evaluate('scrollTo(0, document.documentElement.scrollHeight)')
            expect(opened.get_by_role('note')).to_be_in_viewport()
            for button in opened.locator('main button:visible, main select:visible').all():
                box = button.bounding_box()
                assert box['x'] >= 0 and box['x'] + box['width'] <= width, (name, box)


@pytest.mark.slow
def test_a_reader_on_a_phone_sees_study_score_flag_and_state(
    browser: Browser, gateway: Gateway
) -> None:
    id = gateway.add('phone', 0.75)
    with signed_in(browser, gateway, viewport=_PHONE) as opened:
        _open_list(opened, gateway)
        row = opened.get_by_role('row').filter(has_text='phone')
        for text in ('phone', '0.750', '⚑ Flagged', 'Scored', 'Unread', 'just now'):
            expect(row.get_by_text(text)).to_be_visible()
        expect(row.get_by_role('cell')).to_have_count(6)
        # The whole row leads to the study.
        box = row.bounding_box()
        opened.mouse.click(box['x'] + 20, box['y'] + box['height'] - 12)
        opened.wait_for_url(f'**/studies/{id}')


@pytest.mark.slow
def test_colours_are_dark_on_the_review_unless_the_reader_chooses_others(
    browser: Browser, gateway: Gateway, image: bytes
) -> None:
    id = gateway.upload(image)
    background = 'getComputedStyle(document.body).backgroundColor'
    light, dark = 'rgb(243, 245, 248)', 'rgb(13, 16, 20)'
    with signed_in(browser, gateway, color_scheme='light') as opened:
        _open_list(opened, gateway)
        assert opened.evaluate(background) == light
        opened.emulate_media(color_scheme='dark')
        assert opened.evaluate(background) == dark
        opened.emulate_media(color_scheme='light')
        _open_study(opened, gateway, id)
        assert opened.evaluate(background) == dark
        opened.get_by_label('Colours').select_option('Light')
        assert opened.evaluate(background) == light
        opened.reload()
        assert opened.evaluate(background) == light
        _open_list(opened, gateway)
        opened.get_by_label('Colours').select_option('Dark')
        opened.reload()
        assert opened.evaluate(background) == dark


@pytest.mark.slow
def test_the_keyboard_reaches_everything_in_order_and_shows_where_it_is(
    browser: Browser, gateway: Gateway, image: bytes
) -> None:
    with signed_in(browser, gateway) as opened:
        for path in (_pages(gateway, image)[name] for name in ('list', 'review')):
            opened.goto(gateway.url + path)
            opened.wait_for_load_state('networkidle')
            opened.keyboard.press('Tab')
            expect(opened.locator('.skip')).to_be_focused()
            places = []
            for _ in range(30):
                opened.keyboard.press('Tab')
                place = opened.evaluate(
                    """() => {
                      const active = document.activeElement;
                      const label = active.type === 'file' ? active.nextElementSibling
                        : active.name === 'verdict' ? active.nextElementSibling : active;
                      const {outlineStyle, outlineWidth} = getComputedStyle(label);
                      return {tag: active.tagName, outline: outlineStyle !== 'none'
                        && parseFloat(outlineWidth) >= 2 || active.type === 'date',
                        order: [...document.querySelectorAll('*')].indexOf(active)};
                    }"""
                )
                if place['tag'] == 'BODY':
                    break
                assert place['outline'], place
                places.append(place['order'])
            assert len(places) > 10 and places == sorted(places)
