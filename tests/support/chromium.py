"""Opens pages in Chromium, from disk and without a network.

`check_pushed` checks the pages of any run root with a pushed model.
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
from tests.support import accessibility

_BROWSERS = ('chromium', 'chromium-browser', 'google-chrome')
# A page that takes longer to show its elements is broken.
_PATIENCE_MS = 30_000
# The narrowest screen that shows the tables of runs and of slices without scrolling.
_SCREEN = {'width': 1280, 'height': 900}
_LOADED = 'images => images.filter(image => image.complete && image.naturalWidth > 0).length'
_SCROLLS = 'element => element.scrollWidth > element.clientWidth'
_PHONE = {'width': 400, 'height': 800}
# A4 without the margins of pages/assets/print.css, at 96 pixels an inch.
_PAPER = {'width': 710, 'height': 1010}
# The elements of a printed page that its right edge would cut off.
_CUT_OFF = """() => [...document.querySelectorAll('main *')]
  .filter((element) => !element.closest('svg'))
  .filter((element) => element.getBoundingClientRect().right > innerWidth + 1)
  .map((element) => `${element.tagName} ${element.id}: ${element.textContent.slice(0, 60)}`)"""


def missing(reason: str) -> NoReturn:
    """Skips the test, or fails it if CXR_REQUIRE_BROWSER=1 forbids that."""
    if os.environ.get('CXR_REQUIRE_BROWSER') == '1':
        pytest.fail(f'{reason} (no skip while CXR_REQUIRE_BROWSER=1)')
    pytest.skip(reason)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Starts this machine's Chromium without access to any network but this machine itself."""
    path = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if path is None:
        missing(f'none of {", ".join(_BROWSERS)} is on PATH')
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path,
            args=['--no-sandbox', '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1'],
        )
        yield browser
        browser.close()


@contextmanager
def opened(browser: Browser, path: Path, **settings) -> Iterator[Page]:
    """Opens a page from disk; an error, a warning or a network request fails the test."""
    context = browser.new_context(offline=True, viewport=_SCREEN, **settings)
    page = context.new_page()
    page.set_default_timeout(_PATIENCE_MS)
    problems: list[str] = []
    page.on(
        'console',
        lambda message: (
            problems.append(message.text) if message.type in ('error', 'warning') else None
        ),
    )
    page.on('pageerror', lambda error: problems.append(str(error)))
    page.on(
        'requestfailed',
        lambda request: (
            problems.append(f'{request.url}: {request.failure}')
            # An image that a page has not loaded when it is left.
            if request.failure != 'net::ERR_ABORTED'
            else None
        ),
    )
    page.on(
        'request',
        lambda request: (
            problems.append(request.url)
            if not request.url.startswith(('file:', 'data:', 'blob:'))
            else None
        ),
    )
    page.goto(path.as_uri())
    page.wait_for_load_state('load')
    try:
        yield page
        assert not problems, f'{path}: {problems}'
    finally:
        context.close()


def texts(locator: Locator) -> list[str]:
    """The visible text of each element."""
    return [text.strip() for text in locator.all_inner_texts()]


def run_folder(pages: Path, state: str) -> Path:
    """The folder of pages of the newest run in `state`."""
    states = {
        path.parent: json.loads(path.read_text(encoding='utf-8'))['state']
        for path in pages.glob('runs/*/summary.json')
    }
    return max(folder for folder, run_state in states.items() if run_state == state)


def check_pushed(
    browser: Browser, pages: Path, slices: Set[str], images: bool = True, synthetic: bool = True
) -> None:
    """Opens every page of a run root and checks the contents of those of the run that pushed.

    Args:
      browser: from `chromium`.
      pages: the folder of pages of the run root.
      slices: slices that TFMA has to show, maybe among others.
      images: whether the data audit shows images with issues.
      synthetic: whether the data come from `cxr-triage synth`, not from NIH.
    """
    _every_page(browser, pages)
    _front(browser, pages)
    run = run_folder(pages, 'pushed')
    _evaluation(browser, run, slices)
    _threshold(browser, run, slices)
    _gallery(browser, run)
    _data(browser, run, images)
    _training(browser, run)
    _model_card(browser, run, synthetic)
    _lineage(browser, run)


def _every_page(browser: Browser, pages: Path) -> None:
    # The page of Facets is empty until one of ours passes it the statistics.
    paths = [path for path in sorted(pages.rglob('*.html')) if path.name != assets.FACETS]
    assert len(paths) >= 2 + len(site.RUN_PAGES) * len(list(pages.glob('runs/*')))
    for path in paths:
        with opened(browser, path) as page:
            assert len(page.locator('main').inner_text()) > 60, path
            # Messages that a script writes a moment later count, too.
            page.wait_for_timeout(50)
            _accessible(page, path)
        with opened(browser, path, color_scheme='dark') as page:
            page.set_viewport_size(_PHONE)
            assert not page.locator('html').evaluate(_SCROLLS), path
            _accessible(page, path)
            page.set_viewport_size(_PAPER)
            page.emulate_media(media='print')
            assert page.evaluate(_CUT_OFF) == [], path


def _accessible(page: Page, path: Path) -> None:
    """Checks that axe finds nothing serious outside the elements of TFMA and Facets."""
    found = accessibility.violations(page, from_disk=True, exclude='.foreign')
    serious = [violation for violation in found if violation.startswith(('serious', 'critical'))]
    assert not serious, f'{path}: {serious}'


def _front(browser: Browser, pages: Path) -> None:
    with opened(browser, pages / site.FRONT) as page:
        assert any('✓ pushed' in row for row in texts(page.locator('#runs-table tbody tr')))
        _fits(page, 'runs-table')


def _fits(page: Page, table: str) -> None:
    """Checks that neither the page nor the table scrolls sideways."""
    assert not page.locator('html').evaluate(_SCROLLS)
    assert not page.locator(f'.scroll:has(#{table})').evaluate(_SCROLLS)


def _evaluation(browser: Browser, run: Path, slices: Set[str]) -> None:
    with opened(browser, run / 'evaluation.html') as page:
        table = page.locator('#tfma-slicing tfma-metrics-table table')
        table.wait_for()
        names = set(texts(table.locator('tbody tr td:first-child')))
        assert names == set(
            json.loads((run / 'summary.json').read_text(encoding='utf-8'))['slices']
        )
        assert {'All test images', *slices} <= names
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
        for metric in ('Sensitivity', 'AUC', 'Specificity'):
            forest = page.locator(f'svg.forest[aria-label="{metric}"]')
            assert {'female', 'male', 'PA', 'AP'} <= set(forest.locator('text').all_text_contents())
        gaps = [row for row in texts(page.locator('#metrics-table tbody tr')) if 'gap' in row]
        assert len(gaps) == 3 and all('compared' in row for row in gaps)
        counts = [
            int(text.split()[0].replace(',', '')) for text in texts(page.locator('#confusion td b'))
        ]
        assert len(counts) == 4
        assert (
            'The model assessed all of these images' in page.locator('#not-assessed').inner_text()
        )
        assert f'{sum(counts):,} test images' in page.locator('main').inner_text()


def _gallery(browser: Browser, run: Path) -> None:
    with opened(browser, run / 'gallery.html') as page:
        page.get_by_label('All heat maps').check()
        cards = page.locator('.gallery > li:not([hidden])')
        drawn, silent = cards.locator('canvas'), cards.get_by_text('No part speaks for')
        assert cards.count() == drawn.count() + silent.count() >= 12
        assert drawn.count()
        page.wait_for_function("() => document.querySelector('.gallery img').naturalWidth > 0")


def _threshold(browser: Browser, run: Path, slices: Set[str]) -> None:
    with opened(browser, run / 'evaluation.html') as page:
        matrix = texts(page.locator('#confusion td b'))
    with opened(browser, run / 'threshold.html') as page:
        choices = set(texts(page.locator('#slice option')))
        assert {'All test images', *slices} <= choices
        here, stored = (
            texts(page.locator(f'#figures tbody td:nth-child({column})')) for column in (2, 3)
        )
        assert here == stored
        # At the operating point, the counts are those of the evaluation page.
        labels = ' '.join(page.locator('#histogram text').all_text_contents())
        words = ('flagged', 'missed', 'false alarms', 'not flagged')
        assert all(
            f'{count} {word}' in labels for count, word in zip(matrix, words, strict=True)
        ), (matrix, labels)
        page.locator('#slider').press('End')
        assert texts(page.locator('#figures tbody td:nth-child(2)')) != stored
        page.get_by_role('button', name='Back to the operating point').click()
        assert texts(page.locator('#figures tbody td:nth-child(2)')) == stored


def _data(browser: Browser, run: Path, images: bool) -> None:
    with opened(browser, run / 'data.html') as page:
        splits = [
            text.split()[0]
            for text in texts(page.locator('#prevalence-split thead th'))
            if text != 'Label'
        ]
        assert {'train', 'val', 'calibration', 'test'} <= set(splits)
        frame = page.frame_locator('#facets')
        frame.get_by_text('Numeric Features').first.wait_for()
        for split in splits:
            frame.get_by_text(split, exact=True).first.wait_for()
        page.locator('#audit-link').click()
        page.wait_for_load_state('load')
        assert page.locator('h1').inner_text() == 'Data audit'
        thumbnails = page.locator('.thumbnail img')
        assert (thumbnails.count() > 0) == images
        assert thumbnails.evaluate_all(_LOADED) == thumbnails.count()


def _training(browser: Browser, run: Path) -> None:
    with opened(browser, run / 'training.html') as page:
        # The curves of train and of val.
        assert (
            page.locator('figure svg .s0').count() >= 2
            and page.locator('figure svg .s1').count() >= 2
        )
        assert page.locator('#history-table tbody tr').count() >= 2
        assert 'cxr-triage tensorboard' in page.locator('pre').inner_text()


def _model_card(browser: Browser, run: Path, synthetic: bool) -> None:
    with opened(browser, run / 'model_card.html') as page:
        text = page.locator('#card').inner_text()
        data = 'labels are deliberately wrong' if synthetic else 'mined from radiology reports'
        for phrase in (
            'Research use only',
            data,
            'AUC of age, sex and view alone',
            'Apache-2.0',
            'View: PA',
            'positives missed',
        ):
            assert phrase in text, phrase
        assert ('NIH' in text) is not synthetic
        for name in ('Markdown', 'JSON'):
            target = page.get_by_role('link', name=name).get_attribute('href')
            assert target and (run / target).exists(), name


def _lineage(browser: Browser, run: Path) -> None:
    with opened(browser, run / 'lineage.html') as page:
        assert 'all files are as pushed' in page.locator('main').inner_text()
        _links_lead_somewhere(page.locator('svg.lineage a'), run)
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


def _links_lead_somewhere(links: Locator, folder: Path) -> None:
    """Checks that each link leads to a file, and to an element in it."""
    targets = {link.get_attribute('href') or '' for link in links.all()}
    assert len(targets) > 5
    for target in targets:
        file, _, name = target.partition('#')
        html = (folder / (file or 'lineage.html')).read_text(encoding='utf-8')
        assert not name or f'id="{name}"' in html, target
