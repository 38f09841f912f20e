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
