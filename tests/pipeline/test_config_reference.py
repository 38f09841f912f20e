"""docs/configuration.md lists all keys, and the values that the code allows."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline import config_reference

_PAGE = Path(__file__).resolve().parents[2] / 'docs' / 'configuration.md'


def test_page_is_up_to_date():
    assert _PAGE.read_text() == config_reference.reference(), 'run `make docs`'


def test_every_key_is_explained():
    rows = [line for line in config_reference.reference().splitlines() if line.startswith('| `')]
    assert len(rows) > 60
    for row in rows:
        _, key, values, default, meaning, _ = row.replace('\\|', '').split('|')
        assert values.strip() and default.strip(), key
        assert len(meaning.split()) >= 3 and meaning.strip().endswith('.'), key


@pytest.mark.parametrize(
    ('key', 'values'),
    [
        ('task', '`nih_triage`, `findings14`, `cardiomegaly`, `pneumonia_pediatric`'),
        ('data.spans', '`all`, `latest` or list of whole number, at least 0'),
        ('train.seed', 'whole number, 0 to 4294967295'),
        ('train.dropout', None),
        ('model.dropout', 'number, at least 0, below 1'),
        ('train.patience', 'whole number, at least 1 or null'),
        ('evaluation.slices', 'list of `sex`, `age_band`, `view_position`, `findings`'),
        ('kubeflow.secrets.N.name', 'text'),
    ],
)
def test_allowed_values(key: str, values: str | None) -> None:
    rows = {
        row.split(' | ')[0]: row.split(' | ')[1]
        for row in config_reference.reference().splitlines()
        if row.startswith('| `')
    }
    assert rows.get(f'| `{key}`') == values
