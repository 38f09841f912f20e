"""Reads single values of a data set, whose types and counts a damaged file may get wrong."""

from __future__ import annotations

import re

import pydicom
from pydicom.multival import MultiValue

# A code string (CS) of DICOM. Anything else may be text about a patient, and is not shown.
_CODE = re.compile(r'[A-Z0-9 _]{1,16}')


def code(dataset: pydicom.Dataset, keyword: str, index: int = 0) -> str:
    """A code in capital letters, such as 'PA'; '' if it is missing, empty or not a code."""
    value = dataset.get(keyword)
    if isinstance(value, MultiValue):
        value = value[index] if index < len(value) else None
    elif index:
        value = None
    text = str(value or '').strip().upper()
    return text if _CODE.fullmatch(text) else ''


def codes(dataset: pydicom.Dataset, keyword: str) -> tuple[str, ...]:
    """All values of an attribute, as `code` returns them."""
    value = dataset.get(keyword)
    count = len(value) if isinstance(value, MultiValue) else 1
    return tuple(code(dataset, keyword, index) for index in range(count))


def integer(dataset: pydicom.Dataset, keyword: str, default: int | None = None) -> int | None:
    """A whole number; `default` if it is missing, empty or not a number."""
    value = dataset.get(keyword)
    try:
        return int(value[0] if isinstance(value, MultiValue) else value)
    except (TypeError, ValueError, IndexError, OverflowError):
        return default


def number(dataset: pydicom.Dataset, keyword: str) -> float | None:
    """The first number; None if it is missing, empty or not a number."""
    value = dataset.get(keyword)
    try:
        return float(value[0] if isinstance(value, MultiValue) else value)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None


def items(dataset: pydicom.Dataset, keyword: str) -> list[pydicom.Dataset]:
    """The items of a sequence; [] if it is missing or not a sequence."""
    value = dataset.get(keyword)
    return list(value) if isinstance(value, pydicom.Sequence) else []


def name(keyword: str) -> str:
    """An attribute as messages and docs name it: 'Modality (0008,0060)'."""
    tag = pydicom.tag.Tag(keyword)
    return f'{keyword} ({tag.group:04X},{tag.element:04X})'
