"""The pages of synthetic run roots, the server that serves them, and `cxr-triage report`."""

from __future__ import annotations

import errno
import http.client
import logging
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cli import main as cli
from cli import root_argument as roots
from cli.commands import report
from pages import assets, own_host, serve, site
from pipeline.exit_codes import cannot_write
from tests.support.synthetic_root import STATES, RootBuilder

FIRST, SECOND = '2026-11-21T22:25:35.123456', '2026-11-22T08:00:00.000001'
MARKUP = '<script>alert(1)</script>"\'&'


def page_text(root: Path, *parts: str) -> str:
    return (root / 'pages').joinpath(*parts).read_text(encoding='utf-8')


def test_the_pages_of_an_empty_root(tmp_path):
    result = site.write(tmp_path)
    assert (result.runs, result.problems) == (0, ())
    assert 'This root has no runs' in result.front.read_text(encoding='utf-8')
    assert 'This root has no runs' in page_text(tmp_path, 'comparison.html')


def test_every_page_of_a_failed_run_gives_the_reason(builder: RootBuilder):
    builder.step(FIRST, 'XrayExampleGen', STATES.FAILED)
    builder.record(FIRST, state='failed', reasons=[f'XrayExampleGen failed: too much {MARKUP}'])
    result = site.write(builder.root)
    assert result.problems == ()
    for _, page in site.RUN_PAGES:
        html = page_text(builder.root, 'runs', '2026-11-21T22-25-35-123456', page)
        assert '<script>alert' not in html
        assert 'cxr-triage' in html
        if page != 'lineage.html':
            assert 'too much &lt;script&gt;' in html, page
    front = result.front.read_text(encoding='utf-8')
    assert (
        '✗ failed' in front and 'too much &lt;script&gt;' in front and '<script>alert' not in front
    )


def test_markup_in_names_of_the_store_is_escaped(builder: RootBuilder):
    builder.step(
        FIRST,
        'Trainer',
        outputs={f'model{MARKUP}': {'x': MARKUP}},
        parameters={'custom_config': MARKUP, 'a': f'{{"b": "{MARKUP[:8]}"}}'},
    )
    builder.step(
        FIRST,
        'Pusher',
        outputs={'pushed_model': {'pushed': 0}},
        parameters={'push': '{"config": {"<b>": "<i>"}}'},
    )
    site.write(builder.root)
    # The page in assets is part of Facets, which contains such markup.
    pages = [
        path for path in (builder.root / 'pages').rglob('*.html') if 'assets' not in path.parts
    ]
    assert pages
    for path in pages:
        html = path.read_text(encoding='utf-8')
        assert '<script>alert' not in html and '<b>":' not in html and '<i>' not in html, path


def test_the_audit_page_of_a_run_links_back(builder: RootBuilder):
    number = builder.step(FIRST, 'DataAudit', outputs={'audit': {}})['audit']
    (builder.folder('DataAudit', 'audit', number) / 'audit.html').write_text(
        '<!-- back -->of this run'
    )
    site.write(builder.root)
    page = page_text(builder.root, 'runs', '2026-11-21T22-25-35-123456', 'audit.html')
    assert page.startswith('<style>@page') and page.endswith('</p>of this run')
    assert '<a href="data.html">← Data of this run</a> Model not trained · run of 2026' in page


def test_pages_are_written_once_and_removed_with_their_run(builder: RootBuilder):
    builder.step(FIRST, 'Trainer', STATES.FAILED)
    site.write(builder.root)
    page = builder.root / 'pages' / 'runs' / '2026-11-21T22-25-35-123456' / 'index.html'
    stray = builder.root / 'pages' / 'runs' / 'deleted'
    stray.mkdir()
    modified = page.stat().st_mtime_ns
    builder.step(SECOND, 'Trainer', STATES.FAILED)
    assert site.write(builder.root).runs == 2
    assert page.stat().st_mtime_ns == modified
    assert not stray.exists()
    (page.parent / 'summary.json').unlink()
    site.write(builder.root)
    assert page.stat().st_mtime_ns > modified


def test_a_damaged_artifact_is_reported_and_hides_nothing_else(builder: RootBuilder):
    number = builder.step(FIRST, 'DataAudit', outputs={'audit': {}})['audit']
    (builder.folder('DataAudit', 'audit', number) / 'audit.json').write_text('{"half": ')
    result = site.write(builder.root)
    assert len(result.problems) == 1 and 'data.html' in result.problems[0]
    assert 'damaged or partly deleted' in page_text(
        builder.root, 'runs', '2026-11-21T22-25-35-123456', 'data.html'
    )
    assert 'Steps' in page_text(builder.root, 'runs', '2026-11-21T22-25-35-123456', 'index.html')
    assert 'JSONDecodeError' in result.front.read_text(encoding='utf-8')


def test_comparison_and_lineage_show_facts_that_differ(builder: RootBuilder):
    for name, digest in ((FIRST, 'aaa'), (SECOND, 'bbb')):
        builder.step(
            name,
            'Trainer',
            outputs={'model': {}},
            parameters={'custom_config': f'{{"code_digest": "{digest}"}}'},
        )
        builder.step(
            name, 'Pusher', outputs={'pushed_model': {'pushed': 1, 'pushed_version': digest}}
        )
    site.write(builder.root)
    page = page_text(builder.root, 'comparison.html')
    assert '"code.Trainer": "aaa"' in page and '"code.Trainer": "bbb"' in page
    assert 'No run of this root finished its Evaluator' in page
    lineage = page_text(builder.root, 'runs', '2026-11-22T08-00-00-000001', 'lineage.html')
    assert '<td>code.Trainer</td><td>aaa</td><td>bbb</td>' in lineage


def test_pages_load_nothing_from_the_network(builder: RootBuilder):
    builder.step(FIRST, 'Trainer', STATES.FAILED)
    site.write(builder.root)
    for path in (builder.root / 'pages').rglob('*'):
        if path.suffix in ('.html', '.css') and path.name != assets.FACETS:
            html = path.read_text(encoding='utf-8')
            assert (
                'src="http' not in html
                and 'href="http' not in html
                and 'url(http' not in html
                and '@import' not in html
            ), path


def test_facets_page_has_the_overview_element_without_the_what_if_tool():
    page = assets.facets_page(
        '<dom-module></dom-module><wit-dashboard local id="wit"></wit-dashboard>'
    )
    assert 'wit-dashboard' not in page
    assert '<facets-overview id="overview">' in page


@contextmanager
def page_server(root: Path) -> Iterator[int]:
    """Serves the pages of a run root; yields the port."""
    server = serve.server(root, 0)
    # With a short poll interval, `shutdown` returns at once.
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope='module')
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a server for a run root with one run."""
    builder = RootBuilder(tmp_path_factory.mktemp('served') / 'root')
    builder.step(FIRST, 'Trainer', STATES.FAILED)
    with page_server(builder.root) as number:
        yield number


def get(port: int, path: str, host: str = 'localhost') -> tuple[int, str]:
    """Returns the status and the body of the response."""
    connection = http.client.HTTPConnection('127.0.0.1', port, timeout=60)
    connection.request('GET', path, headers={'Host': f'{host}:{port}'})
    response = connection.getresponse()
    return response.status, response.read().decode('utf-8', 'replace')


def test_server_shows_a_new_run(builder: RootBuilder):
    builder.step(FIRST, 'Trainer', STATES.FAILED)
    with page_server(builder.root) as port:
        assert get(port, '/')[0] == 200
        assert '2026-11-22' not in get(port, '/index.html')[1]
        builder.step(SECOND, 'Trainer', STATES.FAILED)
        assert '2026-11-22 08:00:00' in get(port, '/index.html')[1]
        assert get(port, '/runs/2026-11-22T08-00-00-000001/index.html')[0] == 200


@pytest.mark.parametrize(
    'path', ['/../metadata.sqlite', '/%2e%2e/metadata.sqlite', '/runs/', '/none.html']
)
def test_server_serves_only_pages(port, path):
    assert get(port, path)[0] == 404


def test_server_rejects_a_path_with_a_zero_byte(port, capfd):
    assert get(port, '/%00.html')[0] == 400
    assert get(port, '/runs/%00')[0] == 400
    assert capfd.readouterr().err == ''


def test_a_client_that_disconnects_is_not_logged(builder: RootBuilder, capfd, caplog):
    builder.step(FIRST, 'Trainer', STATES.FAILED)
    server = serve.server(builder.root, 0)
    connection, client = socket.socketpair()
    client.sendall(b'GET /index.html HTTP/1.1\r\nHost: localhost\r\n\r\n')
    client.close()
    # In this thread, so that the request has ended before the assertions.
    server.process_request_thread(connection, ('127.0.0.1', 1))
    server.server_close()
    assert capfd.readouterr().err == ''
    assert [
        record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING
    ] == []


@pytest.mark.parametrize(
    ('host', 'status'),
    [
        pytest.param('localhost:6006', '200', id='localhost with a port'),
        pytest.param('127.0.0.1', '200', id='IPv4 without a port'),
        pytest.param('[::1]:6006', '200', id='IPv6 with a port'),
        pytest.param('evil.example:6006', '403', id='another name'),
        pytest.param('localhost.evil.example', '403', id='a name that begins with localhost'),
        pytest.param('', '403', id='empty'),
    ],
)
def test_a_guarded_application_answers_only_to_local_host_names(host, status):
    statuses = []
    application = own_host.guarded(lambda environ, start: start('200 OK', []) or [b'secret'])
    body = b''.join(application({'HTTP_HOST': host}, lambda text, headers: statuses.append(text)))
    assert statuses[0].startswith(status)
    assert (body == b'secret') == (status == '200')


def test_server_answers_only_to_local_host_names(port):
    assert get(port, '/', host='evil.example')[0] == 403


def test_report_command(builder: RootBuilder, capsys):
    builder.step(FIRST, 'Trainer', STATES.FAILED)
    assert cli.main(['report', '--root', str(builder.root)]) == 0
    assert capsys.readouterr().out == f'1 run: {builder.root / "pages" / "index.html"}\n'
    assert cli.main(['report', '--root', str(builder.root / 'none')]) == 1
    assert 'no such directory' in capsys.readouterr().err


@pytest.mark.parametrize('command', ['report', 'ui'])
def test_a_root_that_is_not_writable(builder: RootBuilder, capsys, command):
    (builder.root / 'pages').write_text('a file')
    assert cli.main([command, '--root', str(builder.root)]) == 1
    error = capsys.readouterr().err
    assert str(builder.root / 'pages') in error
    assert error.endswith('. Give a directory that can be written to with --root.\n')


@pytest.mark.parametrize('number', [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_reported(number):
    assert cannot_write(OSError(number, os.strerror(number), '/x')).endswith(
        'The disk is full: make room, then give the same command again.'
    )


def test_report_of_a_damaged_metadata_store(builder: RootBuilder, capsys):
    builder.step(FIRST, 'Trainer', outputs={'model': {}})
    path = builder.root / 'metadata.sqlite'
    path.write_bytes(path.read_bytes()[:30000])
    assert cli.main(['report', '--root', str(builder.root)]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f'cxr-triage report: {path}: the metadata store is damaged (')
    assert error.count('\n') == 1


def test_report_fails_if_a_page_is_incomplete(builder: RootBuilder, capsys):
    number = builder.step(FIRST, 'DataAudit', outputs={'audit': {}})['audit']
    (builder.folder('DataAudit', 'audit', number) / 'audit.json').write_text('{"half": ')
    assert report.run(cli.build_parser().parse_args(['report', '--root', str(builder.root)])) == 1
    assert 'data.html' in capsys.readouterr().err


def test_the_only_root_under_runs_is_the_default(tmp_path, monkeypatch):
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


def test_tensorboard_without_a_training_fails(tmp_path, capsys):
    assert cli.main(['tensorboard', '--root', str(tmp_path)]) == 1
    assert 'no run of this root began a training' in capsys.readouterr().err
