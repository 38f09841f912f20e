"""The routes under /v1."""

from __future__ import annotations

import datetime
import errno
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Depends, Form, HTTPException, Query, Request, Response, UploadFile
from sqlalchemy.orm import Session

from schemas import signatures
from serving import studies, tokens, uploads
from serving.api.client import ModelServerError
from serving.database import tables
from serving.gateway import bodies
from serving.gateway.access import User, needs
from serving.gateway.services import Services

router = APIRouter(prefix='/v1')
_Uploader = Annotated[User, Depends(needs(tokens.UPLOAD))]
_Reader = Annotated[User, Depends(needs(tokens.READ))]
_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})


def _services(request: Request) -> Services:
    return request.app.state.services


_Services = Annotated[Services, Depends(_services)]


@router.post('/studies', status_code=202, tags=['studies'])
def upload(
    services: _Services,
    caller: _Uploader,
    files: Annotated[list[UploadFile], Form(description='PNG, JPEG or DICOM')],
    reference: Annotated[str, Form(max_length=100, description='your own name for it')] = '',
) -> bodies.StudyRow:
    """Accepts images as one study.

    The answer 202 means that the study and its files are on the disk; it is scored after that.
    Files whose content is no chest image in a known format are refused with 422, and then nothing
    is stored.
    """
    limits = services.settings.limits
    if len(files) > limits.max_files:
        raise HTTPException(413, f'{len(files)} files: at most {limits.max_files} are accepted')
    accepted: list[tuple[studies.NewImage, bytes]] = []
    for number, file in enumerate(files, start=1):
        content = file.file.read(limits.max_file_bytes + 1)
        if len(content) > limits.max_file_bytes:
            raise HTTPException(413, f'file {number}: more than {limits.max_file_bytes:,} bytes')
        try:
            checked = uploads.check(content, limits.max_pixels)
        except uploads.UploadError as error:
            raise HTTPException(422, f'file {number}: {error}') from None
        image = studies.NewImage(studies.new_id(), checked, studies.sha256(content), len(content))
        accepted.append((image, content))
    try:
        for image, content in accepted:
            services.files.write(image.id, content)
        with services.sessions() as session, session.begin():
            study = studies.accept(
                session, [image for image, _ in accepted], caller.name, reference
            )
    except Exception as error:
        for image, _ in accepted:
            services.files.remove(image.id)
        if isinstance(error, OSError) and error.errno in _NO_SPACE:
            raise HTTPException(507, 'the disk is full: nothing was stored') from None
        raise
    services.scorer.wake()
    return bodies.row(study)


@router.get('/worklist', tags=['studies'])
def work_list(
    services: _Services,
    caller: _Reader,
    state: str | None = None,
    flag: bool | None = None,
    is_read: bool | None = None,
    since: datetime.datetime | None = None,
    until: datetime.datetime | None = None,
    search: Annotated[str, Query(max_length=100, description='reference or start of the id')] = '',
    sort: Annotated[
        str, Query(description='arrived, probability; a leading - is descending')
    ] = '-arrived',
    cursor: str = '',
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> bodies.WorkListBody:
    """A page of the work list, by arrival unless asked otherwise. No study is ever left out."""
    del caller
    filters = studies.Filters(state, flag, is_read, _utc(since), _utc(until), search)
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


@router.get('/studies/{id}', tags=['studies'])
def study(services: _Services, caller: _Reader, id: str, canary: bool = False) -> bodies.StudyBody:
    """A study with its images, answers and readings."""
    del caller
    with services.reading() as session:
        return _body(services, _find(session, id), canary)


@router.post('/studies/{id}/reading', status_code=201, tags=['studies'])
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
    responses={200: {'content': {'image/png': {}}}},
)
def image(
    services: _Services,
    caller: _Reader,
    id: str,
    number: Annotated[int, Query(ge=1)] = 1,
    center: float | None = None,
    width: Annotated[float | None, Query(gt=0)] = None,
) -> Response:
    """An image of a study as PNG or JPEG; `center` and `width` window a DICOM image."""
    del caller
    found, content = _content(services, id, number)
    if found.kind != uploads.DICOM:
        return Response(content, media_type=uploads.MEDIA_TYPES[found.kind])
    try:
        pixels = uploads.dicom_pixels(content, center, width)
    except uploads.UploadError as error:
        raise HTTPException(422, str(error)) from None
    return Response(uploads.to_png(pixels), media_type='image/png')


@router.get(
    '/studies/{id}/explanation',
    tags=['images'],
    response_class=Response,
    responses={200: {'content': {'image/png': {}}}},
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
    top = float(np.max(heat, initial=0.0))
    scaled = np.clip(heat, 0.0, None) / top if top > 0 else np.zeros_like(heat)
    return Response(
        uploads.to_png(np.rint(scaled * 255).astype(np.uint8)),
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


def _find(session: Session, id: str) -> tables.Study:
    found = studies.find(session, id)
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
        raise HTTPException(410, 'the file was removed by the retention') from None


def _of_answer(services: Services, image: tables.Image) -> dict[str, Any]:
    """The version that answered about an image, which also explains it if it is still served."""
    version = next((a.version for a in image.answers if a.role == studies.STABLE), None)
    if version and services.version_states().get(version) == 'AVAILABLE':
        return {'version': version}
    return {'label': services.stable_label()}


def _utc(time: datetime.datetime | None) -> datetime.datetime | None:
    if time is not None and time.tzinfo is None:
        return time.replace(tzinfo=datetime.timezone.utc)
    return time
