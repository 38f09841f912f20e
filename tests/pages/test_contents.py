"""The table of contents of a page, and what its printed pages name."""

from __future__ import annotations

import json

import pytest

from pages import printed, runs, site, store
from pages.contents import contents
from tests.support.synthetic_root import STATES, RootBuilder

RUN = '2026-11-21T22:25:35.123456'


def _headings(*names: str) -> str:
    return ''.join(f'<h2 id="{name}">The {name}</h2><p>text</p>' for name in names)


def test_the_contents_are_the_headings_that_can_be_linked():
    html = (
        _headings('a', 'b') + '<h2>none</h2><h3 id="x">lower</h3><h2 id="c">C &amp;\n <i>c</i></h2>'
    )
    assert contents(html) == [('a', 'The a'), ('b', 'The b'), ('c', 'C & c')]


def test_a_short_page_has_no_contents():
    assert contents(_headings('a', 'b')) == []


def test_the_contents_of_a_written_page_lead_to_its_headings(builder: RootBuilder):
    builder.step(RUN, 'Trainer', STATES.FAILED)
    site.write(builder.root)
    page = builder.root / 'pages' / 'runs' / '2026-11-21T22-25-35-123456' / 'data.html'
    html = page.read_text(encoding='utf-8')
    links = html.partition('aria-label="On this page">')[2].partition('</nav>')[0]
    ids = [part.partition('"')[0] for part in links.split('href="#')[1:]]
    assert {'problems', 'gate', 'prevalence', 'schema'} <= set(ids)
    assert all(f'<h2 id="{name}">' in html for name in ids)


def _identity(builder: RootBuilder) -> str:
    (run,) = runs.all_runs(store.read(builder.root))
    return printed.identity(run)


def test_a_printed_page_names_model_run_and_version(builder: RootBuilder):
    model = builder.step(RUN, 'Trainer', outputs={'model': {}})['model']
    info = builder.folder('Trainer', 'model', model) / 'Format-Serving' / 'assets.extra'
    info.mkdir(parents=True)
    (info / 'triage.json').write_text(json.dumps({'model_version': 'demo-12ab'}))
    builder.step(
        RUN,
        'Pusher',
        outputs={'pushed_model': {'pushed': 1, 'pushed_version': '7', 'pushed_destination': '/x'}},
    )
    builder.record(RUN, state='pushed')
    assert _identity(builder) == 'Model demo-12ab · run of 2026-11-21 22:25:35 · version 7'
    site.write(builder.root)
    page = builder.root / 'pages' / 'runs' / '2026-11-21T22-25-35-123456' / 'data.html'
    assert f'content: {printed.css_text(_identity(builder))};' in page.read_text(encoding='utf-8')


@pytest.mark.parametrize(
    ('text', 'model'), [(None, 'not trained'), ('{"half', 'not readable'), ('[]', 'not trained')]
)
def test_a_damaged_model_does_not_keep_a_page_from_being_written(
    builder: RootBuilder, text: str | None, model: str
):
    number = builder.step(RUN, 'Trainer', outputs={'model': {}})['model']
    if text:
        folder = builder.folder('Trainer', 'model', number) / 'Format-Serving' / 'assets.extra'
        folder.mkdir(parents=True)
        (folder / 'triage.json').write_text(text)
    builder.record(RUN, state='failed')
    assert _identity(builder) == f'Model {model} · run of 2026-11-21 22:25:35 · no version (failed)'


def test_text_in_css_cannot_end_the_style():
    text = '"; } </style><script>\n\\'
    escaped = printed.css_text(text)
    assert set(escaped.strip('"')) <= set('0123456789abcdefghijklmnopqrstuvwxyz \\')
