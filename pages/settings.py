"""The settings that differ between the runs of a root, for the columns of the front page."""

from __future__ import annotations

import json
from typing import Any

from pages.lineage import SETTING, is_setting

# Where a run keeps its files says nothing about its model.
_PLACES = (f'{SETTING}root', f'{SETTING}artifacts')
_NOT_SET = 'null'


def columns(summaries: list[dict[str, Any]], reference: str) -> list[dict[str, Any]]:
    """The settings that have two or more values, those that most runs changed first.

    A run without recorded settings differs in nothing.

    Args:
      summaries: the summaries of `overview.summary`.
      reference: the slug of the run that the others are compared with.

    Returns:
      For each setting its `key` and its `cells`: slug -> (value, whether it is that of the
      reference), for the runs with recorded settings.
    """
    by_run = {run['slug']: run['facts'] for run in summaries if any(map(is_setting, run['facts']))}
    keys = {key for facts in by_run.values() for key in facts if is_setting(key)} - {*_PLACES}
    differing = []
    for key in sorted(keys):
        values = {slug: facts.get(key, _NOT_SET) for slug, facts in by_run.items()}
        if len(set(values.values())) > 1:
            own = values.get(reference)
            cells = {slug: (shown(value), value == own) for slug, value in values.items()}
            differing.append({'key': key.removeprefix(SETTING), 'cells': cells})
    return sorted(differing, key=_order)


def _order(column: dict[str, Any]) -> tuple[int, int]:
    cells = column['cells'].values()
    return sum(same for _, same in cells), max(len(value) for value, _ in cells)


def reference(summaries: list[dict[str, Any]], served_by: dict[str, Any] | None) -> dict | None:
    """The run whose settings the others are compared with; None if no run recorded its settings.

    Args:
      summaries: the summaries of `overview.summary`, newest first.
      served_by: the run whose version is served, which is the one if it recorded its settings.
    """
    candidates = [*([served_by] if served_by else []), *reversed(summaries)]
    return next((run for run in candidates if any(map(is_setting, run['facts']))), None)


def shown(value: str) -> str:
    """The JSON text of a setting without the quotes of a string.

    >>> shown('"scratch_cnn"'), shown('[1,2]'), shown('null')
    ('scratch_cnn', '[1,2]', 'not set')
    """
    content = json.loads(value)
    return 'not set' if content is None else content if isinstance(content, str) else value
