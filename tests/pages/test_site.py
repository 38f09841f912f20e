"""All pages of roots made by hand: what is said where there is little to show, no markup out of
data, what is written anew.
"""

from __future__ import annotations

import errno
import http.client
import logging
import os
import socket
import threading
from pathlib import Path

import pytest

from cli import main as cli
from cli import root_argument as roots
from cli.commands import report
from pages import assets, own_host, serve, site
from pipeline.exit_codes import cannot_write
from tests.support.synthetic_root import STATES, MadeRoot

FIRST, SECOND = '2026-11-21T22:25:35.123456', '2026-11-22T08:00:00.000001'
NASTY = '<script>alert(1)</script>"\'&'


def text(root: Path, *parts: str) -> str:
    return (root / 'pages').joinpath(*parts).read_text(encoding='utf-8')


def test_a_root_without_runs_says_so(tmp_path):
    written = site.write(tmp_path)
    assert (written.runs, written.problems) == (0, ())
    assert 'No run is on record' in written.front.read_text(encoding='utf-8')
    assert 'is no run on record' in text(tmp_path, 'comparison.html')


def test_a_run_that_broke_off_has_all_pages_and_each_says_why(made: MadeRoot):
    made.step(FIRST, 'XrayExampleGen', STATES.FAILED)
    made.record(FIRST, state='failed', reasons=[f'XrayExampleGen failed: too much {NASTY}'])
    written = site.write(made.root)
    assert written.problems == ()
    for _, page in site.RUN_PAGES:
        shown = text(made.root, 'runs', '2026-11-21T22-25-35-123456', page)
        assert '<script>alert' not in shown
        assert 'cxr-triage' in shown
        if page != 'lineage.html':
            assert 'too much &lt;script&gt;' in shown, page
    front = written.front.read_text(encoding='utf-8')
    assert (
        '✗ failed' in front and 'too much &lt;script&gt;' in front and '<script>alert' not in front
    )


def test_names_out_of_the_store_are_no_markup(made: MadeRoot):
    made.step(
        FIRST,
        'Trainer',
        outputs={f'model{NASTY}': {'x': NASTY}},
        parameters={'custom_config': NASTY, 'a': f'{{"b": "{NASTY[:8]}"}}'},
    )
    made.step(
        FIRST,
        'Pusher',
        outputs={'pushed_model': {'pushed': 0}},
        parameters={'push': '{"config": {"<b>": "<i>"}}'},
    )
    site.write(made.root)
    # Facets' own page, of which nothing is ours, has all of it.
    own = [path for path in (made.root / 'pages').rglob('*.html') if 'assets' not in path.parts]
    assert own
    for path in own:
        shown = path.read_text(encoding='utf-8')
        assert '<script>alert' not in shown and '<b>":' not in shown and '<i>' not in shown, path


def test_the_audit_shown_is_the_one_on_record_and_not_one_of_a_deleted_store(made: MadeRoot):
    number = made.step(FIRST, 'DataAudit', outputs={'audit': {}})['audit']
    (made.folder('DataAudit', 'audit', number) / 'audit.html').write_text('of this run')
    stale = made.root / 'pages' / 'audits' / f'{number}.html'
    stale.parent.mkdir(parents=True)
    stale.write_text('of other films')
    site.write(made.root)
    assert stale.read_text() == 'of this run'


def test_pages_are_written_once_and_those_of_lost_runs_are_removed(made: MadeRoot):
    made.step(FIRST, 'Trainer', STATES.FAILED)
    site.write(made.root)
    page = made.root / 'pages' / 'runs' / '2026-11-21T22-25-35-123456' / 'index.html'
    stray = made.root / 'pages' / 'runs' / 'gone'
    stray.mkdir()
    first = page.stat().st_mtime_ns
    made.step(SECOND, 'Trainer', STATES.FAILED)
    assert site.write(made.root).runs == 2
    assert page.stat().st_mtime_ns == first
    assert not stray.exists()
    (page.parent / 'summary.json').unlink()
    site.write(made.root)
    assert page.stat().st_mtime_ns > first


def test_a_damaged_artifact_is_told_and_hides_nothing_else(made: MadeRoot):
    number = made.step(FIRST, 'DataAudit', outputs={'audit': {}})['audit']
    (made.folder('DataAudit', 'audit', number) / 'audit.json').write_text('{"half": ')
    written = site.write(made.root)
    assert len(written.problems) == 1 and 'data.html' in written.problems[0]
    assert 'damaged or partly deleted' in text(
        made.root, 'runs', '2026-11-21T22-25-35-123456', 'data.html'
    )
    assert 'Steps' in text(made.root, 'runs', '2026-11-21T22-25-35-123456', 'index.html')
    assert 'JSONDecodeError' in written.front.read_text(encoding='utf-8')


def test_two_models_side_by_side_differ_where_their_facts_do(made: MadeRoot):
    for name, digest in ((FIRST, 'aaa'), (SECOND, 'bbb')):
        made.step(
            name,
            'Trainer',
            outputs={'model': {}},
            parameters={'custom_config': f'{{"code_digest": "{digest}"}}'},
        )
        made.step(name, 'Pusher', outputs={'pushed_model': {'pushed': 1, 'pushed_version': digest}})
    site.write(made.root)
    page = text(made.root, 'comparison.html')
    assert '"code.Trainer": "aaa"' in page and '"code.Trainer": "bbb"' in page
    assert 'No run of this root finished its Evaluator' in page
    lineage = text(made.root, 'runs', '2026-11-22T08-00-00-000001', 'lineage.html')
    assert '<td>code.Trainer</td><td>aaa</td><td>bbb</td>' in lineage


def test_pages_load_nothing_from_a_network(made: MadeRoot):
    made.step(FIRST, 'Trainer', STATES.FAILED)
    site.write(made.root)
    for path in (made.root / 'pages').rglob('*'):
        if path.suffix in ('.html', '.css') and path.name != assets.FACETS:
            shown = path.read_text(encoding='utf-8')
            assert (
                'src="http' not in shown
                and 'href="http' not in shown
                and 'url(http' not in shown
                and '@import' not in shown
            ), path


def test_facets_page_holds_the_element_and_not_the_tool_it_came_with():
    page = assets.facets_page(
        '<dom-module></dom-module><wit-dashboard local id="wit"></wit-dashboard>'
    )
    assert 'wit-dashboard' not in page
    assert '<facets-overview id="overview">' in page


@pytest.fixture
def served(made: MadeRoot):
    """The port of a server over a root with one run, and the root."""
    made.step(FIRST, 'Trainer', STATES.FAILED)
    server = serve.server(made.root, 0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port, made
    server.shutdown()
    server.server_close()


def ask(port: int, path: str, host: str = 'localhost') -> tuple[int, str]:
    connection = http.client.HTTPConnection('127.0.0.1', port, timeout=60)
    connection.request('GET', path, headers={'Host': f'{host}:{port}'})
    answer = connection.getresponse()
    return answer.status, answer.read().decode('utf-8', 'replace')


def test_server_shows_a_run_that_came_after_it_was_started(served):
    port, made = served
    assert ask(port, '/')[0] == 200
    assert '2026-11-22' not in ask(port, '/index.html')[1]
    made.step(SECOND, 'Trainer', STATES.FAILED)
    assert '2026-11-22 08:00:00' in ask(port, '/index.html')[1]
    assert ask(port, '/runs/2026-11-22T08-00-00-000001/index.html')[0] == 200


@pytest.mark.parametrize(
    'path', ['/../metadata.sqlite', '/%2e%2e/metadata.sqlite', '/runs/', '/none.html']
)
def test_server_gives_pages_and_nothing_else(served, path):
    assert ask(served[0], path)[0] == 404


def test_a_path_that_no_file_can_have_is_refused(served, capfd):
    assert ask(served[0], '/%00.html')[0] == 400
    assert ask(served[0], '/runs/%00')[0] == 400
    assert capfd.readouterr().err == ''


def test_a_client_that_goes_away_is_no_news(made: MadeRoot, capfd, caplog):
    made.step(FIRST, 'Trainer', STATES.FAILED)
    server = serve.server(made.root, 0)
    ours, client = socket.socketpair()
    client.sendall(b'GET /index.html HTTP/1.1\r\nHost: localhost\r\n\r\n')
    client.close()
    # In this thread, so that all of it is over when it returns.
    server.process_request_thread(ours, ('127.0.0.1', 1))
    server.server_close()
    assert capfd.readouterr().err == ''
    assert [
        record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING
    ] == []


@pytest.mark.parametrize(
    ('host', 'status'),
    [
        pytest.param('localhost:6006', '200', id='with a port'),
        pytest.param('127.0.0.1', '200', id='without'),
        pytest.param('[::1]:6006', '200', id='version 6'),
        pytest.param('evil.example:6006', '403', id='another'),
        pytest.param('localhost.evil.example', '403', id='one that begins like ours'),
        pytest.param('', '403', id='none'),
    ],
)
def test_an_application_answers_to_the_names_of_this_machine_only(host, status):
    statuses = []
    application = own_host.guarded(lambda environ, start: start('200 OK', []) or [b'secret'])
    body = b''.join(application({'HTTP_HOST': host}, lambda text, headers: statuses.append(text)))
    assert statuses[0].startswith(status)
    assert (body == b'secret') == (status == '200')


def test_server_answers_to_its_own_name_only(served):
    assert ask(served[0], '/', host='evil.example')[0] == 403


def test_report_command(made: MadeRoot, capsys):
    made.step(FIRST, 'Trainer', STATES.FAILED)
    assert cli.main(['report', '--root', str(made.root)]) == 0
    assert capsys.readouterr().out == f'1 run: {made.root / "pages" / "index.html"}\n'
    assert cli.main(['report', '--root', str(made.root / 'none')]) == 1
    assert 'no such directory' in capsys.readouterr().err


@pytest.mark.parametrize('command', ['report', 'ui'])
def test_a_root_that_cannot_be_written_to(made: MadeRoot, capsys, command):
    (made.root / 'pages').write_text('a file')
    assert cli.main([command, '--root', str(made.root)]) == 1
    said = capsys.readouterr().err
    assert str(made.root / 'pages') in said
    assert said.endswith('. Give a directory that can be written to with --root.\n')


@pytest.mark.parametrize('number', [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_called_so(number):
    assert cannot_write(OSError(number, os.strerror(number), '/x')).endswith(
        'The disk is full: make room, then give the same command again.'
    )


def test_report_of_a_damaged_store(made: MadeRoot, capsys):
    made.step(FIRST, 'Trainer', outputs={'model': {}})
    path = made.root / 'metadata.sqlite'
    path.write_bytes(path.read_bytes()[:30000])
    assert cli.main(['report', '--root', str(made.root)]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f'cxr-triage report: {path}: the metadata store is damaged (')
    assert said.count('\n') == 1


def test_report_fails_where_a_page_is_not_complete(made: MadeRoot, capsys):
    number = made.step(FIRST, 'DataAudit', outputs={'audit': {}})['audit']
    (made.folder('DataAudit', 'audit', number) / 'audit.json').write_text('{"half": ')
    assert report.run(cli.build_parser().parse_args(['report', '--root', str(made.root)])) == 1
    assert 'data.html' in capsys.readouterr().err


def test_the_root_need_not_be_named_where_there_is_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(roots.RootError, match='no runs under runs/'):
        roots.find(None)
    (tmp_path / 'runs' / 'a').mkdir(parents=True)
    (tmp_path / 'runs' / 'a' / roots.STORE_FILE).touch()
    assert roots.find(None) == tmp_path / 'runs' / 'a'
    (tmp_path / 'runs' / 'b').mkdir()
    (tmp_path / 'runs' / 'b' / roots.STORE_FILE).touch()
    with pytest.raises(roots.RootError, match='runs/a, runs/b'):
        roots.find(None)


def test_tensorboard_without_a_training_says_so(tmp_path, capsys):
    assert cli.main(['tensorboard', '--root', str(tmp_path)]) == 1
    assert 'no run of this root finished a training' in capsys.readouterr().err
