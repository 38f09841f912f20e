"""The threshold page: exact figures at any threshold, for every slice."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from playwright.sync_api import Page

from components.evaluator.results import CANDIDATE, Confusion
from pages import assets, names, runs, site, threshold_counts, threshold_page
from pages import store as store_lib
from pages.measured import Evaluation, EvaluationError
from pages.runs import Run
from tests.support import accessibility, predicted_images
from tests.support.chromium import opened, texts
from tests.support.predicted_images import KEYS, OPERATING_POINT
from tests.support.synthetic_root import RootBuilder
from trainer.artifacts import MODEL_INFO_FILE

_MOVE = '(slider, index) => {slider.value = index; slider.dispatchEvent(new Event("input"))}'
FIRST = '2026-11-21T08:00:00.000001'


@pytest.fixture(scope='module')
def kept() -> pd.DataFrame:
    return predicted_images.table(2000)


@pytest.fixture
def evaluation(kept: pd.DataFrame, tmp_path: Path) -> Evaluation:
    return predicted_images.evaluation(kept, tmp_path)


@pytest.fixture
def run(builder: RootBuilder) -> Run:
    """A run whose model has an operating point."""
    outputs = builder.step(FIRST, 'Trainer', outputs={'model': {}})
    model = builder.folder('Trainer', 'model', outputs['model'])
    path = model / 'Format-Serving' / MODEL_INFO_FILE
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({'operating_point': {'threshold': OPERATING_POINT}}))
    builder.step(FIRST, 'XrayExampleGen', parameters={'task': 'nih_triage'})
    builder.record(FIRST, state='pushed')
    (only,) = runs.all_runs(store_lib.read(builder.root))
    return only


def _confusion(images: pd.DataFrame, threshold: float) -> Confusion:
    """Counted one image after the other, as the model compares: in float32."""
    flagged = images['probability'].to_numpy(np.float32) >= np.float32(threshold)
    positive = images['label'].to_numpy() == 1
    cells = (flagged & positive, flagged & ~positive, ~flagged & positive, ~flagged & ~positive)
    return Confusion(*(int(cell.sum()) for cell in cells))


def test_thresholds_include_round_ones_quantiles_and_the_models_own(kept: pd.DataFrame) -> None:
    levels = threshold_counts.thresholds(kept['probability'].to_numpy(), OPERATING_POINT)
    assert (np.diff(levels) > 0).all()
    assert {np.float32(0), np.float32(0.35), np.float32(OPERATING_POINT), np.float32(1)} <= {
        *levels
    }
    # Between two thresholds lies no more than half a percent of the images.
    cells = np.histogram(kept['probability'][kept['status'] == 'ok'], levels)[0]
    assert cells.max() <= 0.005 * len(kept)


def test_counts_give_the_confusion_matrix_at_every_threshold(
    kept: pd.DataFrame, evaluation: Evaluation
) -> None:
    levels = threshold_counts.thresholds(kept['probability'].to_numpy(), OPERATING_POINT)
    counted = threshold_counts.count(kept, evaluation.slices, levels)
    assert [counts.key for counts in counted] == list(KEYS)
    for counts in counted:
        images = predicted_images.inside(kept, counts.key)
        assert counts.not_assessed == (images['status'] != 'ok').sum()
        for index, level in enumerate(levels):
            assert counts.confusion(index) == _confusion(images, level)


def test_the_operating_point_has_the_figures_of_the_evaluation(
    run: Run, evaluation: Evaluation
) -> None:
    content = threshold_page.context(run, evaluation)
    assert content['missing'] == '' and content['left_out'] == []
    assert content['operating_point'] == '0.4137'
    index = content['content']['operating_point']
    assert content['content']['thresholds'][index] == pytest.approx(OPERATING_POINT)
    for counts, measured in zip(content['content']['slices'], evaluation.slices, strict=True):
        assert counts['title'] == names.slice_title(measured.key)
        assert sum(counts['positives'][index:]) == measured.confusion[CANDIDATE].true_positives
        assert sum(counts['negatives'][index:]) == measured.confusion[CANDIDATE].false_positives


def test_predictions_of_another_evaluation_are_an_error(run: Run, evaluation: Evaluation) -> None:
    women = evaluation.slices[1]
    counts = women.confusion[CANDIDATE]
    women.confusion[CANDIDATE] = dataclasses.replace(
        counts, true_positives=counts.true_positives + 1
    )
    with pytest.raises(EvaluationError, match=r'sex=F.*but the evaluation has.*Run the'):
        threshold_page.context(run, evaluation)


def test_a_slice_whose_feature_was_not_kept_is_named(
    run: Run, kept: pd.DataFrame, tmp_path: Path
) -> None:
    evaluation = predicted_images.evaluation(kept, tmp_path)
    without = kept.drop(columns='Mass')
    predicted_images.evaluation(without, tmp_path, keys=())
    content = threshold_page.context(run, evaluation)
    assert content['left_out'] == ['Images with Mass']
    assert len(content['content']['slices']) == len(KEYS) - 1


def test_why_there_are_no_figures(
    run: Run, builder: RootBuilder, kept: pd.DataFrame, tmp_path: Path
) -> None:
    def missing(evaluation: Evaluation) -> str:
        return threshold_page.context(run, evaluation)['missing']

    empty = tmp_path / 'empty'
    empty.mkdir()
    assert 'an earlier version' in missing(Evaluation(str(empty), (), (), 0.95))
    broken = kept.assign(probability=np.where(kept.index < 2, np.nan, kept['probability']))
    assert '2 images a probability that is not' in missing(
        predicted_images.evaluation(broken, tmp_path)
    )
    evaluation = predicted_images.evaluation(kept, tmp_path)
    next(builder.root.rglob(Path(MODEL_INFO_FILE).name)).unlink()
    assert 'no longer exist' in missing(evaluation)


def _figures(confusion: Confusion, prevalence: float | None) -> list[str]:
    """The figures of the page, from a confusion matrix."""
    tp, fp = confusion.true_positives, confusion.false_positives
    fn, tn = confusion.false_negatives, confusion.true_negatives
    positives, negatives = confusion.positives, confusion.negatives
    sensitivity = f'{tp / positives:.3f}' if positives else 'not defined: no image is abnormal'
    specificity = f'{tn / negatives:.3f}' if negatives else 'not defined: no image is normal'
    own = prevalence is None
    if prevalence is not None and positives and negatives:
        tp, fn = (prevalence * number / positives for number in (tp, fn))
        fp, tn = ((1 - prevalence) * number / negatives for number in (fp, tn))
    all_images = tp + fp + fn + tn
    one_class = '' if positives and negatives else 'not defined: all images are abnormal'
    ppv = f'{tp / (tp + fp):.3f}' if tp + fp else 'not defined: no image is flagged'
    npv = f'{tn / (tn + fn):.3f}' if tn + fn else 'not defined: every image is flagged'
    shares = [
        f'{(tp + fp) / all_images:.3f}',
        f'{1000 * fn / all_images:.1f}',
        f'{1000 * fp / all_images:.1f}',
    ]
    if not own and one_class:
        shares = [one_class] * 3
    return [sensitivity, specificity, one_class or ppv, one_class or npv, *shares]


@pytest.fixture
def page(
    browser, run: Run, evaluation: Evaluation, builder: RootBuilder, tmp_path: Path
) -> Iterator[Page]:
    """The page in Chromium."""
    folder = tmp_path / 'pages'
    assets.write(folder / 'assets')
    name = 'runs/one/threshold.html'
    written = site._Site(builder.root, folder, False, '')
    context = threshold_page.context(run, evaluation)
    written.page(name, 'threshold.html', 'threshold.html', run, context)
    with opened(browser, folder / name) as page:
        yield page


def _shown(page: Page, column: int) -> list[str]:
    """The figures of a column; instead of a dash the reason, from below the title of the row."""
    cells = texts(page.locator(f'#figures tbody td:nth-child({column})'))
    notes = texts(page.locator('#figures tbody small'))
    return [note if cell == '–' else cell for cell, note in zip(cells, notes, strict=True)]


@pytest.mark.slow
def test_the_script_shows_what_python_computes(page: Page, kept: pd.DataFrame) -> None:
    levels = threshold_counts.thresholds(kept['probability'].to_numpy(), OPERATING_POINT)
    for key in KEYS:
        images = predicted_images.inside(kept, key)
        page.locator('#slice').select_option(label=names.slice_title(key))
        page.get_by_role('button', name='Prevalence of these images').click()
        at_point = _figures(_confusion(images, OPERATING_POINT), None)
        for index in (0, 40, 173, len(levels) - 1):
            page.locator('#slider').evaluate(_MOVE, index)
            assert _shown(page, 2) == _figures(_confusion(images, levels[index]), None)
            assert _shown(page, 3) == at_point
        page.locator('#prevalence').fill('2.5')
        assert _shown(page, 2) == _figures(_confusion(images, levels[-1]), 0.025)
        assert _shown(page, 3) == _figures(_confusion(images, OPERATING_POINT), 0.025)
    page.locator('#prevalence').fill('120')
    assert _shown(page, 2)[2] == 'not defined: the prevalence must be from 0 to 100 %'


@pytest.mark.slow
def test_the_page_is_operated_by_keyboard(page: Page) -> None:
    position = 'slider => Number(slider.value)'
    slider, field = page.locator('#slider'), page.locator('#threshold')
    point = slider.evaluate(position)
    assert field.input_value() == '0.4137'
    page.locator('#slice').focus()
    page.keyboard.press('ArrowDown')
    assert page.locator('#of').inner_text() == 'Sex: female'
    page.keyboard.press('Tab')
    page.keyboard.type('0.35')
    assert slider.evaluate(position) < point
    assert page.locator('circle.here').get_attribute('cx') is not None
    page.keyboard.press('Tab')
    assert page.evaluate('document.activeElement.id') == 'prevalence'
    page.keyboard.press('Tab')
    assert page.evaluate('document.activeElement.id') == 'to-operating-point'
    page.keyboard.press('Enter')
    assert slider.evaluate(position) == point
    slider.focus()
    page.keyboard.press('ArrowRight')
    assert slider.evaluate(position) == point + 1
    assert 'sensitivity 0.' in slider.get_attribute('aria-valuetext')
    page.keyboard.press('End')
    assert field.input_value() == '1.0000'


@pytest.mark.slow
def test_images_that_the_model_could_not_assess_are_named(page: Page, kept: pd.DataFrame) -> None:
    count = (kept['status'] != 'ok').sum()
    assert f'could not assess {count} of these images' in page.locator('#not-assessed').inner_text()


@pytest.mark.slow
def test_the_page_is_accessible_and_fits_a_phone(page: Page) -> None:
    assert accessibility.violations(page, from_disk=True) == []
    page.set_viewport_size({'width': 400, 'height': 800})
    assert not page.locator('html').evaluate('element => element.scrollWidth > element.clientWidth')
