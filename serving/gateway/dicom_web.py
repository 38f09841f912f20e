"""STOW-RS: DICOM objects over HTTP, below /dicom-web (DICOM PS3.18, 10.5)."""

from __future__ import annotations

import contextlib
import tempfile
from typing import IO, Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from serving import tokens
from serving.gateway import api, bodies
from serving.gateway.access import User, needs
from serving.gateway.services import Services
from serving.pacs import intake, origin

PREFIX = '/dicom-web'
_MEDIA_TYPE = 'application/dicom+json'
_DICOM = b'application/dicom'
_IN_MEMORY = 1 << 20
_MAX_PARTS = 500
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


async def _store(request: Request, caller: User, study: str | None) -> JSONResponse:
    services: Services = request.app.state.services
    media_type, options = parse_options_header(request.headers.get('Content-Type', ''))
    is_dicom = options.get(b'type', _DICOM) == _DICOM
    if media_type != b'multipart/related' or b'boundary' not in options or not is_dicom:
        raise HTTPException(
            415, 'send multipart/related; type="application/dicom"; boundary=..., with DICOM files'
        )
    with contextlib.ExitStack() as files:
        parts = _Parts(options[b'boundary'], files)
        async for chunk in request.stream():
            await run_in_threadpool(parts.write, chunk)
        parts.end()
        async with services.storing:
            return await run_in_threadpool(_accept, services, caller, parts.files, study)


class _Parts:
    """The parts of a body, each in a file without a name while the request lasts."""

    def __init__(self, boundary: bytes, open_files: contextlib.ExitStack):
        self.files: list[IO[bytes]] = []
        self._open_files, self._is_complete = open_files, False
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    'on_part_begin': self._begin,
                    'on_part_data': self._data,
                    'on_end': self._end,
                },
            )
        except FormParserError as error:
            raise HTTPException(422, f'boundary: {error}') from None

    def write(self, chunk: bytes) -> None:
        try:
            self._parser.write(chunk)
        except FormParserError:
            raise HTTPException(422, 'the body has another form than multipart/related') from None

    def end(self) -> None:
        if not self._is_complete or not self.files:
            raise HTTPException(422, 'the body has no parts, or ends within one')

    def _begin(self) -> None:
        if len(self.files) == _MAX_PARTS:
            raise HTTPException(413, f'more than {_MAX_PARTS} objects')
        file = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 - the stack closes it
        self.files.append(self._open_files.enter_context(file))

    def _data(self, data: bytes, start: int, end: int) -> None:
        self.files[-1].write(data[start:end])

    def _end(self) -> None:
        self._is_complete = True


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
