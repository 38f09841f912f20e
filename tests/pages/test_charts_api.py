"""`charts_api.js` replaces Google Charts: it provides all that the installed TFMA calls."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pages import assets

_REPLACEMENT = Path(assets.__file__).parent / 'assets' / 'charts_api.js'
# The names of `google.charts` and `google.visualization` that the installed TFMA uses.
_NAMES = {
    'charts.Bar',
    'charts.Line',
    'charts.Scatter',
    'charts.load',
    'visualization.ChartWrapper',
    'visualization.ColumnChart',
    'visualization.DataTable',
    'visualization.DataView',
    'visualization.arrayToDataTable',
    'visualization.events.addListener',
    'visualization.events.addOneTimeListener',
}
# Documented methods of Google's DataTable, DataView, ChartWrapper and charts. No other object in
# TFMA's file has methods with these names.
_METHODS = (
    *('addColumn', 'addRow', 'addRows', 'getColumnId', 'getColumnIndex', 'getColumnLabel'),
    *('getColumnPattern', 'getColumnRole', 'getColumnType', 'getDistinctValues'),
    *('getFilteredRows', 'getFormattedValue', 'getNumberOfColumns', 'getNumberOfRows'),
    *('getRowProperty', 'getSortedRows', 'getTableColumnIndex', 'getTableRowIndex', 'getValue'),
    *('getViewColumns', 'getViewRows', 'hideColumns', 'hideRows', 'insertColumn', 'insertRows'),
    *('removeColumn', 'removeRow', 'setCell', 'setColumnLabel', 'setColumns', 'setFormattedValue'),
    *('setRowProperty', 'setRows', 'setValue', 'toDataTable', 'draw', 'getChart', 'getChartType'),
    *('setChartType', 'setDataTable', 'getDataTable', 'setOption', 'setOptions', 'getOptions'),
    *('getSelection', 'setSelection', 'clearChart', 'getImageURI', 'getChartLayoutInterface'),
)


@pytest.fixture(scope='module')
def tfma_source() -> str:
    return assets.tfma_source().read_text(encoding='utf-8')


@pytest.fixture(scope='module')
def replacement() -> str:
    return _REPLACEMENT.read_text(encoding='utf-8')


def _provides(replacement: str, method: str) -> bool:
    return re.search(rf'^\s+{method}\(', replacement, re.MULTILINE) is not None


def test_the_installed_tfma_uses_the_expected_names(tfma_source: str) -> None:
    names = re.findall(r'\bgoogle\.((?:charts|visualization)\.(?:events\.)?\w+)', tfma_source)
    assert set(names) == _NAMES


def test_the_replacement_provides_every_name(replacement: str) -> None:
    types = re.search(r'const types = \{(.*?)\}', replacement, re.DOTALL)
    assert types is not None
    for namespace in ('charts', 'visualization'):
        content = re.search(rf'window\.google\.{namespace} = \{{(.*)\}};', replacement)
        assert content is not None
        # `visualization` also has all chart types.
        provided = set(re.findall(r'\w+', content[1] + types[1]))
        expected = {name.split('.')[1] for name in _NAMES if name.startswith(f'{namespace}.')}
        assert expected <= provided
    for name in _NAMES:
        if name.startswith('visualization.events.'):
            assert _provides(replacement, name.rpartition('.')[2]), name


@pytest.mark.parametrize('method', _METHODS)
def test_the_replacement_has_every_method_that_tfma_calls(
    tfma_source: str, replacement: str, method: str
):
    if re.search(rf'\.{method}\(', tfma_source):
        assert _provides(replacement, method)
