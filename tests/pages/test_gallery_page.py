"""The gallery page: its cards, filters and pictures."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from components.evaluator import gallery as kept_gallery
from components.evaluator.predictions import LABEL, SERVED, probability_of
from pages import gallery, runs
from pages import store as store_lib
from pages.measured import Evaluation
from pages.runs import Run
from schemas.features import AGE, AGE_BAND, SEX, UNKNOWN, VIEW
from schemas.signatures import FLAG, PROBABILITY
from tests.support.kept_gallery import write
from tests.support.synthetic_root import RootBuilder

RUN = '2026-11-21T22:25:35.123456'
MISS = {LABEL: 1, PROBABILITY: 0.05, 'Effusion': 1, 'Mass': 1}
FALSE_ALARM = {LABEL: 0, PROBABILITY: 0.9, FLAG: 1}


@pytest.fixture
def run(builder: RootBuilder) -> Run:
    """A run that has done nothing of interest."""
    builder.begin(RUN)
    (only,) = runs.all_runs(store_lib.read(builder.root))
    return only


def _jpeg() -> bytes:
    stream = io.BytesIO()
    Image.new('L', (60, 40), 90).save(stream, 'JPEG')
    return stream.getvalue()


def test_a_card_says_what_is_known_about_an_image(run: Run, tmp_path: Path) -> None:
    served = {SERVED + FLAG: 1, SERVED + PROBABILITY: 0.7}
    person = {AGE: 63, AGE_BAND: '60-79', SEX: 'M', VIEW: UNKNOWN}
    model = {probability_of('Effusion'): 0.2, probability_of('Mass'): 0.6}
    rows = [MISS | served | person | model, FALSE_ALARM]
    heat_map = [-1.0, 0.0, 2.0, 4.0, 1.0, 0.0]
    evaluation = write(
        tmp_path, rows, _jpeg(), heat_map, findings=('Effusion', 'Mass'), without={1}
    )
    context = gallery.context(run, evaluation, '')
    missed, false_alarms, borderline, changed = context['sections']
    sections = [section.name for section in context['sections']]
    assert sections == ['missed', 'false-alarm', 'borderline', 'changed']
    (card,) = missed.cards
    assert changed.cards[1] == card and len(borderline.cards) == 2
    assert (card.image_id, card.flagged, card.positive) == ('00000.png', False, True)
    assert card.probability == pytest.approx(0.05)
    assert card.served == (pytest.approx(0.7), True)
    assert card.findings == ['Effusion', 'Mass']
    assert list(card.predicted) == ['Mass', 'Effusion']
    assert card.person == '63 years, male'
    assert card.groups == {SEX: 'M', VIEW: UNKNOWN, AGE_BAND: '60-79'}
    assert (card.thumbnail, card.size) == ('gallery/0.jpg', (60, 40))
    # Log-odds below 0 are 0; the highest is 255.
    width, content = card.heat_map.split(':')
    assert (width, list(base64.b64decode(content))) == ('3', [0, 0, 128, 255, 64, 0])
    assert dict(gallery.pictures(evaluation)) == {'0.jpg': _jpeg()}
    # The other image has no picture to draw a heat map on.
    assert (false_alarms.cards[0].thumbnail, false_alarms.cards[0].heat_map) == ('', None)


def test_a_heat_map_without_a_part_above_0_is_no_missing_one(run: Run, tmp_path: Path) -> None:
    evaluation = write(tmp_path, [MISS], _jpeg(), [-1.0, 0.0, -2.0])
    context = gallery.context(run, evaluation, '')
    assert context['has_heat_maps'] and context['sections'][0].cards[0].heat_map == ''


def test_filters_offer_only_what_some_image_has(run: Run, tmp_path: Path) -> None:
    evaluation = write(tmp_path, [MISS, FALSE_ALARM | {SEX: 'M', VIEW: 'AP'}], _jpeg(), None)
    context = gallery.context(run, evaluation, '')
    assert context['filters'] == [
        (SEX, 'Sex', [('F', 'female'), ('M', 'male')]),
        (VIEW, 'View', [('PA', 'PA'), ('AP', 'AP')]),
        (AGE_BAND, 'Age', [('40-59', '40–59')]),
        ('finding', 'Finding', [('Effusion', 'Effusion'), ('Mass', 'Mass')]),
    ]
    assert not context['has_heat_maps']


def test_a_section_says_how_many_images_are_of_its_kind(run: Run, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    rows = [FALSE_ALARM | {PROBABILITY: value} for value in random.uniform(0.5, 1, 200)]
    evaluation = write(tmp_path, [*rows, {LABEL: None}], _jpeg(), None)
    context = gallery.context(run, evaluation, '')
    section = context['sections'][1]
    assert (
        section.text.startswith('200 negative images') and len(section.cards) == kept_gallery.FIRST
    )
    assert (context['images'], context['left_out']) == (201, 1)
    shown = [card.probability for card in section.cards]
    assert shown == sorted(shown, reverse=True)


def test_without_a_gallery_the_page_says_why(run: Run, tmp_path: Path) -> None:
    assert gallery.context(run, None, 'the run was killed') == {'missing': 'the run was killed'}
    evaluation = Evaluation(str(tmp_path), (), (), 0.95)
    assert 'earlier version' in gallery.context(run, evaluation, '')['missing']
    assert list(gallery.pictures(evaluation)) == []
