"""Each check of the Kubernetes files, on objects with its problem and on good objects."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest

from scripts.manifests import references
from scripts.manifests.checks import CHECKS, problems
from scripts.manifests.objects import External, matches
from scripts.manifests.placeholders import placeholders
from scripts.manifests.quantities import quantity, share
from scripts.manifests.workloads import schedule_problem
from tests.support.broken_manifests import (
    BROKEN,
    EXTERNAL,
    GOOD,
    MODEL,
    POD,
    SERVER,
    SPECIFIC,
    at_container,
    change,
    changed,
    models,
)


def test_good_objects_have_no_problems() -> None:
    assert problems(changed()) == []


@pytest.mark.parametrize('name', BROKEN)
def test_problems_of_broken_objects(name: str) -> None:
    changes, expected = BROKEN[name]
    actual = problems(changed(*changes))
    assert {problem.field for problem in actual} == set(expected), [
        str(problem) for problem in actual
    ]
    for problem in actual:
        assert re.search(expected[problem.field], problem.text), str(problem)
        # The message starts with file, object and field.
        manifest = problem.manifest
        assert str(problem).startswith(
            f'kubeflow/manifests/{manifest.kind}.yaml: {manifest.kind} '
            f'{manifest.name}: {problem.field}: '
        )


def test_each_check_finds_a_problem() -> None:
    untested = [
        check
        for check in CHECKS
        if not any(list(check(changed(*changes))) for changes, _ in BROKEN.values())
    ]
    assert untested == []


def test_optional_parts_may_be_absent() -> None:
    optional = {
        'name': 'MORE',
        'valueFrom': {'configMapKeyRef': {'name': 'more', 'key': 'more', 'optional': True}},
    }
    sidecar = {
        **copy.deepcopy(GOOD[4]['spec']['template']['spec']['containers'][0]),
        'name': 'proxy',
        'args': [],
        'restartPolicy': 'Always',
    }
    objects = changed(
        at_container('env', [optional]),
        change('Deployment', f'{POD}.initContainers', [sidecar]),
        change('PodDisruptionBudget', 'spec', {'minAvailable': '50%', 'selector': {}}),
        change('CronJob', 'spec.schedule', '@weekly'),
    )
    # The sidecar needs all that a server needs, and has it. The empty selector matches all pods;
    # those of the job have no number of replicas.
    assert problems(objects) == []


def test_unused_external_objects_are_named() -> None:
    external = (*EXTERNAL, External('Secret', 'old', 'no longer'))
    actual = list(
        references.unused_external(
            external, [changed(), changed(change('CronJob', 'metadata.name', 'weekly'))]
        )
    )
    assert actual == [
        'kubeflow/manifests/external.yaml: Secret old: no manifest refers to it; remove the entry'
    ]


def test_placeholders_are_found() -> None:
    assert list(placeholders(changed())) == []
    objects = changed(
        models(MODEL % f'{SPECIFIC} version_labels {{ key: "stable" value: 5 }}'),
        at_container('image', 'registry/your-project/serving:1'),
        change(
            'ServiceAccount', 'metadata.annotations', {'acts-as': 'server@your-project.example'}
        ),
        change('Service', 'spec.loadBalancerIP', '192.0.2.1'),
    )
    assert [(problem.manifest.kind, problem.field) for problem in placeholders(objects)] == [
        ('ServiceAccount', 'metadata.annotations.acts-as'),
        ('Service', 'spec.loadBalancerIP'),
        ('Deployment', f'{POD}.containers[0].image'),
        ('Deployment', f'{SERVER}.args[--model_config_file]'),
    ]


@pytest.mark.parametrize(
    ('selector', 'matching'),
    [
        ({}, True),
        ({'matchLabels': {'app': 'a', 'tier': 'x'}}, True),
        ({'matchLabels': {'app': 'a', 'zone': 'x'}}, False),
        ({'matchExpressions': [{'key': 'app', 'operator': 'In', 'values': ['a', 'b']}]}, True),
        ({'matchExpressions': [{'key': 'app', 'operator': 'NotIn', 'values': ['a', 'b']}]}, False),
        ({'matchExpressions': [{'key': 'zone', 'operator': 'NotIn', 'values': ['x']}]}, True),
        ({'matchExpressions': [{'key': 'zone', 'operator': 'Exists'}]}, False),
        (
            {
                'matchLabels': {'app': 'a'},
                'matchExpressions': [{'key': 'tier', 'operator': 'DoesNotExist'}],
            },
            False,
        ),
    ],
)
def test_selectors_match_labels(selector: dict[str, Any], matching: bool) -> None:
    assert matches(selector, {'app': 'a', 'tier': 'x'}) is matching


@pytest.mark.parametrize(
    ('text', 'number'),
    [
        ('500m', 0.5),
        ('2', 2),
        (1.5, 1.5),
        ('2Gi', 2 * 1024**3),
        ('2G', 2e9),
        ('1e3', 1000),
        ('2Mi', 2 * 1024**2),
        ('two', None),
        ('', None),
    ],
)
def test_quantities_are_parsed(text: str | float, number: float | None) -> None:
    actual = quantity(text)
    assert (actual if actual is None else float(actual)) == number


@pytest.mark.parametrize(
    ('text', 'total', 'number'),
    [(1, 3, 1), ('50%', 3, 2), ('34%', 3, 2), ('0%', 3, 0), ('100%', 3, 3)],
)
def test_shares_are_rounded_up(text: str | int, total: int, number: int) -> None:
    assert share(text, total) == number


@pytest.mark.parametrize(
    'text', ['0 3 * * 1', '*/15 0-6/2 1,15 jan-mar SUN', '@daily', '0 0 1 1 7']
)
def test_valid_schedules_are_accepted(text: str) -> None:
    assert schedule_problem(text) is None


@pytest.mark.parametrize(
    'text',
    [
        '',
        '0 3 * *',
        '0 3 * * * *',
        '60 * * * *',
        '* * 0 * *',
        '* * * 13 *',
        '* * * * 8',
        '5-1 * * * *',
        '*/0 * * * *',
        'a * * * *',
        '@often',
    ],
)
def test_invalid_schedules_are_refused(text: str) -> None:
    assert schedule_problem(text) is not None
