"""The reader's page: work list, review and login."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import jinja2
from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from fastapi.staticfiles import StaticFiles

import pipeline
from schemas.labels import FINDINGS
from serving import tokens
from serving.gateway import access, bodies

router = APIRouter(include_in_schema=False)
_FOLDER = Path(__file__).parent
_TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(_FOLDER / 'templates'),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
)
_COOKIE_S = 12 * 3600


def mount(app: Any) -> None:
    """Adds the scripts and styles to an application."""
    app.mount('/static', StaticFiles(directory=_FOLDER / 'static'), name='static')


@router.get('/')
def work_list(request: Request) -> Response:
    """The work list."""
    return _for_readers(request, 'worklist.html')


@router.get('/studies/{id}')
def review(request: Request, id: str) -> Response:
    """The review of a study; its script reads the study by the id in the address."""
    del id
    return _for_readers(request, 'review.html', findings=FINDINGS)


@router.get('/login')
def login(request: Request) -> Response:
    """The form for a token."""
    return _html(request, 'login.html', problem='')


@router.post('/login')
def log_in(request: Request, token: Annotated[str, Form(max_length=200)]) -> Response:
    """Keeps a token in a cookie that scripts cannot read."""
    user = access.look_up(request.app.state.sessions, token.strip())
    if user is None:
        return _html(request, 'login.html', status=401, problem='This token is not valid.')
    response = RedirectResponse('/', 303)
    response.set_cookie(
        access.COOKIE,
        token.strip(),
        max_age=_COOKIE_S,
        httponly=True,
        samesite='strict',
        secure=request.url.scheme == 'https',
    )
    return response


@router.post('/logout')
def log_out() -> Response:
    """Forgets the cookie."""
    response = RedirectResponse('/login', 303)
    response.delete_cookie(access.COOKIE)
    return response


def _for_readers(request: Request, template: str, **values: Any) -> Response:
    user = access.user(request)
    if user is None:
        return RedirectResponse('/login', 303)
    if not user.may(tokens.READ):
        return _html(request, 'login.html', status=403, problem='This token may not read studies.')
    return _html(request, template, can_upload=user.may(tokens.UPLOAD), **values)


def _html(request: Request, template: str, status: int = 200, **values: Any) -> HTMLResponse:
    user = access.user(request)
    text = _TEMPLATES.get_template(template).render(
        version=pipeline.__version__,
        notice=bodies.RESEARCH_USE,
        user=user.name if user else '',
        has_login=request.app.state.settings.requires_token,
        **values,
    )
    return HTMLResponse(text, status)
