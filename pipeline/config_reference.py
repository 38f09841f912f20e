"""Writes docs/configuration.md from the models that check a configuration: `make docs`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from pipeline.config import Config

_HEAD = """# Configuration

One YAML file an experiment (`pipeline/configs/`). Any key can be set on the command line: `--set train.epochs=3`. Unknown keys, wrong
types and impossible combinations are refused before anything runs. This page is written by `make docs`.

| key | default | what |
|---|---|---|
"""


def reference() -> str:
    """The page, Markdown."""
    return _HEAD + ''.join(
        f'| `{key}` | {default} | {text} |\n' for key, default, text in _rows(Config, '')
    )


def _rows(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, str, str]]:
    told = _attributes(model.__doc__ or '')
    for name, field in model.model_fields.items():
        nested = field.annotation
        if isinstance(nested, type) and issubclass(nested, BaseModel):
            yield from _rows(nested, f'{prefix}{name}.')
            continue
        default = field.get_default(call_default_factory=True)
        shown = 'required' if default is PydanticUndefined else f'`{_yaml(default)}`'
        yield (
            f'{prefix}{name}',
            shown,
            (field.description or told.get(name, '')).replace('|', '\\|'),
        )


def _attributes(docstring: str) -> dict[str, str]:
    """The entries under `Attributes:` of a docstring, each on one line."""
    found: dict[str, str] = {}
    name = ''
    for line in docstring.partition('Attributes:\n')[2].splitlines():
        if line.startswith('      ') and not line.startswith('       ') and ':' in line:
            name, _, text = line.strip().partition(': ')
            found[name] = text
        elif name and line.strip():
            found[name] += f' {line.strip()}'
    return found


def _yaml(value: Any) -> str:
    if isinstance(value, tuple) and value and isinstance(value[0], BaseModel):
        value = [item.model_dump(exclude_defaults=True) for item in value]
    return json.dumps(value, default=list)


if __name__ == '__main__':
    sys.stdout.write(reference())
