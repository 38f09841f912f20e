"""The pages of a real root in Chromium, from disk and without a network: no error, and what a person came for is there."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pages import assets, site
from pages.measured import POINTS

pytestmark = pytest.mark.slow

_BROWSERS = ('chromium', 'chromium-browser', 'google-chrome')
# A page that needs longer than this to show its elements is broken.
_PATIENCE_MS = 30_000


@pytest.fixture(scope='module')
def browser():
    """Chromium of this machine, with no way to any network."""
    path = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if path is None:
        reason = f'none of {", ".join(_BROWSERS)} is on PATH'
        if os.environ.get('CXR_REQUIRE_BROWSER') == '1':
            pytest.fail(reason)
        pytest.skip(reason)
    from playwright import sync_api

    with sync_api.sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=path, args=['--no-sandbox', '--host-resolver-rules=MAP * ~NOTFOUND'])
        yield made
        made.close()


@contextmanager
def opened(browser, path: Path, **settings) -> Iterator:
    """A page from disk; whatever it complains of, or asks of a network, fails the test."""
    context = browser.new_context(offline=True, viewport={'width': 1280, 'height': 900}, **settings)
    page = context.new_page()
    page.set_default_timeout(_PATIENCE_MS)
    trouble: list[str] = []
    page.on('console', lambda message: trouble.append(message.text) if message.type in ('error', 'warning') else None)
    page.on('pageerror', lambda error: trouble.append(str(error)))
    page.on('requestfailed', lambda request: trouble.append(f'{request.url}: {request.failure}'))
    page.on('request', lambda request: trouble.append(request.url) if not request.url.startswith(('file:', 'data:', 'blob:')) else None)
    page.goto(path.as_uri())
    page.wait_for_load_state('load')
    try:
        yield page
        assert not trouble, f'{path}: {trouble}'
    finally:
        context.close()


@pytest.fixture
def run_of(watched):
    """Folder of pages of a run, by how it ended."""

    def find(state: str) -> Path:
        summaries = [json.loads(path.read_text(encoding='utf-8')) for path in sorted(watched.pages.glob('runs/*/summary.json'))]
        (slug,) = [one['slug'] for one in summaries if one['state'] == state]
        return watched.pages / 'runs' / slug

    return find


def texts(locator) -> list[str]:
    return [text.strip() for text in locator.all_inner_texts()]


def test_runs_end_with_the_front_page(watched):
    for name, screen in watched.screens.items():
        # Who kills a run sees no pages of it; the next run, `ui` or `report` shows it.
        assert (str(watched.pages / 'index.html') in screen) == (name != 'killed'), screen


def test_no_page_complains_and_none_is_empty(browser, watched):
    paths = [path for path in sorted(watched.pages.rglob('*.html')) if path.name != assets.FACETS]
    assert len(paths) >= 2 + 5 * len(site.RUN_PAGES)
    for path in paths:
        with opened(browser, path) as page:
            assert len(page.locator('main').inner_text()) > 100, path
            page.wait_for_timeout(50)


def test_front_page_lists_every_run_with_its_ending(browser, watched):
    with opened(browser, watched.pages / 'index.html') as page:
        rows = texts(page.locator('#runs-table tbody tr'))
        assert len(rows) == 5
        cached, killed, gate, refused, pushed = rows
        assert 'served already' in cached
        assert 'stopped half way' in killed and 'it ended in Trainer' in killed
        assert '✗ failed' in gate and 'missing_metadata' in gate
        assert 'not blessed' in refused and 'AUC of all test films is 0.' in refused and 'Evaluator ✗ FAIL' in refused
        assert '✓ pushed' in pushed
        page.locator('#runs-table thead th').first.click()
        assert texts(page.locator('#runs-table tbody tr'))[0] == pushed


def test_tfma_shows_every_slice_with_names_for_people(browser, run_of):
    with opened(browser, run_of('pushed') / 'evaluation.html') as page:
        table = page.locator('#tfma-slicing tfma-metrics-table table')
        table.wait_for()
        cells = texts(table.locator('tbody tr td:first-child'))
        assert {'All test films', 'Sex: female', 'Sex: male', 'View: PA', 'View: AP'} <= set(cells)
        assert 'AUC' in texts(table.locator('thead th'))
        assert '(' in table.locator('tfma-bounded-value .range').first.inner_text()


def test_tfma_draws_the_plots_of_the_slice_that_is_chosen(browser, run_of):
    with opened(browser, run_of('pushed') / 'evaluation.html') as page:
        page.locator('#tfma-plot tfma-nb-plot svg circle').first.wait_for(state='attached')
        page.locator('#plot-slice').select_option(label='View: PA')
        page.get_by_text('Plot for View: PA').wait_for()
        assert 10 < page.locator('#tfma-plot svg circle').count() <= 6 * (POINTS + 2)


def test_curves_and_confusion_matrix(browser, run_of):
    with opened(browser, run_of('pushed') / 'evaluation.html') as page:
        assert page.locator('figure svg polyline.line.s0').count() >= 2
        assert page.locator('figure svg g.dot line').count() >= 3
        counts = [int(text.split()[0].replace(',', '')) for text in texts(page.locator('#confusion td b'))]
        assert len(counts) == 4
        assert f'{sum(counts):,} test films' in page.locator('main').inner_text()


def test_without_a_baseline_the_page_says_so_and_with_one_it_stands_beside(browser, run_of):
    with opened(browser, run_of('pushed') / 'evaluation.html') as page:
        assert 'Nothing was served when this run began' in page.locator('main').inner_text()
        assert 'Served model' not in texts(page.locator('#figures-table thead th'))
    with opened(browser, run_of('not blessed') / 'evaluation.html') as page:
        assert {'Served model', 'Difference'} <= set(texts(page.locator('#figures-table thead th')))
        page.locator('#tfma-slicing tfma-metrics-table table').wait_for()
        assert any('(served)' in text for text in texts(page.locator('#tfma-slicing thead th')))
        assert 'served model' in ' '.join(page.locator('#curves ~ .plots text').all_text_contents())
        page.locator('#plot-output').select_option(label='probability, served model')
        page.get_by_text('served model').last.wait_for()


def test_data_page_of_a_run_that_went_through(browser, run_of):
    with opened(browser, run_of('pushed') / 'data.html') as page:
        by = texts(page.locator('#prevalence-table tbody td:first-child'))
        assert {'Split', 'View', 'Sex', 'Age'} <= set(by)
        assert page.locator('#cooccurrence-table tbody tr').count() > 3
        assert page.locator('#schema-table tbody tr').count() > 15
        names = set(texts(page.locator('#statistics-table tbody td:first-child')))
        assert {'image', 'age', 'sex'} <= names
        page.locator('.search input').first.fill('Effusion')
        page.locator('#audit-link').click()
        page.wait_for_load_state('load')
        assert 'Data audit' in page.locator('h1').inner_text()


def test_facets_overview_shows_all_splits(browser, watched, run_of):
    if not (watched.pages / 'assets' / assets.FACETS).exists():
        pytest.skip('Facets is not installed')
    with opened(browser, run_of('pushed') / 'data.html') as page:
        frame = page.frame_locator('#facets')
        frame.get_by_text('Numeric Features').first.wait_for()
        for split in ('train', 'val', 'calibration', 'test'):
            frame.get_by_text(split, exact=True).first.wait_for()


def test_data_page_of_a_run_that_the_gate_stopped(browser, run_of):
    with opened(browser, run_of('failed') / 'data.html') as page:
        assert 'The run was stopped here' in page.locator('main').inner_text()
        first = page.locator('#gate-table tbody tr').first.inner_text()
        assert '✗ failed' in first and 'missing_metadata' in first
        assert page.locator('#audit-table tbody tr').count() >= 1


def test_model_card_is_there_for_what_was_measured_and_says_why_where_not(browser, run_of):
    with opened(browser, run_of('pushed') / 'model_card.html') as page:
        shown = page.locator('#card').inner_text()
        for words in ('Research use only', 'mined from radiology reports', 'AUC of age, sex and view alone', 'Apache-2.0', 'View: PA'):
            assert words in shown, words
        page.get_by_role('link', name='Markdown')
    with opened(browser, run_of('stopped half way') / 'model_card.html') as page:
        assert 'There is no model card: this run did not come to the end of its Evaluator' in page.locator('main').inner_text()
    assert (run_of('pushed') / 'model_card.json').exists() and (run_of('not blessed') / 'model_card.md').exists()


def test_lineage_of_the_served_version(browser, run_of):
    with opened(browser, run_of('pushed') / 'lineage.html') as page:
        assert 'all files are as they were pushed' in page.locator('main').inner_text()
        steps = [text.split()[0] for text in texts(page.locator('#trace-table tbody td:first-child'))]
        assert {'XrayExampleGen', 'CuratedSchema', 'Transform', 'Trainer', 'Evaluator', 'ServingCheck', 'Pusher'} <= set(steps)
        assert steps[-1] == 'Pusher'
        assert steps.index('XrayExampleGen') < steps.index('Transform') < steps.index('Trainer') < steps.index('Evaluator')
    with opened(browser, run_of('served already') / 'lineage.html') as page:
        assert 'in the run 20' in page.locator('#trace-table').inner_text()


def test_two_runs_side_by_side_and_over_time(browser, watched):
    with opened(browser, watched.pages / 'comparison.html') as page:
        assert page.locator('#compare-table tbody tr').count() == 5
        page.locator('tfma-nb-time-series svg circle').first.wait_for(state='attached')
        labels = texts(page.locator('#run-a option'))
        page.locator('#run-a').select_option(index=next(place for place, text in enumerate(labels) if 'pushed' in text))
        page.locator('#run-b').select_option(index=next(place for place, text in enumerate(labels) if 'not blessed' in text))
        facts = texts(page.locator('#facts-table tbody td:first-child'))
        assert 'config.train.seed' in facts and 'config.pipeline' not in facts
        page.locator('#run-b').select_option(index=next(place for place, text in enumerate(labels) if 'failed' in text))
        assert 'B did not come to the end of the Evaluator' in page.locator('#compare-note').inner_text()


def test_training_curves(browser, run_of):
    with opened(browser, run_of('pushed') / 'training.html') as page:
        assert page.locator('figure svg polyline.line.s1').count() >= 1
        assert page.locator('#history-table tbody tr').count() == 20
        assert 'cxr-triage tensorboard' in page.locator('pre').inner_text()
    with opened(browser, run_of('stopped half way') / 'training.html') as page:
        assert 'There are no curves' in page.locator('main').inner_text()


def test_dark_mode_and_print(browser, run_of, tmp_path):
    with opened(browser, run_of('pushed') / 'evaluation.html', color_scheme='dark') as page:
        assert page.evaluate('getComputedStyle(document.body).backgroundColor') == 'rgb(18, 22, 28)'
        page.locator('#tfma-slicing tfma-metrics-table table').wait_for()
        page.emulate_media(media='print')
        page.pdf(path=str(tmp_path / 'evaluation.pdf'))
    assert (tmp_path / 'evaluation.pdf').read_bytes().startswith(b'%PDF')
