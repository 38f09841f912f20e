"""Reads quantities of resources (`500m`, `2`, `4Gi`) and numbers of pods (`2`, `50%`)."""

from __future__ import annotations

import math
from decimal import Decimal

from kubernetes.utils.quantity import parse_quantity


def quantity(text: str | int | float) -> Decimal | None:
    """Returns the amount in cores, bytes or units; None if the text is not a quantity."""
    try:
        amount = parse_quantity(text)
    except ValueError:
        return None
    return amount if amount.is_finite() else None


def share(text: str | int, total: int) -> int:
    """Returns a number of pods; a percentage of `total` is rounded up, as Kubernetes does."""
    number = str(text)
    if number.endswith('%'):
        return math.ceil(int(number.removesuffix('%')) * total / 100)
    return int(number)
