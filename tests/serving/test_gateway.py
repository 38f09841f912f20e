"""The gateway over HTTP, in front of a model server: answers, readings, images, operation."""

from __future__ import annotations

import datetime
import io
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import tensorflow as tf
from fastapi.openapi.models import OpenAPI
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from components.serving_check.session_model import SessionModel
from schemas import image_status, signatures
from serving import audit, studies
from tests.support import gateways, model_servers
from tests.support.gateways import Gateway

pytestmark = pytest.mark.slow

_NOTICE = 'Research use only, not for clinical use'


@pytest.fixture(params=model_servers.KINDS, scope='module')
def model_server(
    request: pytest.FixtureRequest, pushed: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The address of a server of both versions."""
    with gateways.model_server(
        request.param, pushed, tmp_path_factory.mktemp('model-server')
    ) as address:
        yield address


@pytest.fixture
def gateway(
    database_url: str, pushed: Path, model_server: str, tmp_path: Path
) -> Iterator[Gateway]:
    """A gateway without tokens."""
    with gateways.running(tmp_path, database_url, pushed, model_server) as gateway:
        yield gateway


@pytest.fixture
def sqlite_gateway(pushed: Path, model_server: str, tmp_path: Path) -> Iterator[Gateway]:
    """The same, with SQLite alone, where the database makes no difference."""
    url = f'sqlite:///{tmp_path}/gateway.sqlite'
    with gateways.running(tmp_path, url, pushed, model_server) as gateway:
        yield gateway


def test_one_image_has_the_same_score_as_png_jpeg_and_dicom(gateway: Gateway, pushed: Path) -> None:
    jpeg = gateways.jpeg()
    pixels = tf.io.decode_jpeg(jpeg, channels=1).numpy()[..., 0]
    expected = SessionModel(str(pushed / '1')).run(
        signatures.IMAGES.name, {signatures.IMAGES.input: [jpeg]}
    )
    files = (jpeg, gateways.png(pixels), gateways.dicom(pixels))
    id = gateway.accepted(*files)
    study = gateway.scored(id)
    assert [image['kind'] for image in study['images']] == ['jpeg', 'png', 'dicom']
    scores = [image['answer']['probability'] for image in study['images']]
    np.testing.assert_allclose(scores, expected[signatures.PROBABILITY][0], atol=1e-5)
    assert [image['sha256'] for image in study['images']] == [studies.sha256(f) for f in files]


def test_a_study_has_the_notes_about_its_files(gateway: Gateway) -> None:
    pixels = gateways.pixels()
    files = (gateways.dicom(pixels), gateways.dicom(pixels, Modality='SC'), gateways.png(pixels))
    images = gateway.body(f'/v1/studies/{gateway.accepted(*files)}')['images']
    assert [len(image['notes']) for image in images] == [0, 1, 0]
    assert images[1]['notes'][0].startswith('Modality (0008,0060) is SC')


def test_an_answer_says_what_it_rests_on(gateway: Gateway) -> None:
    response = gateway.upload(gateways.jpeg(), data={'reference': 'ward 7/12'})
    assert response.status_code == 202
    accepted = response.json()
    assert (accepted['state'], accepted['probability']) == ('pending', None)
    study = gateway.scored(accepted['id'])
    (image,) = study['images']
    answer = image['answer']
    assert study['state'] == 'scored' and study['reference'] == 'ward 7/12'
    assert study['probability'] == answer['probability'] and study['flag'] == answer['flag']
    assert answer['flag'] == (answer['probability'] >= 0.5)
    assert (answer['version'], answer['label'], answer['reason']) == (1, 'stable', '')
    assert study['operating_point']['threshold'] == 0.5
    assert set(study['operating_point']) == {'threshold', 'sensitivity', 'specificity'}
    assert study['notice'] == _NOTICE and study['canary'] is None
    assert (image['width'], image['height']) == (gateways.SIDE, gateways.SIDE)


def test_what_cannot_be_assessed_has_a_reason_and_is_flagged(sqlite_gateway: Gateway) -> None:
    blank = gateways.png(np.full((256, 256), 90, np.uint8))
    study = sqlite_gateway.scored(sqlite_gateway.accepted(blank))
    answer = study['images'][0]['answer']
    assert (study['state'], study['flag'], study['probability']) == ('not_assessed', True, None)
    assert (answer['reason'], answer['probability']) == (image_status.BLANK, None)
    cut = gateways.jpeg()[:3000]
    study = sqlite_gateway.scored(sqlite_gateway.accepted(cut))
    assert study['images'][0]['answer']['reason'] in (
        image_status.TRUNCATED,
        image_status.UNDECODABLE,
    )


def test_the_canary_answers_its_share_and_only_on_request(
    database_url: str, pushed: Path, model_server: str, tmp_path: Path
) -> None:
    with gateways.running(
        tmp_path, database_url, pushed, model_server, canary_share=0.5
    ) as gateway:
        ids = [gateway.accepted(gateways.jpeg(n % 4 + 1)) for n in range(24)]
        for id in ids:
            assert gateway.scored(id)['canary'] is None
        bodies = [gateway.body(f'/v1/studies/{id}?canary=true') for id in ids]
        answers = [body['canary'] for body in bodies if body['canary']]
        # 24 fair coins: outside of this once in 10,000 times.
        assert 3 <= len(answers) <= 21
        for (answer,) in answers:
            assert (answer['version'], answer['label']) == (2, 'canary')
        assert all(body['version'] == 1 for body in bodies)
        with gateway.services.reading() as session:
            entries = [e for e in audit.entries(session) if '"role": "canary"' in e.details]
        assert len(entries) == len(answers)


def test_readings_are_added_and_never_changed(gateway: Gateway) -> None:
    id = gateway.scored(gateway.accepted(gateways.jpeg()))['id']
    path = f'/v1/studies/{id}/reading'
    assert gateway.post(path, json={'verdict': 'normal'}).status_code == 201
    body = {'verdict': 'abnormal', 'findings': ['Effusion', 'Mass'], 'text': 'left, ä'}
    study = gateways.body(gateway.post(path, json=body), 201)
    first, second = study['readings']
    assert first['verdict'] == 'normal' and second['version'] == 1
    assert {name: second[name] for name in body} == body
    assert study['is_read'] and gateway.body('/v1/worklist?is_read=true')['total'] == 1
    for method in ('PUT', 'DELETE', 'PATCH'):
        assert gateway.request(method, path, json=body).status_code == 405


@pytest.mark.parametrize(
    'body',
    [
        {},
        {'verdict': 'fine'},
        {'verdict': 'normal', 'findings': ['Mass']},
        {'verdict': 'abnormal', 'findings': ['Cold']},
        {'verdict': 'abnormal', 'findings': ['a\0']},
        {'verdict': 'abnormal', 'text': 'a\0'},
        {'verdict': 'abnormal', 'text': 'x' * 4001},
        {'verdict': 'abnormal', 'extra': 1},
        ['normal'],
        None,
    ],
    ids=str,
)
def test_a_reading_of_another_form_is_refused(gateway: Gateway, body) -> None:
    id = gateway.accepted(gateways.jpeg())
    response = gateway.post(f'/v1/studies/{id}/reading', json=body)
    assert response.status_code == 422, response.text
    assert gateway.body(f'/v1/studies/{id}')['readings'] == []


@pytest.mark.parametrize(
    'text',
    [b'{"verdict": NaN}', b'{"verdict": "normal", "text": "\\ud800"}', b'{', b'\xff', b'[' * 9000],
    ids=['nan', 'surrogate', 'broken', 'not utf-8', 'deep'],
)
def test_hostile_json_is_refused(sqlite_gateway: Gateway, text: bytes) -> None:
    id = sqlite_gateway.accepted(gateways.jpeg())
    response = sqlite_gateway.post(
        f'/v1/studies/{id}/reading', data=text, headers={'Content-Type': 'application/json'}
    )
    assert response.status_code in (400, 422), response.text
    assert response.json()['detail']


def test_the_work_list_pages_filters_and_sorts(gateway: Gateway) -> None:
    ids = [gateway.accepted(gateways.jpeg(n + 1), data={'reference': f'ref {n}'}) for n in range(5)]
    for id in ids:
        gateway.scored(id)
    first = gateway.body('/v1/worklist?limit=2')
    second = gateway.body('/v1/worklist', params={'limit': 2, 'cursor': first['next_cursor']})
    third = gateway.body('/v1/worklist', params={'limit': 2, 'cursor': second['next_cursor']})
    pages = [row['id'] for page in (first, second, third) for row in page['studies']]
    assert pages == ids[::-1] and third['next_cursor'] == '' and first['total'] == 5
    assert first['notice'] == _NOTICE
    rows = gateway.body('/v1/worklist?sort=-probability')['studies']
    assert [row['probability'] for row in rows] == sorted(
        (row['probability'] for row in rows), reverse=True
    )
    flagged = gateway.body('/v1/worklist?flag=true')['total']
    assert flagged + gateway.body('/v1/worklist?flag=false')['total'] == 5
    assert gateway.body('/v1/worklist?search=REF%203')['studies'][0]['id'] == ids[3]
    assert gateway.body('/v1/worklist?state=pending')['total'] == 0
    soon = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=1)
    assert gateway.body('/v1/worklist', params={'since': soon.isoformat()})['total'] == 0


@pytest.mark.parametrize(
    'query',
    [
        {'state': 'lost'},
        {'sort': 'name'},
        {'limit': 0},
        {'limit': 10**30},
        {'flag': 'x'},
        {'search': 'a\0b'},
        {'search': 'x' * 101},
        {'since': 'yesterday'},
        {'since': '0001-01-01T00:00:00+14:00'},
        {'cursor': 'x'},
        {'cursor': 'WzFlMzAwXQ=='},
        {'cursor': 'W05hTl0='},
        {'cursor': 'eyJhIjoxfQ=='},
        {'cursor': 'ä'},
    ],
    ids=str,
)
def test_a_wrong_query_is_refused(gateway: Gateway, query: dict) -> None:
    response = gateway.get('/v1/worklist', params=query)
    assert response.status_code == 422, response.text


@pytest.mark.parametrize('id', ['0' * 32, 'x', '%00', '..%2f..', 'a' * 9999, '%F0%9F', "' OR 1=1"])
def test_an_unknown_study_is_not_found(gateway: Gateway, id: str) -> None:
    for path in ('', '/image', '/explanation'):
        assert gateway.get(f'/v1/studies/{id}{path}').status_code == 404
    reading = {'verdict': 'normal'}
    assert gateway.post(f'/v1/studies/{id}/reading', json=reading).status_code == 404


def _pixels(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image)


def test_images_are_shown_with_a_window(sqlite_gateway: Gateway) -> None:
    pixels = gateways.pixels()
    files = (gateways.png(pixels), gateways.jpeg(), gateways.dicom(pixels))
    id = sqlite_gateway.accepted(*files)
    path = f'/v1/studies/{id}/image'
    responses = [sqlite_gateway.get(f'{path}?number={number}') for number in (1, 2, 3)]
    types = [response.headers['Content-Type'] for response in responses]
    assert types == ['image/png', 'image/jpeg', 'image/png']
    for number in (0, 2):
        np.testing.assert_array_equal(_pixels(responses[number].content), pixels)
    response = sqlite_gateway.get(f'{path}?number=3&center=100&width=50')
    expected = np.clip((pixels.astype(float) - 100) / 50 + 0.5, 0, 1) * 255
    np.testing.assert_allclose(_pixels(response.content), expected, atol=0.51)
    assert response.headers['X-Window'] == '75 125'
    assert response.headers['X-Values'] == f'{pixels.min()} {pixels.max()}'
    assert sqlite_gateway.get(f'{path}?number=4').status_code == 404
    for query in ('number=0', 'width=0', 'width=-1', 'center=nan', 'width=inf', 'center=1e300'):
        assert sqlite_gateway.get(f'{path}?{query}').status_code == 422, query
    sqlite_gateway.services.files.remove(
        sqlite_gateway.body(f'/v1/studies/{id}')['images'][0]['id']
    )
    assert sqlite_gateway.get(path).status_code == 410


def test_an_explanation_is_a_heat_map_of_the_version_that_answered(
    sqlite_gateway: Gateway,
) -> None:
    id = sqlite_gateway.accepted(gateways.dicom(gateways.pixels()))
    sqlite_gateway.scored(id)
    response = sqlite_gateway.get(f'/v1/studies/{id}/explanation')
    assert response.status_code == 200 and response.headers['X-Model-Version'] == '1'
    assert _pixels(response.content).shape == (3, 3)


def test_models_have_labels_and_states(gateway: Gateway) -> None:
    models = gateway.body('/v1/models')
    summary = [(m['version'], m['labels'], m['state'], m['problem']) for m in models]
    assert summary == [(1, ['stable'], 'AVAILABLE', ''), (2, ['canary'], 'AVAILABLE', '')]
    assert models[0]['operating_point']['threshold'] == 0.5 and models[0]['task'] == 'nih_triage'


def test_health_readiness_and_metrics(gateway: Gateway) -> None:
    assert gateway.body('/healthz') == {'status': 'ok'}
    assert gateway.body('/readyz') == {'status': 'ready', 'model_server': 'ok'}
    gateway.scored(gateway.accepted(gateways.jpeg()))
    gateway.request('BREW', '/v1/worklist')
    samples = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(gateway.get('/metrics').text)
        for sample in family.samples
    }
    assert samples['cxr_requests_total', '/v1/studies', '202', 'POST'] == 1
    assert samples['cxr_studies', 'scored'] == 1 and samples['cxr_studies', 'pending'] == 0
    assert samples['cxr_model_server_up',] == 1
    assert not any('BREW' in labels for labels in samples)
    assert not any(len(str(label)) > 60 for labels in samples for label in labels)


def test_the_openapi_is_valid(sqlite_gateway: Gateway) -> None:
    spec = sqlite_gateway.body('/openapi.json')
    OpenAPI.model_validate(spec)
    assert _NOTICE in spec['info']['summary']
    operations = [
        (path, method, operation)
        for path, methods in spec['paths'].items()
        for method, operation in methods.items()
    ]
    ids = [operation['operationId'] for _, _, operation in operations]
    assert len(ids) == len(set(ids)) >= 10
    for path, _, operation in operations:
        assert operation.get('summary') and operation['responses'], path
        if path.startswith('/v1'):
            assert operation['security'] == [{'HTTPBearer': []}], path
    for schema in spec['components']['schemas'].values():
        jsonschema.Draft202012Validator.check_schema(schema)
        for example in schema.get('examples', []):
            jsonschema.validate(example, {**schema, 'components': spec['components']})


def test_bodies_are_as_the_openapi_says(sqlite_gateway: Gateway) -> None:
    spec = sqlite_gateway.body('/openapi.json')
    id = sqlite_gateway.scored(sqlite_gateway.accepted(gateways.jpeg()))['id']
    for path, template in (
        (f'/v1/studies/{id}?canary=true', '/v1/studies/{id}'),
        ('/v1/worklist', '/v1/worklist'),
        ('/v1/models', '/v1/models'),
    ):
        response = spec['paths'][template]['get']['responses']['200']
        schema = response['content']['application/json']['schema']
        body = sqlite_gateway.body(path)
        jsonschema.validate(body, {**schema, 'components': spec['components']})


def test_a_reading_on_a_waiting_study_survives_its_answer(
    database_url: str, pushed: Path, model_server: str, tmp_path: Path
) -> None:
    with gateways.running(tmp_path, database_url, pushed) as gateway:
        id = gateway.accepted(gateways.jpeg())
        path = f'/v1/studies/{id}/reading'
        study = gateways.body(gateway.post(path, json={'verdict': 'normal'}), 201)
        assert study['state'] == 'pending' and study['is_read']
    with gateways.running(tmp_path, database_url, pushed, model_server) as gateway:
        study = gateway.scored(id)
        assert study['is_read'] and study['readings'][0]['version'] is None
        with gateway.services.reading() as session:
            count, _, problems = audit.verify(session)
        assert (count, problems) == (3, [])
