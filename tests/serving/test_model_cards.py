"""The gateway finds the model card of a version, and says why it cannot read one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pages.card import ModelCard
from pipeline import run_record
from pipeline.run_root import RunRoot
from serving.gateway import model_cards
from tests.pages.test_card import card_parts
from tests.support import push_targets

RUN = '2026-11-21T08:00:00.000001'


@pytest.fixture
def card(tmp_path: Path) -> tuple[RunRoot, int, Path]:
    """A run root, its only version, and the file with the card of that version."""
    root = RunRoot(tmp_path / 'root')
    pushed = push_targets.push.publish(
        push_targets.model(tmp_path / 'model'), str(root.serving), push_targets.maker(run_id=RUN)
    )
    parts = card_parts()
    parts['details']['served_as'] = f'version {pushed.version}'
    path = root.pages / 'runs' / run_record.run_id(RUN) / 'model_card.json'
    path.parent.mkdir(parents=True)
    path.write_text(ModelCard.model_validate(parts).model_dump_json(), encoding='utf-8')
    return root, int(pushed.version), path


def test_the_card_of_a_version(card: tuple[RunRoot, int, Path]) -> None:
    root, version, path = card
    found = model_cards.find(str(root.serving), version)
    assert found and found.details.served_as == f'version {version}'
    assert model_cards.find(str(root.serving), version + 1) is None
    path.unlink()
    assert model_cards.find(str(root.serving), version) is None


def test_a_card_of_another_release_says_what_to_do(card: tuple[RunRoot, int, Path]) -> None:
    root, version, path = card
    content = json.loads(path.read_text(encoding='utf-8'))
    # Format 3 had no such field.
    del content['details']['run']
    path.write_text(json.dumps(content | {'format': 3}), encoding='utf-8')
    with pytest.raises(model_cards.UnreadableCardError) as error:
        model_cards.find(str(root.serving), version)
    assert f'version {version} cannot be read' in str(error.value)
    assert f'"cxr-triage report --root {root.path}"' in str(error.value)


@pytest.mark.parametrize('damage', [b'{', b'\xff'])
def test_a_damaged_card_says_what_to_do(card: tuple[RunRoot, int, Path], damage: bytes) -> None:
    root, version, path = card
    path.write_bytes(damage)
    with pytest.raises(model_cards.UnreadableCardError, match='damaged'):
        model_cards.find(str(root.serving), version)


def test_a_recalibrated_version_has_the_card_of_the_trained_one(
    card: tuple[RunRoot, int, Path], tmp_path: Path
) -> None:
    root, version, _ = card
    about = {
        'of_version': str(version),
        'data': '/data/new',
        'spans': (3,),
        'fingerprint': 'f',
        'images': 200,
        'patients': 90,
        'positives': 80,
        'prevalence': 0.4,
        'left_out': {},
        'before': {'abnormal': {'offset': 0.0, 'temperature': 1.0}},
        'after': {'abnormal': {'offset': 0.4, 'temperature': 1.3}},
        'threshold_before': 0.2,
        'threshold_after': 0.25,
        'served_metrics': {},
        'gate': ('log loss: lower',),
        'by': 'ann',
    }
    names = ('calibration_error', 'calibration_ratio', 'brier_score', 'sensitivity', 'specificity')
    make = push_targets.maker(
        run_id=RUN,
        recalibration=about,
        metrics={**dict.fromkeys(names, 0.5), 'precision': 0.5},
        packages={'tensorflow': '2'},
    )
    other = push_targets.model(tmp_path / 'recalibrated', 'other')
    pushed = push_targets.push.publish(other, str(root.serving), make)
    found = model_cards.find(str(root.serving), int(pushed.version))
    assert found
    text = (
        f'recalibration of version {version} by ann, on 200 images of 90 patients (40.0% positive)'
    )
    assert text in found.details.served_as and text in found.calibration.method
    assert (found.calibration.temperature, found.operating_point.threshold) == (1.3, 0.25)
    assert found.operating_point.chosen_on.endswith('(80 positive and 120 negative)')
    assert found.decisions.evaluator[-1] == 'recalibration: log loss: lower'
