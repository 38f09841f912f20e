"""Opens pages in Chromium, from disk and without a network, and checks what the pages of any root
with a pushed model have to show.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Set
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest
from playwright import sync_api
from playwright.sync_api import Browser, Locator, Page

from pages import assets, site

_BROWSERS = ('chromium', 'chromium-browser', 'google-chrome')
# A page that needs longer than this to show its elements is broken.
_PATIENCE_MS = 30_000
# The narrowest screen on which the tables of runs and of slices are shown whole.
_SCREEN = {'width': 1280, 'height': 900}
_LOADED = 'images => images.filter(image => image.complete && image.naturalWidth > 0).length'
_SCROLLS = 'element => element.scrollWidth > element.clientWidth'


def missing(what: str) -> NoReturn:
    """Skips the test for want of something, or fails it where CXR_REQUIRE_BROWSER=1 says that the
    pages must be opened.
    """
    if os.environ.get('CXR_REQUIRE_BROWSER') == '1':
        pytest.fail(f'{what} (no skip while CXR_REQUIRE_BROWSER=1)')
    pytest.skip(what)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Chromium of this machine, with no way to any network."""
    path = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if path is None:
        missing(f'none of {", ".join(_BROWSERS)} is on PATH')
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=['--no-sandbox', '--host-resolver-rules=MAP * ~NOTFOUND']
        )
        yield browser
        browser.close()


@contextmanager
def opened(browser: Browser, path: Path, **settings) -> Iterator[Page]:
    """A page from disk; whatever it complains of, or asks of a network, fails the test."""
    context = browser.new_context(offline=True, viewport=_SCREEN, **settings)
    page = context.new_page()
    page.set_default_timeout(_PATIENCE_MS)
    trouble: list[str] = []
    page.on(
        'console',
        lambda message: (
            trouble.append(message.text) if message.type in ('error', 'warning') else None
        ),
    )
    page.on('pageerror', lambda error: trouble.append(str(error)))
    page.on('requestfailed', lambda request: trouble.append(f'{request.url}: {request.failure}'))
    page.on(
        'request',
        lambda request: (
            trouble.append(request.url)
            if not request.url.startswith(('file:', 'data:', 'blob:'))
            else None
        ),
    )
    page.goto(path.as_uri())
    page.wait_for_load_state('load')
    try:
        yield page
        assert not trouble, f'{path}: {trouble}'
    finally:
        context.close()


def texts(locator: Locator) -> list[str]:
    """What each of the elements shows."""
    return [text.strip() for text in locator.all_inner_texts()]


def run_folder(pages: Path, state: str) -> Path:
    """The folder of pages of the newest run that ended so."""
    ended = {
        path.parent: json.loads(path.read_text(encoding='utf-8'))['state']
        for path in pages.glob('runs/*/summary.json')
    }
    return max(folder for folder, found in ended.items() if found == state)


def check_pushed(
    browser: Browser, pages: Path, slices: Set[str], films: bool = True, drawn: bool = True
) -> None:
    """Opens every page of a root in which one run pushed a model, and looks on those of this run
    for all that a person comes for.

    Args:
      browser: as `chromium` starts it.
      pages: the folder of pages of the root.
      slices: names of slices, among others, that TFMA has to show.
      films: whether the audit found something that it shows on films.
      drawn: whether the data are of `cxr-triage synth`, or of NIH.
    """
    _every_page(browser, pages)
    _front(browser, pages)
    run = run_folder(pages, 'pushed')
    _evaluation(browser, run, slices)
    _data(browser, run, films)
    _training(browser, run)
    _model_card(browser, run, drawn)
    _lineage(browser, run)


def _every_page(browser: Browser, pages: Path) -> None:
    # Facets' own page is empty until one of ours hands it the statistics.
    paths = [path for path in sorted(pages.rglob('*.html')) if path.name != assets.FACETS]
    assert len(paths) >= 2 + len(site.RUN_PAGES) * len(list(pages.glob('runs/*')))
    for path in paths:
        with opened(browser, path) as page:
            assert len(page.locator('main').inner_text()) > 100, path
            # What a script of the page says a moment later counts too.
            page.wait_for_timeout(50)


def _front(browser: Browser, pages: Path) -> None:
    with opened(browser, pages / site.FRONT) as page:
        assert any('✓ pushed' in row for row in texts(page.locator('#runs-table tbody tr')))
        _fits(page, 'runs-table')


def _fits(page: Page, table: str) -> None:
    """Neither the page nor the table has to be pushed aside to be read."""
    assert not page.locator('html').evaluate(_SCROLLS)
    assert not page.locator(f'.scroll:has(#{table})').evaluate(_SCROLLS)


def _evaluation(browser: Browser, run: Path, slices: Set[str]) -> None:
    with opened(browser, run / 'evaluation.html') as page:
        table = page.locator('#tfma-slicing tfma-metrics-table table')
        table.wait_for()
        shown = set(texts(table.locator('tbody tr td:first-child')))
        assert shown == set(
            json.loads((run / 'summary.json').read_text(encoding='utf-8'))['slices']
        )
        assert {'All test images', *slices} <= shown
        assert 'AUC' in texts(table.locator('thead th'))
        assert '(' in table.locator('tfma-bounded-value .range').first.inner_text()
        page.locator('#tfma-plot tfma-nb-plot svg circle').first.wait_for(state='attached')

        task = 'of Probability of the task'
        for title, marks in (
            (f'ROC {task}', 'polyline.line.s0'),
            (f'Precision and recall {task}', 'polyline.line.s0'),
            (f'Reliability {task}', 'g.dot line'),
        ):
            plot = page.locator(f'figure svg[aria-label="{title}"]')
            assert plot.locator(marks).count() >= (3 if 'dot' in marks else 1), title
            assert plot.bounding_box()['width'] > 200, title

        _fits(page, 'slices-table')
        _fits(page, 'groups-table')
        assert sum('(lowest)' in row for row in texts(page.locator('#groups-table tbody tr'))) == 3
        counts = [
            int(text.split()[0].replace(',', '')) for text in texts(page.locator('#confusion td b'))
        ]
        assert len(counts) == 4
        assert (
            'The model assessed all of these images' in page.locator('#not-assessed').inner_text()
        )
        assert f'{sum(counts):,} test images' in page.locator('main').inner_text()


def _data(browser: Browser, run: Path, films: bool) -> None:
    with opened(browser, run / 'data.html') as page:
        splits = [
            row.split('\t')[1]
            for row in texts(page.locator('#prevalence-table tbody tr'))
            if row.startswith('Split')
        ]
        assert {'train', 'val', 'calibration', 'test'} <= set(splits)
        frame = page.frame_locator('#facets')
        frame.get_by_text('Numeric Features').first.wait_for()
        for split in splits:
            frame.get_by_text(split, exact=True).first.wait_for()
        page.locator('#audit-link').click()
        page.wait_for_load_state('load')
        assert page.locator('h1').inner_text() == 'Data audit'
        thumbnails = page.locator('.film img')
        assert (thumbnails.count() > 0) == films
        assert thumbnails.evaluate_all(_LOADED) == thumbnails.count()


def _training(browser: Browser, run: Path) -> None:
    with opened(browser, run / 'training.html') as page:
        # Those of train and of val.
        assert (
            page.locator('figure svg .s0').count() >= 2
            and page.locator('figure svg .s1').count() >= 2
        )
        assert page.locator('#history-table tbody tr').count() >= 2
        assert 'cxr-triage tensorboard' in page.locator('pre').inner_text()


def _model_card(browser: Browser, run: Path, drawn: bool) -> None:
    with opened(browser, run / 'model_card.html') as page:
        shown = page.locator('#card').inner_text()
        data = 'labels are wrong on purpose' if drawn else 'mined from radiology reports'
        for words in (
            'Research use only',
            data,
            'AUC of age, sex and view alone',
            'Apache-2.0',
            'View: PA',
            'positives missed',
        ):
            assert words in shown, words
        assert ('NIH' in shown) is not drawn
        for name in ('Markdown', 'JSON'):
            target = page.get_by_role('link', name=name).get_attribute('href')
            assert target and (run / target).exists(), name


def _lineage(browser: Browser, run: Path) -> None:
    with opened(browser, run / 'lineage.html') as page:
        assert 'all files are as pushed' in page.locator('main').inner_text()
        steps = [
            text.split()[0] for text in texts(page.locator('#trace-table tbody td:first-child'))
        ]
        assert {
            'XrayExampleGen',
            'CuratedSchema',
            'Transform',
            'Trainer',
            'Evaluator',
            'ServingCheck',
            'Pusher',
        } <= set(steps)
        assert steps[-1] == 'Pusher'
        assert (
            steps.index('XrayExampleGen')
            < steps.index('Transform')
            < steps.index('Trainer')
            < steps.index('Evaluator')
        )
