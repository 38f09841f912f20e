"""Writes CSV that a spreadsheet can open safely."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any


def lines(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    """The lines of a CSV file, each with its end; None becomes an empty cell."""
    for row in itertools.chain([header], rows):
        line = io.StringIO()
        csv.writer(line).writerow([_safe(value) for value in row])
        yield line.getvalue()


def _safe(value: Any) -> Any:
    # A spreadsheet would run a text that starts like a formula.
    return (
        f"'{value}" if isinstance(value, str) and value.startswith(('=', '+', '-', '@')) else value
    )
