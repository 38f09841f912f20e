"""Finds the placeholders in the shipped files: names with `your-`, addresses, and versions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from scripts.manifests import model_server
from scripts.manifests.objects import Objects, Problem, listed

# The addresses are of a network that is set aside for documentation (RFC 5737).
_NAME = re.compile(r'(?<![\w-])your-[a-z]+|\b192\.0\.2\.\d+')


def placeholders(objects: Objects) -> Iterator[Problem]:
    """All placeholders, with the files that contain them."""
    for manifest in objects.manifests:
        for field, text in _texts(manifest.content, ''):
            for name in sorted(set(_NAME.findall(text))):
                where = _files(objects, re.escape(name))
                message = f'{name} is a placeholder: replace it by your own{where}'
                yield Problem(manifest, field, message)
    for server, model, version in model_server.versions(objects):
        if version < model_server.FIRST_VERSION:
            where = _files(objects, rf'versions:\s*{version}\b')
            text = (
                f'model {model!r}: version {version} is a placeholder: replace it by a version of '
                f'the push directory, a number of seconds{where}'
            )
            yield server.problem('model_config_file', text)


def _files(objects: Objects, pattern: str) -> str:
    """The files with a placeholder in the first folder that has it, for messages.

    A base can have the placeholder too, but an overlay replaces it.
    """
    for folder in objects.sources:
        texts = {
            path: path.read_text(encoding='utf-8', errors='replace')
            for path in sorted(folder.iterdir())
            if path.is_file()
        }
        files = [path for path, text in texts.items() if re.search(pattern, text)]
        if files:
            return f' ({listed(files)})'
    return ''


def _texts(content: Any, field: str) -> Iterator[tuple[str, str]]:
    if isinstance(content, str):
        yield field, content
    elif isinstance(content, dict):
        for key, value in content.items():
            yield from _texts(value, f'{field}.{key}'.removeprefix('.'))
    elif isinstance(content, list):
        for index, value in enumerate(content):
            yield from _texts(value, f'{field}[{index}]')
