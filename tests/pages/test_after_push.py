"""The lineage page says what became of a version after its push."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from components.pusher import journal
from pages import after_push, lineage_page, runs, store
from pipeline.run_record import PUSHED
from pipeline.run_root import RunRoot
from tests.support.synthetic_root import RootBuilder

_RUN = '2026-11-21T22:25:35.123456'
_STORY = [
    ('canary', 'canary', None, 7, 'run 5'),
    ('hold', 'canary', 7, 7, 'on holiday'),
    ('withdraw', 'canary', 7, None, f'automatic: it flags too many images {json.dumps({"a": 1})}'),
    ('promote', 'stable', 3, 7, 'by hand'),
    ('canary', 'canary', None, 8, 'another version'),
    ('promote', 'stable', 7, 8, ''),
    ('rollback', 'stable', 8, 7, ''),
    ('rollback', 'stable', 7, 3, ''),
    ('prune', '', 7, None, ''),
]


@pytest.fixture
def run(tmp_path: Path) -> runs.Run:
    """A run that pushed version 7, with its releases."""
    builder = RootBuilder(tmp_path / 'root')
    builder.record(_RUN, state=PUSHED)
    builder.step(_RUN, 'Pusher', outputs={'pushed_model': {'pushed_version': '7'}})
    target = RunRoot(builder.root).serving
    target.mkdir()
    for number, (action, label, before, after, why) in enumerate(_STORY):
        at = f'2026-11-22T08:00:{number:02d}+00:00'
        journal.append(target, journal.Entry(at, 'ann', action, label, before, after, why))
    (only,) = runs.all_runs(store.read(builder.root))
    return only


def test_the_releases_of_a_version(run: runs.Run) -> None:
    rows = lineage_page.context(run, None)['releases']
    assert rows[0] == ('2026-11-22 08:00:00', 'became canary', 'ann', 'run 5')
    assert [row[1] for row in rows] == [
        'became canary',
        'automatic decisions stopped',
        'withdrawn as canary',
        'became stable',
        'replaced by version 8',
        'became stable again',
        'rolled back to version 3',
        'deleted',
    ]
    assert rows[2][3] == 'automatic: it flags too many images'


def test_a_damaged_record_is_named(run: runs.Run) -> None:
    version = lineage_page.context(run, None)['version']
    (RunRoot(run.root).serving / journal.NAME).write_text('{')
    ((_, event, _, why),) = after_push.rows(run.root, version)
    assert event == 'The record of releases cannot be read' and 'line 1' in why
