"""The gallery page of a full-size test split in Chromium: filters, heat maps, keyboard, weight."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Locator, Page

from components.evaluator import gallery as kept_gallery
from components.evaluator.predictions import LABEL, SERVED
from pages import assets, gallery, runs, site
from pages import store as store_lib
from records import synth, thumbnails
from schemas.features import AGE, AGE_BAND, AGE_BANDS, SEX, SEXES, VIEW, VIEWS
from schemas.labels import FINDINGS
from schemas.signatures import FLAG, PROBABILITY
from tests.support import accessibility
from tests.support.chromium import opened
from tests.support.kept_gallery import write
from tests.support.synthetic_root import RootBuilder

pytestmark = pytest.mark.slow

RUN = '2026-11-21T22:25:35.123456'
# The official test list of NIH ChestX-ray14, as a run on all images has it.
_IMAGES = 25_871
_MOST_BYTES = 5_000_000
_VISIBLE = '[data-kind={}] .gallery > li:not([hidden])'
_SCROLLS = 'element => element.scrollWidth > element.clientWidth'
# The strongest part is the upper right one of three by two; the lower row says nothing.
_HEAT_MAP = [0.0, 0.5, 2.0, 0.0, 0.0, -1.0]
_ALPHA = """canvas => {
  const {width, height} = canvas;
  const {data} = canvas.getContext('2d').getImageData(0, 0, width, height);
  const alpha = (x, y) => data[4 * (Math.floor(y * height) * width + Math.floor(x * width)) + 3];
  return [alpha(0.95, 0.1), alpha(0.5, 0.1), alpha(0.05, 0.95)];
}"""


def _rows() -> Iterator[dict]:
    random = np.random.default_rng(0)
    for _ in range(_IMAGES):
        label = int(random.random() < 0.6)
        probability, served = random.beta(2 + 2 * label, 4 - 2 * label, 2)
        yield {
            LABEL: label,
            PROBABILITY: probability,
            FLAG: int(probability > 0.3),
            SERVED + PROBABILITY: served,
            SERVED + FLAG: int(served > 0.3),
            SEX: random.choice(SEXES),
            VIEW: random.choice(VIEWS),
            AGE: 50,
            AGE_BAND: random.choice(AGE_BANDS),
            **{name: int(random.random() < 0.05) for name in FINDINGS if label},
        }


@pytest.fixture(scope='module')
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page, with pictures."""
    folder = tmp_path_factory.mktemp('gallery')
    builder = RootBuilder(folder / 'root')
    builder.begin(RUN)
    (run,) = runs.all_runs(store_lib.read(builder.root))
    picture = thumbnails.jpeg(synth.encode_jpeg(synth.phantom(patient=1, size=300)))
    evaluation = write(folder, list(_rows()), picture, _HEAT_MAP)
    target = folder / 'pages'
    assets.write(target / 'assets')
    writer = site._Site(builder.root, target, False, '')
    page = f'runs/{run.slug}/gallery.html'
    context = gallery.context(run, evaluation, '')
    writer.page(page, 'gallery.html', 'gallery.html', run, context)
    pictures = target / 'runs' / run.slug / gallery.FOLDER
    pictures.mkdir()
    for name, content in gallery.pictures(evaluation):
        (pictures / name).write_bytes(content)
    return target / page


@contextmanager
def _opened(browser, path: Path, query: str = '', **settings) -> Iterator[Page]:
    with opened(browser, path, **settings) as page:
        if query:
            page.goto(path.as_uri() + query)
        yield page


def _filter(page: Page, name: str) -> Locator:
    return page.locator(f'#filters select[name={name}]')


def test_the_page_is_light_and_loads_only_the_pictures_in_sight(browser, path: Path) -> None:
    assert path.stat().st_size < _MOST_BYTES
    with _opened(browser, path) as page:
        cards = page.locator('.gallery > li')
        # Every kind has its first images, and those of each group.
        assert cards.count() > 4 * kept_gallery.FIRST
        for kind in kept_gallery.KINDS:
            assert page.locator(_VISIBLE.format(kind.replace('_', '-'))).count() == 12
        page.wait_for_function("() => document.querySelector('.gallery img').naturalWidth > 0")
        loaded = page.locator('.gallery img').evaluate_all(
            'images => images.filter(image => image.naturalWidth > 0).length'
        )
        # Those near the top, even of images that a moment later are hidden.
        assert 0 < loaded < cards.count() / 2


def test_filters_leave_the_images_that_match_all_of_them(browser, path: Path) -> None:
    with _opened(browser, path) as page:
        _filter(page, 'sex').select_option(label='male')
        _filter(page, 'finding').select_option(label='Pleural Thickening')
        visible = page.locator(_VISIBLE.format('missed'))
        shown = visible.count()
        assert shown >= kept_gallery.FIRST_IN_GROUP // 4
        assert visible.evaluate_all(
            "cards => cards.every(card => card.dataset.sex === 'M'"
            " && card.dataset.findings.split('|').includes('Pleural_Thickening'))"
        )
        status = page.locator('[data-kind=missed] [role=status]')
        which = 'Sex: male, Finding: Pleural Thickening'
        assert status.inner_text() == f'{shown} of {shown} pictures ({which}) are shown.'
        # Negative images have no findings.
        assert page.locator(_VISIBLE.format('false-alarm')).count() == 0
        _filter(page, 'finding').select_option(label='all')
        assert visible.count() == 12


def test_a_link_can_set_the_filters(browser, path: Path) -> None:
    with _opened(browser, path, '?sex=F&view_position=AP&age_band=no-such#borderline') as page:
        assert _filter(page, 'sex').input_value() == 'F'
        assert _filter(page, 'view_position').input_value() == 'AP'
        assert _filter(page, 'age_band').input_value() == ''
        assert (
            page.locator(
                '[data-kind=borderline] .gallery > li:not([hidden]):not([data-sex=F])'
            ).count()
            == 0
        )


def test_a_heat_map_is_drawn_over_the_picture_on_demand(browser, path: Path) -> None:
    with _opened(browser, path) as page:
        card = page.locator(_VISIBLE.format('missed')).first
        assert page.locator('canvas').count() == 0
        before = card.locator('.picture').screenshot()
        button = card.get_by_role('button', name='Heat map')
        button.focus()
        page.keyboard.press('Enter')
        assert button.get_attribute('aria-pressed') == 'true'
        strongest, weaker, none = card.locator('canvas').evaluate(_ALPHA)
        assert strongest > 150 > weaker > 20 > none
        assert card.locator('.picture').screenshot() != before
        picture, canvas = (card.locator(name).bounding_box() for name in ('img', 'canvas'))
        assert picture == canvas
        page.keyboard.press('Enter')
        assert button.get_attribute('aria-pressed') == 'false'
        assert page.locator('canvas').count() == 0


def test_all_heat_maps_are_drawn_on_the_images_in_sight(browser, path: Path) -> None:
    with _opened(browser, path) as page:
        everything = page.get_by_label('All heat maps')
        everything.check()
        assert page.locator('canvas').count() == page.locator('.gallery > li:not([hidden])').count()
        _filter(page, 'view_position').select_option('AP')
        assert page.locator('.gallery > li:not([hidden]):not(:has(canvas))').count() == 0
        everything.uncheck()
        assert page.locator('canvas').count() == 0


def test_the_keyboard_goes_on_at_the_first_new_image(browser, path: Path) -> None:
    with _opened(browser, path) as page:
        missed = page.locator('[data-kind=missed]')
        more = missed.get_by_role('button', name='Show more')
        while more.is_visible():
            shown = page.locator(_VISIBLE.format('missed')).count()
            more.focus()
            page.keyboard.press('Enter')
            focused = page.evaluate(
                '[...document.querySelectorAll("[data-kind=missed] .gallery > li:not([hidden])")]'
                '.indexOf(document.activeElement)'
            )
            assert focused == shown
        assert missed.locator('.gallery > li[hidden]').count() == 0


@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_axe_finds_nothing_and_no_screen_is_too_narrow(browser, path: Path, scheme: str) -> None:
    with _opened(browser, path, color_scheme=scheme) as page:
        page.get_by_label('All heat maps').check()
        for width in (1280, 400):
            page.set_viewport_size({'width': width, 'height': 900})
            assert not page.locator('html').evaluate(_SCROLLS), width
            assert accessibility.violations(page, from_disk=True) == []
        page.emulate_media(media='print')
        assert not _filter(page, 'sex').is_visible()
        assert page.locator('[data-kind=missed] .picture').first.is_visible()
