"""Predictions and tables as CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.evaluator import predictions as kept
from pages import predictions, site
from pages.measured import Evaluation
from tests.pages.test_site import FIRST
from tests.support.chromium import opened
from tests.support.synthetic_root import STATES, RootBuilder

_ROWS = [
    {'image_id': 'b.png', 'age': 40, 'label': 1, 'probability': 0.5, 'flag': 1, 'Mass': 0},
    {'image_id': '=a.png', 'age': -1, 'label': 0, 'probability': None, 'flag': 1, 'Mass': 1},
]


def _files(folder: Path) -> dict[str, str]:
    return predictions.files(Evaluation(str(folder), (), (), 0.95))


def test_predictions_are_sorted_and_safe(tmp_path: Path) -> None:
    assert _files(tmp_path) == {}
    schema = pa.schema(list(kept.columns(('Mass',), has_served=True).items()))
    rows = [{**dict.fromkeys(schema.names), **row} for row in _ROWS]
    pq.write_table(pa.Table.from_pylist(rows, schema), tmp_path / 'predictions-00000.parquet')
    files = _files(tmp_path)
    first, second = csv.DictReader(io.StringIO(files[predictions.CSV]))
    assert list(first) == schema.names
    # A spreadsheet must not run an image id.
    assert (first['image_id'], first['probability'], first['Mass']) == ("'=a.png", '', '1')
    assert (second['image_id'], second['probability'], second['flag']) == ('b.png', '0.5', '1')
    content = json.loads(files[predictions.JSON])
    assert content['columns'] == schema.names
    by_name = dict(zip(content['columns'], content['data'][0], strict=True))
    assert (by_name['image_id'], by_name['age']) == ('=a.png', -1)
    assert by_name['probability'] is by_name['served_Mass_probability'] is None


def test_damaged_predictions_are_an_error_that_the_pages_report(tmp_path: Path) -> None:
    (tmp_path / 'predictions-00000.parquet').write_bytes(b'PAR1')
    with pytest.raises(ValueError):
        _files(tmp_path)


@pytest.mark.slow
def test_a_table_is_saved_with_all_rows(browser, builder: RootBuilder) -> None:
    builder.step(FIRST, 'Trainer', STATES.FAILED)
    builder.record(FIRST, state='failed', reasons=['Trainer failed: "a", b'])
    front = site.write(builder.root).front
    with opened(browser, front) as page:
        saved = {}
        for kind in ('csv', 'json'):
            with page.expect_download() as download:
                page.get_by_role('button', name=f'Save this table as {kind.upper()}').click()
            assert download.value.suggested_filename == f'runs.{kind}'
            saved[kind] = download.value.path().read_text(encoding='utf-8')
        headings = page.locator('#runs-table thead th:not(.choose)').all_inner_texts()
    columns, *rows = csv.reader(io.StringIO(saved['csv']))
    content = json.loads(saved['json'])
    assert columns == content['columns'] == headings
    assert rows == content['data']
    assert len(rows) == 1
    assert any('Trainer failed: "a", b' in cell for cell in rows[0])
