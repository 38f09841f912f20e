"""The option --dates: days as DICOM writes them."""

from __future__ import annotations

import datetime

FORM = 'YYYYMMDD[-YYYYMMDD]'
_DIGITS = 8


class DateSpanError(ValueError):
    """It has another form; the text says what was expected."""


def parse(text: str) -> tuple[datetime.date, datetime.date]:
    """The first and the last day.

    Raises:
      DateSpanError: it has another form.
    """
    first, _, last = text.partition('-')
    try:
        days = _day(first), _day(last if '-' in text else first)
    except ValueError:
        raise DateSpanError(f'--dates {text}: expected YYYYMMDD or YYYYMMDD-YYYYMMDD') from None
    if days[0] > days[1]:
        raise DateSpanError(f'--dates {text}: expected the earlier day first')
    return days


def _day(text: str) -> datetime.date:
    if len(text) != _DIGITS or not text.isdecimal():
        raise ValueError(text)
    return datetime.datetime.strptime(text, '%Y%m%d').date()
