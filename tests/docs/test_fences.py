"""Every code block names its language, and shell blocks are valid shell."""

from __future__ import annotations

import subprocess

import pytest

from tests.support.docs_sandbox import typed
from tests.support.documents import DOCUMENTS, LANGUAGES, blocks, shell_blocks


@pytest.mark.parametrize('document', DOCUMENTS, ids=lambda path: path.name)
def test_every_block_names_its_language(document):
    assert [str(block) for block in blocks(document) if block.language not in LANGUAGES] == []


@pytest.mark.parametrize(
    'block', [block for document in DOCUMENTS for block in shell_blocks(document)], ids=str
)
def test_shell_blocks_are_valid(block):
    result = subprocess.run(
        ['bash', '-n', '-c', typed(block)], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
