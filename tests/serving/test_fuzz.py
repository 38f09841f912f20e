"""Malformed uploads and requests against the gateway."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings, strategies
from schemathesis.specs.openapi import checks as openapi_checks

from benchmarks.serving import fuzz, mutations, versions
from serving.gateway.settings import Limits
from tests.support import gateways

# There is no model server for these requests.
_WITHOUT_MODEL_SERVER = 503
_OF_MODEL_SERVER = ('/v1/studies/{id}/explanation', '/readyz')
_CHECKS = [
    schemathesis.checks.not_a_server_error,
    openapi_checks.status_code_conformance,
    openapi_checks.content_type_conformance,
    openapi_checks.response_schema_conformance,
]
_RELATED = 'multipart/related'
_UNLIMITED = Limits(requests_per_minute=10_000_000)


def test_the_same_seed_makes_the_same_uploads() -> None:
    original = [gateways.jpeg()]
    first, second, other = (list(mutations.uploads(original, 120, seed)) for seed in (1, 1, 2))
    assert len(first) == 120
    # pydicom numbers each file anew.
    assert [upload.what for upload in first] == [upload.what for upload in second]
    assert [upload.what for upload in first] != [upload.what for upload in other]


@pytest.mark.parametrize('change', mutations.CHANGES, ids=lambda change: change.__name__)
def test_a_change_changes_the_file(change) -> None:
    content = gateways.jpeg()
    assert any(change(content, random.Random(seed)) != content for seed in range(5))


@pytest.mark.slow
def test_malformed_uploads_are_refused_or_answered(pushed: Path, tmp_path: Path) -> None:
    root = versions.from_root(pushed.parent, tmp_path / 'root')
    originals = [gateways.jpeg(patient) for patient in (1, 2)]
    findings = fuzz.run(root, tmp_path / 'service', originals, 150)
    assert findings.problems == [] and findings.model_server_restarts == 0
    assert findings.peak_bytes < fuzz.PEAK_BYTES
    assert {202, 422} <= findings.statuses.keys()
    assert sum(findings.states.values()) == findings.statuses[202]


@schemathesis.serializer(_RELATED)
def _related(context: Any, parts: Any) -> bytes:
    """A body of STOW-RS, whose boundary is `cut`."""
    del context
    head = '--cut\r\nContent-Type: application/dicom\r\n\r\n'
    files = parts if isinstance(parts, list) else [parts]
    return (''.join(f'{head}{file}\r\n' for file in files) + '--cut--').encode('utf-8', 'replace')


@pytest.mark.slow
def test_requests_of_any_form_get_a_documented_answer(pushed: Path, tmp_path: Path) -> None:
    url = f'sqlite:///{tmp_path}/gateway.sqlite'
    with gateways.running(tmp_path, url, pushed, limits=_UNLIMITED) as gateway:
        id = gateway.accepted(gateways.jpeg())
        schema = schemathesis.openapi.from_url(f'{gateway.url}/openapi.json')
        statuses = {}
        # Without schemathesis's plugin of pytest, which needs an older pytest.
        for result in schema.get_all_operations():
            operation = result.ok()
            statuses[operation.label] = _send(operation, id)
    assert 202 in statuses['POST /v1/studies'] or 422 in statuses['POST /v1/studies']
    assert 200 in statuses['GET /v1/worklist']
    assert {201, 422} <= statuses['POST /v1/studies/{id}/reading']
    assert {200, 404} <= statuses['GET /v1/studies/{id}']
    assert 409 in statuses['POST /dicom-web/studies']


def _send(operation: schemathesis.APIOperation, id: str) -> set[int]:
    """Sends requests that the OpenAPI allows; returns the statuses."""
    statuses: set[int] = set()

    @settings(
        max_examples=60,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.generate],
    )
    @given(case=operation.as_strategy(), is_known=strategies.booleans())
    def send(case: schemathesis.Case, is_known: bool) -> None:
        if is_known and 'id' in (case.path_parameters or {}):
            case.path_parameters['id'] = id
        related = {'Content-Type': f'{_RELATED}; boundary=cut'}
        response = case.call(timeout=60, headers=related if case.media_type == _RELATED else None)
        statuses.add(response.status_code)
        if response.status_code == _WITHOUT_MODEL_SERVER:
            assert case.path in _OF_MODEL_SERVER
            return
        case.validate_response(response, checks=_CHECKS)

    send()
    return statuses
