"""Understands the spellings of values in a metadata table, and of image names.

Each function returns None for a text that it does not understand.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet

from schemas.features import SEXES, VIEWS
from schemas.labels import LABELS, NO_FINDING

# Other names of labels.
_LABEL_SYNONYMS = {'normal': NO_FINDING, 'nofindings': NO_FINDING}
# Further spellings of the values in schemas.features.
_SEX_SPELLINGS = {'F': ('female', 'woman', 'w', 'weiblich'), 'M': ('male', 'man', 'männlich')}
_VIEW_SPELLINGS = {
    'PA': ('posteroanterior', 'posterioranterior'),
    'AP': ('anteroposterior', 'anteriorposterior'),
}
_SEXES = {text: sex for sex in SEXES for text in (sex.lower(), *_SEX_SPELLINGS[sex])}
_VIEWS = {text: view for view in VIEWS for text in (view.lower(), *_VIEW_SPELLINGS[view])}
# How many of each unit make a year.
_AGE_UNITS = {
    **dict.fromkeys(('', 'y', 'yr', 'yrs', 'year', 'years'), 1),
    **dict.fromkeys(('m', 'mo', 'month', 'months'), 12),
    **dict.fromkeys(('w', 'week', 'weeks'), 52),
    **dict.fromkeys(('d', 'day', 'days'), 365),
}
_OLDEST_YEARS = 120
# Far above any patient's. A larger number is an error, and above 2**63 it does not fit in an
# example.
_MAX_STUDIES = 100_000
# Columns repeat their values; the NIH table has 112,120 rows.
_CACHED = 4096
_AGE = re.compile(r'(\d{1,6})(?:\.\d*)?\+?\s*([a-z]*)\.?', re.ASCII)
# Spreadsheets and data frames turn whole numbers into decimals.
_WHOLE = re.compile(r'(\d+)(?:\.0*)?', re.ASCII)
_IMAGE_SUFFIX = re.compile(r'\.(png|jpe?g|bmp|tiff?|dcm|dicom)$')
_FINDING_SEPARATORS = re.compile(r'[|;,]')


@functools.lru_cache(_CACHED)
def label(text: str) -> str | None:
    """The label of a name in any case, with `_`, `-` or a space between words."""
    key = letters(text)
    return _LABEL_SYNONYMS.get(key) or _LABELS.get(key)


@functools.lru_cache(_CACHED)
def findings(text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The labels in a cell of findings, without repetition, and the names that are not labels."""
    labels: dict[str, None] = {}
    unknown = []
    for part in _FINDING_SEPARATORS.split(text):
        name = part.strip().strip('"\'[] ')
        if not name:
            continue
        canonical = label(name)
        if canonical:
            labels[canonical] = None
        else:
            unknown.append(name)
    return tuple(labels), tuple(unknown)


@functools.lru_cache(_CACHED)
def sex(text: str) -> str | None:
    """One of SEXES."""
    return _SEXES.get(letters(text))


@functools.lru_cache(_CACHED)
def view(text: str) -> str | None:
    """One of VIEWS, also with a word on the technique after it ('AP supine')."""
    first = re.split(r'[\s_/,(]', text.strip(), maxsplit=1)[0]
    return _VIEWS.get(letters(text)) or _VIEWS.get(letters(first))


@functools.lru_cache(_CACHED)
def age(text: str) -> int | None:
    """An age in full years, at most 120: 58, 58.0, 058Y, 013M (months), 001D (days) or 90+."""
    match = _AGE.fullmatch(text.strip().lower())
    if not match or match.group(2) not in _AGE_UNITS:
        return None
    years = int(match.group(1)) // _AGE_UNITS[match.group(2)]
    return years if years <= _OLDEST_YEARS else None


@functools.lru_cache(_CACHED)
def study_number(text: str) -> int | None:
    """The patient's study number, such as 5 or 5.0."""
    match = _WHOLE.fullmatch(text.strip())
    if not match or len(match.group(1)) > 18:
        return None
    number = int(match.group(1))
    return number if number <= _MAX_STUDIES else None


def patient(text: str) -> str:
    """A patient id in the form that is compared and hashed.

    A number (13, 13.0) gets 8 digits, as in NIH image ids; other ids stay as they are.
    """
    match = _WHOLE.fullmatch(text)
    return match.group(1).zfill(8) if match else text


def image_key(text: str) -> str:
    """A key that different spellings of an image's name share.

    It has no folder, no suffix of an image, no capital letters and no decimals.
    """
    name = re.split(r'[/\\]', text.strip().lower())[-1]
    name = _IMAGE_SUFFIX.sub('', name)
    match = _WHOLE.fullmatch(name)
    return match.group(1) if match else name


class ImageNames(AbstractSet[str]):
    """A set of image ids that also contains other spellings of the names, unless ambiguous."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._names = frozenset(names)
        self._by_key: dict[str, str | None] | None = None

    def spelled(self, image_id: object) -> str | None:
        """The name of an image as the set has it; None if it is not in the set."""
        if not isinstance(image_id, str):
            return None
        if image_id in self._names:
            return image_id
        if self._by_key is None:
            self._by_key = {}
            for name in self._names:
                key = image_key(name)
                self._by_key[key] = name if key not in self._by_key else None
        return self._by_key.get(image_key(image_id))

    def __contains__(self, image_id: object) -> bool:
        return self.spelled(image_id) is not None

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


@functools.lru_cache(_CACHED)
def letters(text: str) -> str:
    """The letters and digits of a name in lower case, which different spellings share."""
    return re.sub(r'[\W_]+', '', text).casefold()


_LABELS = {letters(name): name for name in LABELS}
