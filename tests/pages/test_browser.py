"""The pages of real runs in Chromium, offline from disk: no errors and complete content."""

from __future__ import annotations

import csv
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
def run_of(real_runs):
    """Returns a function: final state of a run -> the folder of its pages."""
    return lambda state: browsing.run_folder(real_runs.pages, state)


def test_a_run_prints_the_path_of_the_front_page(real_runs):
    for name, screen in real_runs.screens.items():
        # A killed run writes no pages; the next run, `ui` or `report` does.
        assert (str(real_runs.pages / 'index.html') in screen) == (name != 'killed'), screen


def test_all_pages_and_plots_of_the_pushed_run(browser, real_runs):
    # The audit finds no near copies in this data set, so it shows no images.
    browsing.check_pushed(browser, real_runs.pages, _SLICES, images=False)


def test_all_pages_of_the_demo(browser):
    pages = RunRoot(_PROJECT / 'runs' / 'demo').pages
    if not (pages / site.FRONT).exists():
        browsing.missing(f'{pages} does not exist: run `make demo`')
    browsing.check_pushed(browser, pages, {*_SLICES, 'Images with Effusion'})


def test_front_page_lists_every_run_with_its_outcome(browser, real_runs):
    with opened(browser, real_runs.pages / 'index.html') as page:
        rows = texts(page.locator('#runs-table tbody tr'))
        assert len(rows) == 5
        cached, killed, gate, refused, pushed = rows
        assert 'served already' in cached
        assert 'killed' in killed and 'it ended in Trainer' in killed
        assert '✗ failed' in gate and 'missing_metadata' in gate
        assert (
            'not blessed' in refused
            and 'auc on all is 0.' in refused
            and 'Evaluator ✗ FAIL' in refused
        )
        assert '✓ pushed' in pushed
        page.locator('#runs-table thead th', has_text='When').click()
        assert texts(page.locator('#runs-table tbody tr'))[0] == pushed


def test_runs_are_filtered_and_selected_with_the_keyboard(browser, real_runs):
    with opened(browser, real_runs.pages / 'index.html') as page:
        shown = page.locator('#runs-table tbody tr:visible')
        page.locator('#filter-state').select_option('not blessed')
        assert len(texts(shown)) == 1 and 'two epochs' in texts(shown)[0]
        page.locator('#filter-state').select_option('')
        page.locator('#filter-words').fill('two epochs luck')
        assert shown.count() == 1
        shown.locator('input').focus()
        page.keyboard.press('Space')
        page.locator('#filter-words').fill('')
        assert page.locator('#runs-status').inner_text() == '5 of 5 shown, 1 selected'
        last = page.locator('#runs-table tbody tr', has_text='✓ pushed').locator('input')
        last.focus()
        page.keyboard.press('Space')
        # The selection is in the address: it survives a reload, and leads the comparison page.
        page.reload()
        assert last.is_checked()
        page.locator('#compare').click()
        page.locator('#plots figure').first.wait_for()
        labels = texts(page.locator('#legend li'))
        assert len(labels) == 2 and 'two epochs' in labels[0] and 'pushed' in labels[1]


def test_settings_that_differ_are_columns_and_missing_values_sort_last(browser, real_runs):
    with opened(browser, real_runs.pages / 'index.html') as page:
        table = page.locator('#runs-table')
        page.locator('#columns summary').click()
        for box in page.locator('#columns input').all():
            box.check()
        keys = texts(table.locator('th[data-setting]'))
        assert {'train.seed', 'train.epochs', 'data.metadata'} <= set(keys)
        assert 'pipeline' not in keys and 'root' not in keys
        refused = table.locator('tbody tr', has_text='two epochs')
        assert refused.locator('td[data-setting="train.seed"] b').inner_text() == '1'
        # Ascending and descending: the runs without an evaluation come last.
        heading = table.locator('thead th', has_text='AUC').first
        for _ in range(2):
            heading.click()
            column = heading.evaluate('cell => cell.cellIndex')
            cells = texts(table.locator(f'tbody tr td:nth-child({column + 1})'))
            assert [cell == '–' for cell in cells] == [False, False, False, True, True]
        page.locator('thead th', has_text='Duration').click()
        seconds = table.locator('tbody td[data-sort]').evaluate_all(
            'cells => cells.map(cell => parseFloat(cell.dataset.sort))'
        )
        assert seconds == sorted(seconds)


def test_tfma_plots_the_selected_slice(browser, run_of):
    with opened(browser, run_of('pushed') / 'evaluation.html') as page:
        page.locator('#tfma-plot tfma-nb-plot svg circle').first.wait_for(state='attached')
        page.locator('#plot-slice').select_option(label='View: PA')
        page.get_by_text('Plot for View: PA').wait_for()
        assert 10 < page.locator('#tfma-plot svg circle').count() <= 6 * (POINTS + 2)


def test_evaluation_page_with_and_without_a_baseline(browser, run_of):
    with opened(browser, run_of('pushed') / 'evaluation.html') as page:
        assert 'No model was served when this run began' in page.locator('main').inner_text()
        assert 'Served model' not in texts(page.locator('#metrics-table thead th'))
    with opened(browser, run_of('not blessed') / 'evaluation.html') as page:
        assert {'Served model', 'Difference'} <= set(texts(page.locator('#metrics-table thead th')))
        page.locator('#tfma-slicing tfma-metrics-table table').wait_for()
        assert any('(served)' in text for text in texts(page.locator('#tfma-slicing thead th')))
        assert 'served model' in ' '.join(page.locator('#curves ~ .plots text').all_text_contents())
        page.locator('#plot-output').select_option(label='probability, served model')
        page.get_by_text('served model').last.wait_for()


def test_predictions_of_each_test_image_are_beside_the_page(browser, run_of):
    with opened(browser, run_of('not blessed') / 'evaluation.html') as page:
        links = page.locator('#predictions a')
        names = [link.get_attribute('href') for link in links.all()]
        assert names == ['predictions.csv', 'predictions.json']
        shown = texts(page.locator('#confusion td b'))[1]
    with (run_of('not blessed') / 'predictions.csv').open(newline='') as file:
        rows = list(csv.DictReader(file))
    # The page and the predictions count alike.
    missed = sum(row['label'] == '1' and row['flag'] == '0' for row in rows)
    assert missed == int(shown.replace(',', ''))
    assert len({row['image_id'] for row in rows}) == len(rows)
    assert all(row['status'] == row['served_status'] == 'ok' for row in rows)
    assert any(row['probability'] != row['served_probability'] for row in rows)


def test_gallery_of_a_run_with_a_served_model(browser, run_of):
    with (run_of('not blessed') / 'predictions.csv').open(newline='') as file:
        rows = list(csv.DictReader(file))
    with opened(browser, run_of('not blessed') / 'gallery.html') as page:
        for name, expected in {
            'missed': [row for row in rows if row['label'] == '1' and row['flag'] == '0'],
            'false-alarm': [row for row in rows if row['label'] == '0' and row['flag'] == '1'],
            'changed': [row for row in rows if row['flag'] != row['served_flag']],
        }.items():
            section = page.locator(f'[data-kind={name}]')
            assert section.locator('p').first.inner_text().startswith(f'{len(expected)} '), name
            names = section.locator('img').evaluate_all('images => images.map(image => image.alt)')
            assert set(names) <= {f'Chest X-ray {row["image_id"]}' for row in expected}
            assert bool(names) == bool(expected)
    with opened(browser, run_of('killed') / 'gallery.html') as page:
        assert 'did not finish its Evaluator' in page.locator('main').inner_text()


def test_data_page_of_a_pushed_run(browser, run_of):
    with opened(browser, run_of('pushed') / 'data.html') as page:
        for by in ('split', 'view', 'sex', 'age'):
            assert page.locator(f'#prevalence-{by} tbody tr').count() == 16, by
        assert page.locator('#cooccurrence-table tbody tr').count() > 3
        assert page.locator('#schema-table tbody tr').count() > 15
        page.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")
        names = set(texts(page.locator('#statistics-table tbody td:first-child')))
        assert {'image', 'age', 'sex'} <= names
        page.locator('.search input').first.fill('Effusion')
        page.locator('#audit-link').click()
        page.wait_for_load_state('load')
        assert 'Data audit' in page.locator('h1').inner_text()
        page.get_by_text('Data of this run').click()
        assert page.locator('h1').inner_text() == 'Data'


def test_data_page_of_a_run_that_failed_the_data_gate(browser, run_of):
    with opened(browser, run_of('failed') / 'data.html') as page:
        assert 'The run stopped here' in page.locator('main').inner_text()
        first_row = page.locator('#gate-table tbody tr').first.inner_text()
        assert '✗ above its limit' in first_row and 'missing_metadata' in first_row
        assert page.locator('.problem').count() >= 1


def test_model_card_of_an_evaluated_and_of_a_killed_run(browser, run_of):
    with opened(browser, run_of('killed') / 'model_card.html') as page:
        assert (
            'There is no model card: this run did not finish its Evaluator'
            in page.locator('main').inner_text()
        )
    assert (run_of('not blessed') / 'model_card.md').exists()


def test_lineage_of_a_cached_run_names_the_run_that_trained_the_model(browser, run_of):
    with opened(browser, run_of('served already') / 'lineage.html') as page:
        assert 'in the run 20' in page.locator('#trace-table').inner_text()


def test_comparison_page_overlays_the_selected_runs(browser, real_runs):
    with opened(browser, real_runs.pages / 'comparison.html') as page:
        assert page.locator('#compare-table tbody tr').count() == 5
        page.locator('tfma-nb-time-series svg circle').first.wait_for(state='attached')
        # The two runs with evaluations of their own are selected at first, the older one first.
        captions = page.locator('#plots figcaption')
        captions.first.wait_for()
        assert {'ROC', 'Reliability', 'Loss', 'AUC'} == {
            text.split()[0] for text in texts(captions)
        }
        for figure in page.locator('#plots figure').all():
            for number in range(2):
                assert figure.locator(f'polyline.s{number}').count() == 1
        facts = texts(page.locator('#facts-table tbody td:first-child'))
        assert 'config.train.seed' in facts and 'config.pipeline' not in facts
        # The run that the data gate stopped: only what it recorded differs.
        page.locator('#runs label', has_text='failed').locator('input').check()
        assert 'did not finish its Evaluator: no metrics' in texts(page.locator('#legend li'))[2]
        page.locator('#curves-note:visible').wait_for()
        assert 'has no curves: its state is "failed"' in page.locator('#curves-note').inner_text()
        for other in ('served already', 'not blessed'):
            page.locator('#runs label', has_text=other).locator('input').uncheck()
        assert 'Select another run' in page.locator('#facts-note').inner_text()


def test_comparison_shows_no_invented_differences(browser, real_runs):
    with opened(browser, real_runs.pages / 'comparison.html') as page:
        boxes = {
            state: page.locator('#runs label', has_text=state).locator('input')
            for state in ('pushed', 'not blessed', 'failed')
        }
        boxes['not blessed'].uncheck()
        boxes['failed'].check()
        facts = texts(page.locator('#facts-table tbody td:first-child'))
        assert {'config.data.metadata', 'config.gate.max_share.missing_metadata'} <= set(facts)
        assert not {'served_version', 'model', 'code.Pusher', 'schema'} & set(facts)


def test_training_page_of_a_finished_and_of_a_killed_training(browser, run_of):
    with opened(browser, run_of('pushed') / 'training.html') as page:
        assert page.locator('#history-table tbody tr').count() == 20
        # tests/support/small_run.yaml sets a patience.
        assert (
            'The weights with the best AUC on val are in the model'
            in page.locator('main').inner_text()
        )
    with opened(browser, run_of('killed') / 'training.html') as page:
        assert 'did not finish training' in page.locator('main').inner_text()
        assert page.locator('#history-table tbody tr').count() >= 1
        assert page.locator('figure svg .s0').count() >= 2


def test_the_table_of_contents_leads_to_the_sections(browser, run_of):
    with opened(browser, run_of('pushed') / 'data.html') as page:
        bar = page.get_by_role('navigation', name='On this page')
        # With the keyboard alone, from the top of the page.
        bar.get_by_role('link', name='Prevalence by split').focus()
        page.keyboard.press('Enter')
        heading = page.locator('h2#prevalence')
        heading.wait_for()
        page.wait_for_function(
            "document.querySelector('#prevalence').getBoundingClientRect().top < 600"
        )
        # The bar stays in view and does not cover the heading.
        assert bar.bounding_box()['y'] < 80
        assert heading.bounding_box()['y'] > bar.bounding_box()['y'] + bar.bounding_box()['height']
        bar.locator('a[aria-current=location]', has_text='Prevalence').wait_for()


def test_dark_mode_and_print(browser, run_of, tmp_path):
    with opened(browser, run_of('pushed') / 'evaluation.html', color_scheme='dark') as page:
        assert page.evaluate('getComputedStyle(document.body).backgroundColor') == 'rgb(18, 22, 28)'
        page.locator('#tfma-slicing tfma-metrics-table table').wait_for()
        page.emulate_media(media='print')
        page.pdf(path=str(tmp_path / 'evaluation.pdf'))
    assert (tmp_path / 'evaluation.pdf').read_bytes().startswith(b'%PDF')
