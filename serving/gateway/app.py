"""The application: routes, health, metrics and pages."""

from __future__ import annotations

import logging
import time
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

import pipeline
from serving.gateway import api, bodies, page
from serving.gateway.guard import Guard
from serving.gateway.metrics import Metrics
from serving.gateway.services import Services

_log = logging.getLogger(__name__)


def create_app(services: Services) -> Any:
    """The ASGI application of a gateway, with its guard around it."""
    app = FastAPI(
        title='cxr-triage gateway',
        version=pipeline.__version__,
        summary=f'Chest X-ray triage: uploads, work list, readings. {bodies.RESEARCH_USE}.',
        docs_url=None,
        redoc_url=None,
        openapi_url='/openapi.json',
    )
    app.state.services, app.state.settings = services, services.settings
    app.state.sessions, app.state.metrics = services.sessions, Metrics()
    app.middleware('http')(_measure)
    app.exception_handler(SQLAlchemyError)(_database_down)
    app.include_router(api.router)
    app.include_router(page.router)
    app.add_api_route('/healthz', _alive, tags=['operation'])
    app.add_api_route('/readyz', _ready, tags=['operation'])
    app.add_api_route('/metrics', _metrics, tags=['operation'], response_class=Response)
    page.mount(app)
    return Guard(app, services.settings.limits, services.settings.hosts)


def _alive() -> dict[str, str]:
    """Answers as long as the process does."""
    return {'status': 'ok'}


def _ready(request: Request) -> JSONResponse:
    """200 when uploads are accepted and scored; else 503 with what is missing."""
    services: Services = request.app.state.services
    problems = {}
    try:
        with services.reading() as session:
            session.execute(text('SELECT 1'))
    except SQLAlchemyError as error:
        problems['database'] = type(error).__name__
    if 'AVAILABLE' not in services.version_states().values():
        problems['model server'] = services.scorer.problem or 'no version is available'
    return JSONResponse(
        {'status': 'ready' if not problems else 'not ready', **problems}, 503 if problems else 200
    )


def _metrics(request: Request) -> Response:
    """The figures that Prometheus reads."""
    services: Services = request.app.state.services
    metrics: Metrics = request.app.state.metrics
    metrics.read_database(services.reading)
    metrics.model_server_up.set(0 if services.scorer.problem else 1)
    return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)


async def _measure(request: Request, call_next: Any) -> Any:
    started = time.perf_counter()
    status = 500
    try:
        response = await call_next(request)
        status = response.status_code
        return response
    finally:
        # The route, not the path, which has ids in it.
        route = getattr(request.scope.get('route'), 'path', 'unknown')
        metrics: Metrics = request.app.state.metrics
        metrics.requests.labels(request.method, route, status).inc()
        metrics.latency.labels(route).observe(time.perf_counter() - started)


def _database_down(request: Request, error: Exception) -> JSONResponse:
    _log.error('%s %s: %s', request.method, request.url.path, error)
    return JSONResponse(
        {'detail': 'the database does not answer: try again later'},
        503,
        headers={'Retry-After': '5'},
    )
