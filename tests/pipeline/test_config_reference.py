"""docs/configuration.md says what the code checks."""

from __future__ import annotations

from pathlib import Path

from pipeline import config_reference

_PAGE = Path(__file__).resolve().parents[2] / 'docs' / 'configuration.md'


def test_page_is_up_to_date():
    assert _PAGE.read_text() == config_reference.reference(), 'run `make docs`'


def test_every_key_is_explained():
    rows = [line for line in config_reference.reference().splitlines() if line.startswith('| `')]
    assert len(rows) > 60
    assert [row for row in rows if row.endswith('|  |')] == []
