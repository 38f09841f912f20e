"""`charts_api.js` stands in for Google Charts: it has what the installed TFMA calls, and no
less.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pages import assets

_STAND_IN = Path(assets.__file__).parent / 'assets' / 'charts_api.js'
# What the installed TFMA takes from `google.charts` and `google.visualization`.
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
# Methods of Google's DataTable, DataView, ChartWrapper and charts, as documented, with names that
# nothing else in TFMA's file has.
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
def tfma() -> str:
    return assets.tfma_source().read_text(encoding='utf-8')


@pytest.fixture(scope='module')
def stand_in() -> str:
    return _STAND_IN.read_text(encoding='utf-8')


def _provides(stand_in: str, method: str) -> bool:
    return re.search(rf'^\s+{method}\(', stand_in, re.MULTILINE) is not None


def test_the_installed_tfma_takes_the_expected_names_from_google(tfma: str) -> None:
    names = re.findall(r'\bgoogle\.((?:charts|visualization)\.(?:events\.)?\w+)', tfma)
    assert set(names) == _NAMES


def test_the_stand_in_provides_every_name(stand_in: str) -> None:
    types = re.search(r'const types = \{(.*?)\}', stand_in, re.DOTALL)
    assert types is not None
    for space in ('charts', 'visualization'):
        content = re.search(rf'window\.google\.{space} = \{{(.*)\}};', stand_in)
        assert content is not None
        # `visualization` also has all chart types.
        provided = set(re.findall(r'\w+', content[1] + types[1]))
        expected = {name.split('.')[1] for name in _NAMES if name.startswith(f'{space}.')}
        assert expected <= provided
    for name in _NAMES:
        if name.startswith('visualization.events.'):
            assert _provides(stand_in, name.rpartition('.')[2]), name


@pytest.mark.parametrize('method', _METHODS)
def test_the_stand_in_has_every_method_that_tfma_calls(tfma: str, stand_in: str, method: str):
    if re.search(rf'\.{method}\(', tfma):
        assert _provides(stand_in, method)
