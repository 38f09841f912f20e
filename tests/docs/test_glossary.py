"""The glossary names the code that defines each term, and that code exists."""

import ast
import re

import pytest

from tests.support.documents import PROJECT

_ROW = re.compile(
    r'^\| \*\*(?P<term>[^*]+)\*\* \|.*\| `(?P<path>[^`]+)`(?: \(`(?P<name>\w+)`\))? \|$'
)
_TEXT = (PROJECT / 'docs' / 'glossary.md').read_text()
_ROWS = [match for match in map(_ROW.match, _TEXT.splitlines()) if match]


def test_every_row_has_a_term_and_a_path():
    assert len(_ROWS) == sum(line.startswith('| **') for line in _TEXT.splitlines()) > 40


@pytest.mark.parametrize('row', _ROWS, ids=lambda row: row['term'])
def test_the_code_that_defines_a_term_exists(row):
    path = PROJECT / row['path']
    assert path.exists()
    if row['name']:
        assert row['name'] in _top_level_names(path)


def _top_level_names(path) -> set[str]:
    names = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names.update(
                name.id
                for target in targets
                for name in ast.walk(target)
                if isinstance(name, ast.Name)
            )
    return names
