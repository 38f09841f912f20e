"""The application: routes, health, metrics and pages."""

from __future__ import annotations

import contextlib
import logging
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

import pipeline
from serving import tokens
from serving.database import connection
from serving.gateway import access, api, dicom_web, page
from serving.gateway.guard import Guard
from serving.gateway.metrics import Metrics
from serving.gateway.services import Services
from serving.notice import RESEARCH_USE

_log = logging.getLogger(__name__)
# Below this, uploads fail soon.
_LEAST_FREE_BYTES = 64 << 20
_SECRET = 'the log says why, and so does this page to a token with the role read'


def create_app(services: Services) -> Any:
    """The ASGI application of a gateway, with its guard around it."""
    app = FastAPI(
        title='cxr-triage gateway',
        version=pipeline.__version__,
        summary=f'Chest X-ray triage: uploads, work list, readings. {RESEARCH_USE}.',
        docs_url=None,
        redoc_url=None,
        openapi_url='/openapi.json',
    )
    app.state.services, app.state.settings = services, services.settings
    app.state.sessions, app.state.metrics = services.sessions, Metrics(services.version)
    app.exception_handler(SQLAlchemyError)(_database_down)
    app.exception_handler(RequestValidationError)(_invalid)
    app.include_router(api.router)
    app.include_router(dicom_web.router)
    app.include_router(page.router)
    app.add_api_route('/healthz', _alive, tags=['operation'])
    app.add_api_route('/readyz', _ready, tags=['operation'])
    app.add_api_route('/metrics', _metrics, tags=['operation'], response_class=Response)
    page.mount(app)
    return Guard(app, services.settings.limits, services.settings.hosts, app.state.metrics)


async def _alive() -> dict[str, str]:
    """Answers as long as the process does."""
    return {'status': 'ok'}


def _ready(request: Request) -> JSONResponse:
    """200 when uploads are accepted; else 503 with what is missing.

    Why studies wait, such as a model server that is down, is reported too, but changes no status.
    Addresses, which may be in the reason, are only for readers.
    """
    services: Services = request.app.state.services
    problems = {}
    is_reader = False
    try:
        with services.reading() as session:
            session.execute(text('SELECT 1'))
            caller = access.user(request, session)
            is_reader = caller is not None and caller.may(tokens.READ)
    except SQLAlchemyError as error:
        problems['database'] = type(error).__name__
    try:
        if services.files.free_bytes() < _LEAST_FREE_BYTES:
            problems['disk'] = 'it is almost full'
    except OSError as error:
        problems['disk'] = str(error.strerror)
    status = 'not ready' if problems else 'ready'
    is_served = 'AVAILABLE' in services.version_states().values()
    body = {
        'status': status,
        'model_server': 'ok' if is_served else 'no version is available',
        **problems,
    }
    if problem := services.scorer.problem:
        body['studies_wait'] = problem if is_reader else _SECRET
    return JSONResponse(body, 503 if problems else 200)


def _metrics(request: Request) -> Response:
    """The figures that Prometheus reads."""
    services: Services = request.app.state.services
    metrics: Metrics = request.app.state.metrics
    with contextlib.suppress(SQLAlchemyError):  # the others are wanted most when it is down
        metrics.read_database(services.reading)
    metrics.model_server_up.set('AVAILABLE' in services.version_states().values())
    return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)


def _database_down(request: Request, error: Exception) -> JSONResponse:
    reason = connection.reason(error)
    _log.error('%s %s: %s', request.method, request.url.path, reason)
    if connection.is_full(error):
        return JSONResponse({'detail': api.DISK_FULL}, 507)
    return JSONResponse(
        {'detail': 'the database does not answer: try again later'},
        503,
        headers={'Retry-After': '5'},
    )


def _invalid(request: Request, error: Exception) -> JSONResponse:
    """The errors of a request without its values, which JSON may not be able to carry."""
    assert isinstance(error, RequestValidationError)
    problems = [{key: row[key] for key in ('type', 'loc', 'msg')} for row in error.errors()]
    return JSONResponse({'detail': jsonable_encoder(problems)}, 422)
