"""The routes under /v1."""

from __future__ import annotations

import contextlib
import datetime
import errno
import functools
import json
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, HTTPException, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session
from starlette.datastructures import FormData, UploadFile

from schemas import signatures
from serving import studies, tokens, uploads
from serving.api.client import ModelServerError
from serving.database import connection, tables
from serving.gateway import bodies
from serving.gateway.access import BEARER, User, check, needs
from serving.gateway.services import Services
from serving.gateway.waiting import Prefer, until_answered
from serving.image_formats import dicom, png
from serving.pacs import fhir
from trainer import heat_maps

_REFUSALS = {
    401: 'no token, or an unknown or revoked one',
    403: 'the token does not have the role, or a page of another site sent the request',
    408: 'the request did not arrive in time',
    413: 'too large, or too many files',
    421: 'another host name than that of the service',
    422: 'another form or content than described',
    429: 'too many requests',
    503: 'the database does not answer',
}
REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {'model': bodies.ProblemBody, 'description': text} for status, text in _REFUSALS.items()
}
router = APIRouter(prefix='/v1', responses=REFUSALS)
_Uploader = Annotated[User, Depends(needs(tokens.UPLOAD))]
_Reader = Annotated[User, Depends(needs(tokens.READ))]
# What the system says when there is no room for a file, also a limit of its size.
NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG})
DISK_FULL = 'the disk is full: nothing was stored'
_MAX_REFERENCE, _MAX_ID = 100, 32
_MISSING: dict[int | str, dict[str, Any]] = {
    404: {'model': bodies.ProblemBody, 'description': 'no such study'}
}
_FILE_GONE: dict[int | str, dict[str, Any]] = {
    410: {'model': bodies.ProblemBody, 'description': 'the retention deleted the file'}
}
_UPLOAD_BODY = {
    'required': True,
    'content': {
        'multipart/form-data': {
            'schema': {
                'type': 'object',
                'required': ['files'],
                'properties': {
                    'files': {
                        'type': 'array',
                        'minItems': 1,
                        'items': {'type': 'string', 'format': 'binary'},
                        'description': 'PNG, JPEG or DICOM',
                    },
                    'reference': {
                        'type': 'string',
                        'maxLength': _MAX_REFERENCE,
                        'description': "your own name for it; not a patient's name or number",
                    },
                },
            },
            'encoding': {'files': {'contentType': 'image/png, image/jpeg, application/dicom'}},
        }
    },
}


# FastAPI gives a function that is not async to a thread, which takes longer than this.
async def _services(request: Request) -> Services:
    return request.app.state.services


_Services = Annotated[Services, Depends(_services)]


@router.post(
    '/studies',
    status_code=202,
    tags=['studies'],
    openapi_extra={'requestBody': _UPLOAD_BODY},
    responses={200: {'model': bodies.StudyRow, 'description': 'scored while the client waited'}},
)
async def upload(
    request: Request,
    response: Response,
    services: _Services,
    caller: _Uploader,
    prefer: Prefer = '',
) -> bodies.StudyRow:
    """Accepts images as one study.

    The answer 202 means that the study and its files are on the disk; it is scored after that.
    With `Prefer: wait`, a study that is scored in time is returned with 200.
    Files whose content is not a chest image in a known format are refused with 422, and then
    nothing is stored. Of DICOM files only the pixels and a list of harmless tags are stored.
    """
    try:
        async with request.form() as form, services.storing:
            accepted = await run_in_threadpool(_accept, services, caller, form)
    except OSError as error:
        if error.errno in NO_SPACE:
            raise HTTPException(507, DISK_FULL) from None
        raise
    row = functools.partial(_row_of_answered, services, accepted.id)
    with contextlib.suppress(SQLAlchemyError):  # it stays accepted
        if answered := await until_answered(request, services, accepted.id, prefer, row):
            response.status_code = 200
            return answered
    return accepted


def _accept(services: Services, caller: User, form: FormData) -> bodies.StudyRow:
    files = form.getlist('files')
    limits = services.settings.limits
    if not files or not all(isinstance(file, UploadFile) for file in files):
        raise HTTPException(422, 'send multipart/form-data with a file in each part named "files"')
    if len(files) > limits.max_files:
        raise HTTPException(413, f'{len(files)} files: at most {limits.max_files} are accepted')
    reference = str(form.get('reference') or '')
    if len(reference) > _MAX_REFERENCE or not reference.isprintable():
        raise HTTPException(422, f'reference: at most {_MAX_REFERENCE} printable characters')
    images: list[studies.NewImage] = []
    try:
        for number, file in enumerate(files, start=1):
            assert isinstance(file, UploadFile)
            images.append(_store(services, file, number))
    except Exception:
        _remove(services, images)
        raise
    try:
        with services.sessions() as session, session.begin():
            site = caller.site or services.settings.site
            study = studies.accept(session, images, caller.name, reference, site)
    except SQLAlchemyError as error:
        # After other errors the study may have been committed, so the files stay;
        # `serving.housekeeping` removes those of which the database does not know.
        if connection.is_full(error):
            _remove(services, images)
        raise
    services.scorer.wake()
    return bodies.row(study)


def _remove(services: Services, images: list[studies.NewImage]) -> None:
    for image in images:
        services.files.remove(image.id)


def _store(services: Services, file: UploadFile, number: int) -> studies.NewImage:
    """Checks a file and stores it."""
    limits = services.settings.limits
    content = file.file.read(limits.max_file_bytes + 1)
    if len(content) > limits.max_file_bytes:
        raise HTTPException(413, f'file {number}: more than {limits.max_file_bytes:,} bytes')
    try:
        checked = uploads.check(content, limits.max_pixels)
        stored = uploads.without_metadata(content, checked.kind)
    except uploads.UploadError as error:
        raise HTTPException(422, f'file {number}: {error}') from None
    image = studies.NewImage(studies.new_id(), checked, studies.sha256(content), len(content))
    services.files.write(image.id, stored)
    return image


@router.get('/worklist', tags=['studies'])
def work_list(
    services: _Services,
    caller: _Reader,
    state: Literal['pending', 'scored', 'not_assessed'] | None = None,
    flag: bool | None = None,
    is_read: bool | None = None,
    since: datetime.datetime | None = None,
    until: datetime.datetime | None = None,
    search: Annotated[
        bodies.Text, Query(max_length=100, description='reference or start of the id')
    ] = '',
    site: Annotated[
        str | None, Query(description='where they come from; empty: the site without a name')
    ] = None,
    sort: Annotated[
        Literal['-arrived', 'arrived', '-probability', 'probability'],
        Query(description='a leading - is descending'),
    ] = '-arrived',
    cursor: Annotated[str, Query(max_length=200, description='next_cursor of a page')] = '',
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> bodies.WorkListBody:
    """A page of the work list, by arrival unless asked otherwise. No study is ever left out."""
    del caller
    filters = studies.Filters(state, flag, is_read, _utc(since), _utc(until), search, site)
    with services.reading() as session:
        try:
            page = studies.work_list(session, filters, sort, cursor, limit)
        except studies.StudyError as error:
            raise HTTPException(422, str(error)) from None
        return bodies.WorkListBody(
            studies=[bodies.row(study) for study in page.studies],
            next_cursor=page.next_cursor,
            total=page.total,
        )


@router.get(
    '/studies/{id}',
    tags=['studies'],
    responses=_MISSING,
    response_model=bodies.StudyBody,
    dependencies=[BEARER],
)
async def study(
    request: Request, services: _Services, id: str, canary: bool = False, prefer: Prefer = ''
) -> Response:
    """A study with its images, answers and readings."""

    # In one thread and one session, as clients ask for this more often than for all else.
    def read(must_be_answered: bool) -> Response | None:
        with services.reading() as session:
            check(request, tokens.READ, session)
            if must_be_answered and _may_exist(id) and studies.is_pending(session, id):
                return None
            body = _body(services, _find(session, id), canary)
        return Response(body.model_dump_json(), media_type='application/json')

    answered = functools.partial(read, True)
    response = await until_answered(request, services, id, prefer, answered)
    if response is None:
        response = await run_in_threadpool(read, False)
        assert response is not None
    return response


@router.get(
    '/studies/{id}/fhir',
    tags=['studies'],
    response_class=Response,
    responses={
        **_MISSING,
        200: {'content': {fhir.MEDIA_TYPE: {'schema': {'type': 'object'}}}},
        409: {'model': bodies.ProblemBody, 'description': 'the study waits for its answer'},
    },
)
def fhir_report(services: _Services, caller: _Reader, id: str) -> Response:
    """The answer about a study as FHIR R4: a Bundle of a DiagnosticReport and its Observations.

    The patient, the order and the DICOM study are in it by their identifiers, if the gateway keeps
    them for reports; else nothing says whose study it is.
    """
    del caller
    with services.reading() as session:
        found = _find(session, id)
    if found.state == tables.PENDING:
        raise HTTPException(409, 'the study waits for its answer')
    bundle = services.pacs.fhir_report(found)
    return Response(json.dumps(bundle), media_type=fhir.MEDIA_TYPE)


@router.post('/studies/{id}/reading', status_code=201, tags=['studies'], responses=_MISSING)
def add_reading(
    services: _Services, caller: _Reader, id: str, reading: bodies.NewReading
) -> bodies.StudyBody:
    """Adds a reader's verdict. Earlier ones stay."""
    with services.sessions() as session, session.begin():
        found = _find(session, id)
        try:
            studies.add_reading(
                session, found, caller.name, reading.verdict, reading.findings, reading.text
            )
        except studies.StudyError as error:
            raise HTTPException(422, str(error)) from None
    with services.reading() as session:
        return _body(services, _find(session, id), False)


@router.get(
    '/studies/{id}/image',
    tags=['images'],
    response_class=Response,
    responses={**_MISSING, **_FILE_GONE, 200: {'content': {'image/png': {}, 'image/jpeg': {}}}},
)
def image(
    services: _Services,
    caller: _Reader,
    id: str,
    number: Annotated[int, Query(ge=1)] = 1,
    center: Annotated[float | None, Query(ge=-1e6, le=1e6, allow_inf_nan=False)] = None,
    width: Annotated[float | None, Query(gt=0, le=1e6, allow_inf_nan=False)] = None,
) -> Response:
    """An image of a study as PNG or JPEG.

    `center` and `width` window the values of a DICOM image. For one, the header `X-Window` has the
    values that are shown as black and as white, and `X-Values` the lowest and the highest.
    """
    del caller
    found, content = _content(services, id, number)
    if found.kind != uploads.DICOM:
        return Response(content, media_type=uploads.MEDIA_TYPES[found.kind])
    try:
        shown = dicom.render(content, center, width)
    except uploads.UploadError as error:
        raise HTTPException(422, str(error)) from None
    headers = {
        'X-Window': f'{shown.black:g} {shown.white:g}',
        'X-Values': f'{shown.lowest:g} {shown.highest:g}',
    }
    return Response(png.encode(shown.pixels), media_type='image/png', headers=headers)


@router.get(
    '/studies/{id}/explanation',
    tags=['images'],
    response_class=Response,
    responses={**_MISSING, **_FILE_GONE, 200: {'content': {'image/png': {}}}},
)
def explanation(
    services: _Services, caller: _Reader, id: str, number: Annotated[int, Query(ge=1)] = 1
) -> Response:
    """The heat map of an image as a grey PNG: brighter places spoke more for "abnormal"."""
    del caller
    found, content = _content(services, id, number)
    try:
        prediction = services.server.predict(
            services.settings.model,
            signatures.EXPLAIN.name,
            {signatures.EXPLAIN.input: [uploads.to_model_input(content, found.kind)]},
            outputs=[signatures.HEAT_MAP],
            **_of_answer(services, found),
        )
    except uploads.UploadError as error:
        raise HTTPException(422, str(error)) from None
    except ModelServerError as error:
        raise HTTPException(503 if error.is_temporary else 404, f'no heat map: {error}') from None
    (heat,) = prediction.outputs[signatures.HEAT_MAP]
    return Response(
        png.encode(heat_maps.grey(heat)),
        media_type='image/png',
        headers={'X-Model-Version': str(prediction.version)},
    )


@router.get('/models', tags=['models'])
def models(services: _Services, caller: _Reader) -> list[bodies.ModelBody]:
    """The versions in the push directory, oldest first."""
    del caller
    states = services.version_states()
    labels = services.labels()
    return [
        bodies.ModelBody(
            version=info.version,
            state=states.get(info.version, ''),
            labels=sorted(name for name, number in labels.items() if number == info.version),
            task=info.task,
            pushed_at=info.pushed_at,
            auc=bodies.estimate(info.auc),
            operating_point=bodies.operating_point(info),
            problem=info.problem,
        )
        for info in services.versions()
    ]


def _may_exist(id: str) -> bool:
    return id.isalnum() and len(id) <= _MAX_ID


def _row_of_answered(services: Services, id: str) -> bodies.StudyRow | None:
    """The row of a study; None while it waits for its answer."""
    with services.reading() as session:
        return None if studies.is_pending(session, id) else bodies.row(_find(session, id))


def _find(session: Session, id: str) -> tables.Study:
    found = studies.find(session, id) if _may_exist(id) else None
    if found is None:
        raise HTTPException(404, f'there is no study {id[:40]!r}')
    return found


def _body(services: Services, study: tables.Study, with_canary: bool) -> bodies.StudyBody:
    info = services.version(study.version) if study.version else None
    return bodies.study(study, info, with_canary)


def _content(services: Services, id: str, number: int) -> tuple[tables.Image, bytes]:
    with services.reading() as session:
        images = _find(session, id).images
    if number > len(images):
        raise HTTPException(404, f'the study has {len(images)} images')
    found = images[number - 1]
    try:
        return found, services.files.read(found.id)
    except FileNotFoundError:
        raise HTTPException(410, 'the file is not stored any more') from None


def _of_answer(services: Services, image: tables.Image) -> dict[str, Any]:
    """The version that answered about an image, which also explains it if it is still served."""
    version = next((a.version for a in image.answers if a.role == studies.STABLE), None)
    if version and services.version_states().get(version) == 'AVAILABLE':
        return {'version': version}
    return {'label': services.stable_label()}


def _utc(time: datetime.datetime | None) -> datetime.datetime | None:
    """In UTC, which a time without a zone is."""
    if time is None:
        return None
    if time.tzinfo is None:
        return time.replace(tzinfo=datetime.timezone.utc)
    try:
        return time.astimezone(datetime.timezone.utc)
    except OverflowError:
        raise HTTPException(422, f'{time}: no such time in UTC') from None
