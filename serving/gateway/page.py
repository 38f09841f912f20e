"""The reader's page: work list, review, model card and login.

The review page shows images in a small canvas viewer of this project (`static/viewer.js`):
OpenSeadragon and Cornerstone3D are made for tiled and for volumetric images, and these are single
8-bit images, windowed on the server where they come from DICOM, for which 300 lines without a build
step are enough.
"""

from __future__ import annotations

import urllib.parse
from pathlib import Path
from typing import Annotated, Any

import jinja2
from fastapi import APIRouter, Depends, Form, HTTPException, Query, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from pydantic import AwareDatetime

import pipeline
from pages import card_sections
from schemas import not_assessed
from schemas.labels import FINDINGS
from serving import studies, tokens
from serving.gateway import access, bodies, model_cards
from serving.gateway.services import Services
from serving.notice import RESEARCH_USE

router = APIRouter(include_in_schema=False)
_FOLDER = Path(__file__).parent
_TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(_FOLDER / 'templates'),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_COOKIE_S = 12 * 3600
_THEMES = ('system', 'light', 'dark')
_Reader = Annotated[access.User, Depends(access.needs(tokens.READ))]


class _Static(StaticFiles):
    """Scripts and styles, which a browser may keep if it asks whether they have changed."""

    async def get_response(self, path: str, scope: Any) -> Response:
        response = await super().get_response(path, scope)
        response.headers['Cache-Control'] = 'no-cache'
        return response


def mount(app: Any) -> None:
    """Adds the scripts and styles to an application."""
    app.mount('/static', _Static(directory=_FOLDER / 'static'), name='static')


@router.get('/')
def work_list(request: Request) -> Response:
    """The work list."""
    return _for_readers(request, 'worklist.html', limits=request.app.state.settings.limits)


@router.get('/studies/{id}')
def review(request: Request, id: str) -> Response:
    """The review of a study; its script reads the study by the id in the address."""
    return _for_readers(
        request, 'review.html', id=id, findings=FINDINGS, reasons=not_assessed.SENTENCES
    )


@router.get('/studies/{id}/links')
def links(
    request: Request,
    caller: _Reader,
    id: str,
    state: str | None = None,
    flag: bool | None = None,
    is_read: bool | None = None,
    since: AwareDatetime | None = None,
    until: AwareDatetime | None = None,
    search: Annotated[bodies.Text, Query(max_length=100)] = '',
    sort: str = '-arrived',
) -> JSONResponse:
    """What the review of a study leads to: its neighbours in the work list, and the model card.

    The neighbours are those of the work list with the same filters and order, also where the study
    itself no longer passes the filters, e.g. because it has just been read.
    """
    del caller
    services: Services = request.app.state.services
    filters = studies.Filters(state, flag, is_read, since, until, search)
    with services.reading() as session:
        study = studies.find(session, id) if id.isalnum() else None
        if study is None:
            raise HTTPException(404, f'there is no study {id[:40]!r}')
        opposite = sort[1:] if sort.startswith('-') else f'-{sort}'
        neighbours = {}
        for name, order in (('previous', opposite), ('next', sort)):
            try:
                cursor = studies.cursor_after(study, order)
                page = studies.work_list(session, filters, order, cursor, limit=1)
            except (studies.StudyError, OverflowError) as error:
                raise HTTPException(422, str(error)) from None
            neighbours[name] = page.studies[0].id if page.studies else None
    has_card = study.version and _has_card(services.settings.target, study.version)
    return JSONResponse(
        {**neighbours, 'model_card': f'/models/{study.version}/card' if has_card else None}
    )


def _has_card(target: str, version: int) -> bool:
    try:
        return model_cards.find(target, version) is not None
    except model_cards.UnreadableCardError:
        # A reader who follows the link learns what to do.
        return True


@router.get('/models/{version}/card')
def model_card(request: Request, version: int) -> Response:
    """The model card of a pushed version."""
    try:
        card = model_cards.find(request.app.state.services.settings.target, version)
    except model_cards.UnreadableCardError as error:
        raise HTTPException(404, str(error)) from None
    if card is None:
        raise HTTPException(404, f'there is no model card of version {version}')
    return _for_readers(
        request,
        'model_card.html',
        served_version=version,
        card=card,
        sections=card_sections.sections(card),
    )


@router.get('/login')
def login(request: Request, next: str = '/') -> Response:
    """The form for a token."""
    return _html(request, 'login.html', problem='', next=_own_path(next))


@router.post('/login')
def log_in(
    request: Request,
    token: Annotated[str, Form(max_length=200)],
    next: Annotated[str, Form(max_length=2000)] = '/',
) -> Response:
    """Keeps a token in a cookie that scripts cannot read."""
    user = access.look_up(request.app.state.sessions, token.strip())
    if user is None:
        problem = 'This token is not valid. It may have been revoked.'
        return _html(request, 'login.html', status=401, problem=problem, next=_own_path(next))
    response = RedirectResponse(_own_path(next), 303)
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


def _own_path(path: str) -> str:
    """A path of this service; '/' in place of an address elsewhere."""
    parts = urllib.parse.urlsplit(path)
    is_own = path.startswith('/') and not parts.scheme and not parts.netloc and '\\' not in path
    return path if is_own and path.isprintable() else '/'


def _for_readers(request: Request, template: str, **values: Any) -> Response:
    user = access.user(request)
    if user is None:
        wanted = request.url.path + (f'?{request.url.query}' if request.url.query else '')
        return RedirectResponse(f'/login?{urllib.parse.urlencode({"next": wanted})}', 303)
    if not user.may(tokens.READ):
        problem = 'This token does not have the role read.'
        return _html(request, 'login.html', status=403, problem=problem, next='/')
    return _html(request, template, can_upload=user.may(tokens.UPLOAD), **values)


def _html(request: Request, template: str, status: int = 200, **values: Any) -> HTMLResponse:
    user = access.user(request)
    # The review is read in dark rooms, so its colours are chosen apart from those of other pages.
    cookie, default = ('theme_review', 'dark') if template == 'review.html' else ('theme', 'system')
    theme = request.cookies.get(cookie)
    text = _TEMPLATES.get_template(template).render(
        version=pipeline.__version__,
        notice=RESEARCH_USE,
        user=user.name if user else '',
        has_login=request.app.state.settings.requires_token,
        theme_cookie=cookie,
        theme=theme if theme in _THEMES else default,
        themes=_THEMES,
        **values,
    )
    return HTMLResponse(text, status)
