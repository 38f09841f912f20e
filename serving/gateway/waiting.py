"""Lets a client wait for the answer about a study, by `Prefer: wait=SECONDS` (RFC 7240)."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import Callable
from typing import Annotated, TypeVar

from fastapi import Header, Request
from fastapi.concurrency import run_in_threadpool

from serving.gateway.services import Services

LONGEST_S = 60
# Where the seconds that a client wanted to wait are noted, in the ASGI state of its request.
STATE = 'waited_s'
# Seconds between looks for an answer that another gateway recorded.
_LOOK_S = 1.0
_WAIT = re.compile(r'(?:^|[,;])\s*wait\s*=\s*"?(\d{1,9})\b', re.IGNORECASE)
_Result = TypeVar('_Result')
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


async def until_answered(
    request: Request,
    services: Services,
    id: str,
    prefer: str,
    look: Callable[[], _Result | None],
) -> _Result | None:
    """Waits until a study has its answer, for the seconds that a header asks for.

    No thread waits.

    Args:
      request: gets the seconds that it took into its state.
      services: of the gateway.
      id: of a study.
      prefer: the header `Prefer`.
      look: reads the study, in a thread; returns None while it waits for its answer.

    Returns:
      What `look` returns; None if the study still waits, or the client did not ask to wait.
    """
    seconds = wanted_s(prefer)
    if not seconds:
        return None
    start = time.monotonic()
    try:
        with services.answered.expected(id) as answered:
            while True:
                answered.clear()
                result = await run_in_threadpool(look)
                left = start + seconds - time.monotonic()
                if result is not None or left <= 0:
                    return result
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(answered.wait(), min(left, _LOOK_S))
    finally:
        setattr(request.state, STATE, time.monotonic() - start)
