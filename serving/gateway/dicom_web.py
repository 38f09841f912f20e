"""DICOM objects over HTTP, below /dicom-web: STOW-RS, and of QIDO-RS what a sender needs.

See DICOM PS3.18, 10.5 and 10.6.
"""

from __future__ import annotations

import contextlib
import re
from typing import IO, Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse

from serving import related_parts, tokens
from serving.gateway import api, bodies
from serving.gateway.access import User, needs
from serving.gateway.services import Services
from serving.pacs import intake, origin

PREFIX = '/dicom-web'
_MEDIA_TYPE = 'application/dicom+json'
_MAX_PARTS = 500
_UIDS = re.compile(r'[0-9.]{1,64}(,[0-9.]{1,64}){0,99}', re.ASCII)
_Uploader = Annotated[User, Depends(needs(tokens.UPLOAD))]
_BODY = {
    'required': True,
    'content': {
        'multipart/related': {
            'schema': {
                'type': 'array',
                'minItems': 1,
                'items': {'type': 'string', 'format': 'binary'},
                'description': 'DICOM files; type="application/dicom"',
            }
        }
    },
}
_ANSWERS: dict[int | str, dict[str, Any]] = {
    status: {'description': text, 'content': {_MEDIA_TYPE: {}}}
    for status, text in {
        200: 'all objects are accepted',
        202: 'some objects are accepted; FailedSOPSequence has the others',
        409: 'no object is accepted',
    }.items()
}
router = APIRouter(
    prefix=PREFIX,
    tags=['dicom-web'],
    responses={
        **api.REFUSALS,
        415: {'model': bodies.ProblemBody, 'description': 'not multipart/related with DICOM files'},
    },
)


@router.post('/studies', openapi_extra={'requestBody': _BODY}, responses=_ANSWERS)
async def store(request: Request, caller: _Uploader) -> JSONResponse:
    """Accepts DICOM objects (STOW-RS). Those of one DICOM study become one study.

    An object that the answer names as stored is on the disk with its study.
    """
    return await _store(request, caller, None)


@router.post('/studies/{study}', openapi_extra={'requestBody': _BODY}, responses=_ANSWERS)
async def store_in_study(request: Request, caller: _Uploader, study: str) -> JSONResponse:
    """Accepts DICOM objects of one DICOM study, given by its UID; others are refused."""
    return await _store(request, caller, study)


@router.get(
    '/studies/{study}/instances',
    responses={
        200: {'description': 'those that were accepted', 'content': {_MEDIA_TYPE: {}}},
        204: {'description': 'none of them was accepted'},
    },
)
def known_instances(
    request: Request,
    caller: _Uploader,
    study: str,
    instances: Annotated[str, Query(alias='SOPInstanceUID', pattern=_UIDS.pattern)],
) -> Response:
    """Says which instances of a DICOM study were accepted (QIDO-RS), also if the retention has
    deleted their files: they need not be sent again.

    The instances are up to 100 UIDs, separated by commas. The gateway keeps no UIDs, so it cannot
    list those that it has.
    """
    del caller
    services: Services = request.app.state.services
    uids = sorted(services.pacs.intake.accepted(study, set(instances.split(','))))
    if not uids:
        return Response(status_code=204)
    return JSONResponse(
        [
            {
                '0020000D': {'vr': 'UI', 'Value': [study]},
                '00080018': {'vr': 'UI', 'Value': [uid]},
            }
            for uid in uids
        ],
        media_type=_MEDIA_TYPE,
    )


async def _store(request: Request, caller: User, study: str | None) -> JSONResponse:
    services: Services = request.app.state.services
    boundary = related_parts.boundary(request.headers.get('Content-Type', ''))
    if boundary is None:
        raise HTTPException(
            415, 'send multipart/related; type="application/dicom"; boundary=..., with DICOM files'
        )
    with contextlib.ExitStack() as files:
        try:
            parts = related_parts.Parts(boundary, _MAX_PARTS, files)
            async for chunk in request.stream():
                await run_in_threadpool(parts.write, chunk)
            parts.end()
        except related_parts.PartsError as error:
            is_long = isinstance(error, related_parts.TooManyPartsError)
            raise HTTPException(413 if is_long else 422, str(error)) from None
        async with services.storing:
            return await run_in_threadpool(_accept, services, caller, parts.files, study)


def _accept(
    services: Services, caller: User, files: list[IO[bytes]], study: str | None
) -> JSONResponse:
    stored: list[dict[str, Any]] = []
    failed: list[dict[str, Any]] = []
    for file in files:
        file.seek(0)
        content = file.read(services.settings.limits.max_file_bytes + 1)
        try:
            identity = services.pacs.intake.accept(content, caller.name, study, caller.site)
        except intake.RefusedError as error:
            failed.append({**_reference(error.identity), **_reason(error)})
        else:
            stored.append(_reference(identity))
    body = {}
    if stored:
        body['00081199'] = {'vr': 'SQ', 'Value': stored}
    if failed:
        body['00081198'] = {'vr': 'SQ', 'Value': failed}
    status = 409 if not stored else 202 if failed else 200
    return JSONResponse(body, status, media_type=_MEDIA_TYPE)


def _reference(identity: origin.Identity | None) -> dict[str, Any]:
    """Of an object that cannot be read, nothing is known."""
    if identity is None:
        return {}
    return {
        '00081150': {'vr': 'UI', 'Value': [identity.sop_class]},
        '00081155': {'vr': 'UI', 'Value': [identity.instance]},
    }


def _reason(error: intake.RefusedError) -> dict[str, Any]:
    """The code, and in the comment why."""
    return {
        '00081197': {'vr': 'US', 'Value': [error.status]},
        '00000902': {'vr': 'LO', 'Value': [str(error)]},
    }
