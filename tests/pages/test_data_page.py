"""The data page: problems with images and keys, rules in words, and no hidden columns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from components.data_audit.kinds import KINDS
from components.data_gate.limits import GateLimits
from components.data_gate.rules import audit_rules, verdict
from pages import data_page, site
from schemas import image_status
from schemas import problem_names as names
from tests.support.synthetic_root import RootBuilder

RUN, SLUG = '2026-11-21T22:25:35.123456', '2026-11-21T22-25-35-123456'
PIXEL = 'data:image/jpeg;base64,AAAA'


def _issue(kind: str, count: int = 0, detail: str = '') -> dict[str, Any]:
    example = {'image_id': 'a.png', 'split': 'train', 'record': 3, 'detail': detail}
    return {
        'kind': kind,
        'severity': KINDS[kind].severity,
        'title': KINDS[kind].title,
        'action': KINDS[kind].remedy,
        'unit': KINDS[kind].unit,
        'count': count,
        'total': 600,
        'share': count / 600,
        'splits': {'train': count} if count else {},
        'examples': [example] if count else [],
    }


def _audit(**counts: int) -> dict[str, Any]:
    return {
        'images': 600,
        'decoded': 600,
        'issues': [_issue(kind, counts.get(kind, 0), f'of {kind}') for kind in KINDS],
        'parameters': {'task_label': 'abnormal'},
    }


def _written(builder: RootBuilder, audit: dict[str, Any]) -> str:
    """The data page of a run with this audit, whose images have one picture for each problem."""
    number = builder.step(RUN, 'DataAudit', outputs={'audit': {}})['audit']
    folder = builder.folder('DataAudit', 'audit', number)
    pictures = {issue['kind']: [[PIXEL]] for issue in audit['issues'] if issue['count']}
    for name, content in (('audit.json', audit), ('pictures.json', pictures)):
        (folder / name).write_text(json.dumps(content), encoding='utf-8')
    number = builder.step(RUN, 'DataGate', outputs={'blessing': {}})['blessing']
    limits = GateLimits()
    gate = verdict(audit_rules(audit, limits), limits, '')
    path: Path = builder.folder('DataGate', 'blessing', number) / 'gate.json'
    path.write_text(json.dumps(gate), encoding='utf-8')
    assert site.write(builder.root).problems == ()
    return (builder.root / 'pages' / 'runs' / SLUG / 'data.html').read_text(encoding='utf-8')


def test_problems_come_first_with_their_images_and_keys(builder: RootBuilder) -> None:
    page = _written(builder, _audit(**{names.NEAR_DUPLICATE: 6, names.LOW_CONTRAST: 3}))
    for later in ('id="gate"', 'id="prevalence"', 'id="statistics"'):
        assert page.index('id="problems"') < page.index(PIXEL) < page.index(later)
    for key in ('gate.max_share.near_duplicate', 'audit.near_duplicate_correlation'):
        assert f'<code>{key}</code>' in page
    assert KINDS[names.NEAR_DUPLICATE].title in page
    assert '<figcaption>a.png: of near_duplicate</figcaption>' in page


def test_a_rule_without_a_limit_has_not_passed(builder: RootBuilder) -> None:
    page = _written(builder, _audit(**{names.NEAR_DUPLICATE: 6}))
    assert (
        page.count('– not found, no limit')
        == sum(kind not in GateLimits().max_share for kind in KINDS) - 1
    )
    assert page.count('◆ found, allowed') == 1
    assert '<details><summary>All ' in page


def test_a_problem_has_the_same_severity_everywhere(builder: RootBuilder) -> None:
    # An error that the gate allows, because it has no limit.
    page = _written(builder, _audit(**{names.DUPLICATE_ACROSS_PATIENTS: 2}))
    assert '▲ error</span>' in page and 'warning</span>' not in page
    overview = (builder.root / 'pages' / 'runs' / SLUG / 'index.html').read_text(encoding='utf-8')
    assert f'Error: {KINDS[names.DUPLICATE_ACROSS_PATIENTS].title} (2 of 600 images)' in overview


def test_errors_come_before_warnings_without_pictures_too() -> None:
    audit = _audit(**{names.WRONG_SIZE: 5, image_status.BLANK: 1})
    found = data_page.problems(audit, None)
    assert list(reversed([problem['kind'] for problem in found])) == [
        names.WRONG_SIZE,
        image_status.BLANK,
    ]
    assert [problem['pictures'] for problem in found] == [[], []]
    assert data_page.problems(None, None) == []


def test_labels_without_positives_keep_their_row() -> None:
    rows = [
        {
            'by': 'split',
            'group': 'test',
            'images': 10,
            'patients': 5,
            'positives': {'abnormal': 4, 'Hernia': 0},
        }
    ]
    table = data_page.prevalence({**_audit(), 'populations': rows})
    assert table is not None
    assert table['labels'] == ['abnormal', 'Hernia']
    assert [row['group'] for row in table['groups']['Split']] == ['test']
