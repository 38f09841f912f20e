"""Quantities as Kubernetes writes them: `500m`, `2`, `4Gi`."""

from __future__ import annotations

import math
from decimal import Decimal, InvalidOperation

_SUFFIXES = {
    **{
        suffix: Decimal(1024) ** power
        for power, suffix in enumerate(('Ki', 'Mi', 'Gi', 'Ti', 'Pi', 'Ei'), start=1)
    },
    **{
        suffix: Decimal(1000) ** power
        for power, suffix in enumerate(('k', 'M', 'G', 'T', 'P', 'E'), start=1)
    },
    **{'n': Decimal('1e-9'), 'u': Decimal('1e-6'), 'm': Decimal('1e-3')},
}


def quantity(text: str | int | float) -> Decimal | None:
    """The number, in cores, bytes or pieces; None where it is no quantity."""
    written = str(text)
    suffix = next((suffix for suffix in _SUFFIXES if written.endswith(suffix)), '')
    try:
        found = Decimal(written.removesuffix(suffix)) * _SUFFIXES.get(suffix, Decimal(1))
    except InvalidOperation:
        return None
    return found if found.is_finite() else None


def share(text: str | int, of: int) -> int:
    """A number of pods, or a percentage of `of` pods, which Kubernetes rounds up."""
    written = str(text)
    return (
        math.ceil(int(written.removesuffix('%')) * of / 100)
        if written.endswith('%')
        else int(written)
    )
