"""Markdown files fit 100 columns, README stays short, and links and paths in docs exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.documents import DOCUMENTS, PROJECT

COLUMNS = 100
README_LINES = 150
_LINK = re.compile(r'\[[^\]]*\]\(([^)\s]+)\)')
# A path of the project in backticks.
_PATH = re.compile(
    r'`((?:benchmarks|cli|components|experiments|kubeflow|pages|pipeline|records|schemas|scripts'
    r'|tests|trainer)/[\w./-]*)'
)


def _prose(document: Path) -> list[tuple[int, str]]:
    """Returns the number and the text of each line outside code blocks."""
    lines, in_block = [], False
    for number, line in enumerate(document.read_text(encoding='utf-8').splitlines(), start=1):
        if line.lstrip().startswith('```'):
            in_block = not in_block
        elif not in_block:
            lines.append((number, line))
    return lines


def _anchors(document: Path) -> set[str]:
    """Returns the anchors that GitHub gives to the headings of a page."""
    headings = [line.lstrip('#').strip() for _, line in _prose(document) if line.startswith('#')]
    return {re.sub(r'[^\w\- ]', '', heading.lower()).replace(' ', '-') for heading in headings}


@pytest.mark.parametrize('document', DOCUMENTS, ids=lambda path: path.name)
def test_lines_fit_except_tables_and_links(document: Path) -> None:
    long = [
        f'{document.name}:{number}: {len(line)} columns'
        for number, line in _prose(document)
        if len(line) > COLUMNS and not line.startswith('|') and '](' not in line
    ]
    assert long == []


def test_readme_is_short() -> None:
    assert len((PROJECT / 'README.md').read_text().splitlines()) < README_LINES


@pytest.mark.parametrize('document', DOCUMENTS, ids=lambda path: path.name)
def test_linked_files_and_headings_exist(document: Path) -> None:
    broken = []
    for number, line in _prose(document):
        for target in _LINK.findall(line):
            if '://' in target:
                continue
            name, _, anchor = target.partition('#')
            page = (document.parent / name).resolve() if name else document
            if not page.exists() or (anchor and anchor not in _anchors(page)):
                broken.append(f'{document.name}:{number}: {target}')
    assert broken == []


@pytest.mark.parametrize('document', DOCUMENTS, ids=lambda path: path.name)
def test_named_paths_of_the_project_exist(document: Path) -> None:
    text = '\n'.join(line for _, line in _prose(document))
    paths = {path.rstrip('.') for path in _PATH.findall(text)}
    assert sorted(path for path in paths if not _exists(path)) == []


def _exists(path: str) -> bool:
    """Tells whether a path exists; a word in capitals matches any name."""
    return any(PROJECT.glob(re.sub(r'[A-Z]{3,}', '*', path)))
