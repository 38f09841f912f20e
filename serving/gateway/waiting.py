"""Lets a client wait for the answer about a study, by `Prefer: wait=SECONDS` (RFC 7240)."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from typing import Annotated

from fastapi import Header, Request
from fastapi.concurrency import run_in_threadpool

from serving import studies
from serving.gateway.services import Services

LONGEST_S = 60
# Where the seconds that a client wanted to wait are noted, in the ASGI state of its request.
STATE = 'waited_s'
# Seconds between looks for an answer that another gateway recorded.
_LOOK_S = 1.0
_WAIT = re.compile(r'(?:^|[,;])\s*wait\s*=\s*"?(\d{1,9})\b', re.IGNORECASE)
Prefer = Annotated[
    str,
    Header(
        description=f'`wait=SECONDS` (RFC 7240) answers as soon as the study has its answer, or '
        f'after this time; at most {LONGEST_S} s'
    ),
]


def wanted_s(prefer: str) -> int:
    """The seconds that a header `Prefer` asks to wait, at most `LONGEST_S`; 0 if it does not."""
    match = _WAIT.search(prefer)
    return min(int(match[1]), LONGEST_S) if match else 0


async def until_answered(request: Request, services: Services, id: str, prefer: str) -> bool:
    """Waits until a study has its answer, for the seconds that a header asks for.

    No thread waits.

    Args:
      request: gets the seconds that it took into its state.
      services: of the gateway.
      id: of a study.
      prefer: the header `Prefer`.

    Returns:
      Whether the client asked to wait, and the study waits no more.
    """
    seconds = wanted_s(prefer)
    if not seconds:
        return False
    start = time.monotonic()
    end = start + seconds
    try:
        with services.answered.expected(id) as answered:
            while not answered.is_set() and await run_in_threadpool(_is_pending, services, id):
                left = end - time.monotonic()
                if left <= 0:
                    return False
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(answered.wait(), min(left, _LOOK_S))
        return True
    finally:
        setattr(request.state, STATE, time.monotonic() - start)


def _is_pending(services: Services, id: str) -> bool:
    with services.reading() as session:
        return studies.is_pending(session, id)
