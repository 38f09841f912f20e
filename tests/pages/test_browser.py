"""The pages of a real root in Chromium, from disk and without a network: no error, and what a
person came for is there.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from components.evaluator.curves import POINTS
from pages import site
from pipeline.run_root import RunRoot
from tests.support import chromium as browsing
from tests.support.chromium import opened, texts

pytestmark = pytest.mark.slow

_PROJECT = Path(__file__).resolve().parents[2]
_SLICES = {'Sex: female', 'Sex: male', 'View: PA', 'View: AP'}


@pytest.fixture
def run_of(watched):
    """Folder of pages of a run, by how it ended."""
    return lambda state: browsing.run_folder(watched.pages, state)


def test_runs_end_with_the_front_page(watched):
    for name, screen in watched.screens.items():
        # Who kills a run sees no pages of it; the next run, `ui` or `report` shows it.
        assert (str(watched.pages / 'index.html') in screen) == (name != 'killed'), screen


def test_every_page_and_all_marks_of_the_run_that_pushed(browser, watched):
    # No image of this set resembles another closely enough to be shown.
    browsing.check_pushed(browser, watched.pages, _SLICES, films=False)


def test_pages_of_the_demo(browser):
    pages = RunRoot(_PROJECT / 'runs' / 'demo').pages
    if not (pages / site.FRONT).exists():
        browsing.missing(f'{pages} is not there: `make demo` makes it')
    browsing.check_pushed(browser, pages, {*_SLICES, 'Images with Effusion'})


def test_front_page_lists_every_run_with_its_ending(browser, watched):
    with opened(browser, watched.pages / 'index.html') as page:
        rows = texts(page.locator('#runs-table tbody tr'))
        assert len(rows) == 5
        cached, killed, gate, refused, pushed = rows
        assert 'served already' in cached
        assert 'killed' in killed and 'it ended in Trainer' in killed
        assert '✗ failed' in gate and 'missing_metadata' in gate
        assert (
            'not blessed' in refused
            and 'AUC of all test images is 0.' in refused
            and 'Evaluator ✗ FAIL' in refused
        )
        assert '✓ pushed' in pushed
        page.locator('#runs-table thead th').first.click()
        assert texts(page.locator('#runs-table tbody tr'))[0] == pushed


def test_tfma_draws_the_plots_of_the_slice_that_is_chosen(browser, run_of):
    with opened(browser, run_of('pushed') / 'evaluation.html') as page:
        page.locator('#tfma-plot tfma-nb-plot svg circle').first.wait_for(state='attached')
        page.locator('#plot-slice').select_option(label='View: PA')
        page.get_by_text('Plot for View: PA').wait_for()
        assert 10 < page.locator('#tfma-plot svg circle').count() <= 6 * (POINTS + 2)


def test_without_a_baseline_the_page_says_so_and_with_one_it_stands_beside(browser, run_of):
    with opened(browser, run_of('pushed') / 'evaluation.html') as page:
        assert 'Nothing was served when this run began' in page.locator('main').inner_text()
        assert 'Served model' not in texts(page.locator('#metrics-table thead th'))
    with opened(browser, run_of('not blessed') / 'evaluation.html') as page:
        assert {'Served model', 'Difference'} <= set(texts(page.locator('#metrics-table thead th')))
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


def test_data_page_of_a_run_that_the_gate_stopped(browser, run_of):
    with opened(browser, run_of('failed') / 'data.html') as page:
        assert 'The run was stopped here' in page.locator('main').inner_text()
        first = page.locator('#gate-table tbody tr').first.inner_text()
        assert '✗ failed' in first and 'missing_metadata' in first
        assert page.locator('#audit-table tbody tr').count() >= 1


def test_model_card_is_there_for_what_was_measured_and_says_why_where_not(browser, run_of):
    with opened(browser, run_of('killed') / 'model_card.html') as page:
        assert (
            'There is no model card: this run did not finish its Evaluator'
            in page.locator('main').inner_text()
        )
    assert (run_of('not blessed') / 'model_card.md').exists()


def test_lineage_of_what_is_served_already_leads_to_the_run_that_made_it(browser, run_of):
    with opened(browser, run_of('served already') / 'lineage.html') as page:
        assert 'in the run 20' in page.locator('#trace-table').inner_text()


def test_two_runs_side_by_side_and_over_time(browser, watched):
    with opened(browser, watched.pages / 'comparison.html') as page:
        assert page.locator('#compare-table tbody tr').count() == 5
        page.locator('tfma-nb-time-series svg circle').first.wait_for(state='attached')
        labels = texts(page.locator('#run-a option'))
        page.locator('#run-a').select_option(
            index=next(place for place, text in enumerate(labels) if 'pushed' in text)
        )
        page.locator('#run-b').select_option(
            index=next(place for place, text in enumerate(labels) if 'not blessed' in text)
        )
        facts = texts(page.locator('#facts-table tbody td:first-child'))
        assert 'config.train.seed' in facts and 'config.pipeline' not in facts
        page.locator('#run-b').select_option(
            index=next(place for place, text in enumerate(labels) if 'failed' in text)
        )
        assert (
            'B did not come to the end of the Evaluator'
            in page.locator('#compare-note').inner_text()
        )


def test_training_has_a_row_an_epoch_and_none_where_it_was_killed(browser, run_of):
    with opened(browser, run_of('pushed') / 'training.html') as page:
        assert page.locator('#history-table tbody tr').count() == 20
        # tests/support/small_run.yaml sets a patience.
        assert (
            'The weights with the best AUC on val are in the model'
            in page.locator('main').inner_text()
        )
    with opened(browser, run_of('killed') / 'training.html') as page:
        assert 'There are no curves' in page.locator('main').inner_text()


def test_dark_mode_and_print(browser, run_of, tmp_path):
    with opened(browser, run_of('pushed') / 'evaluation.html', color_scheme='dark') as page:
        assert page.evaluate('getComputedStyle(document.body).backgroundColor') == 'rgb(18, 22, 28)'
        page.locator('#tfma-slicing tfma-metrics-table table').wait_for()
        page.emulate_media(media='print')
        page.pdf(path=str(tmp_path / 'evaluation.pdf'))
    assert (tmp_path / 'evaluation.pdf').read_bytes().startswith(b'%PDF')
