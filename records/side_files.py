"""Finds the side files of a data set, under their usual names.

They are the metadata table and the official split lists.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import storage
from records.data_root import DataRoot, DataRootError

# In a configuration: find the file under its usual name.
AUTO = 'auto'
_SPAN_TABLE = re.compile(r'(span-\d+)/(?:metadata/)?[^/]+')
# A data root may have a folder for each of many spans.
_SHOWN = 6


@dataclass(frozen=True)
class Kind:
    """A kind of side file.

    Attributes:
      what: its name in messages.
      key: the configuration key that names it.
      names: its usual names; case does not matter.
    """

    what: str
    key: str
    names: tuple[str, ...]


TABLE = Kind('metadata table', 'data.metadata', ('Data_Entry*.csv', 'Data_Entry*.csv.gz'))
TRAIN_VAL_LIST = Kind(
    'train_val list', 'data.split.train_val_list', ('train_val_list.txt', 'train_val_list.txt.gz')
)
TEST_LIST = Kind('test list', 'data.split.test_list', ('test_list.txt', 'test_list.txt.gz'))
# It has no usual name: only the configuration can name it.
EXCLUDED = Kind('list of images to leave out', 'data.exclude', ())
LISTS = (TRAIN_VAL_LIST, TEST_LIST)


def find(
    kind: Kind, root: str, others: Iterable[str], beside: Iterable[str] = (), option: str = ''
) -> str | None:
    """The only file of `kind` in `metadata/`, in `root` itself, or beside the records.

    Args:
      kind: what to find.
      root: the folder, for messages.
      others: names of the files in it, relative to it.
      beside: names of record files; their folders, and `metadata/` in them, are searched too.
      option: the option that names a file instead, for messages; default: the kind's key.

    Returns:
      Its name relative to `root`; None without one.

    Raises:
      DataRootError: there are several.
    """
    places = _places(beside)
    matches = [name for name in others if os.path.dirname(name) in places and _is(kind, name)]
    if len(matches) > 1:
        listing = ' or '.join(sorted(matches))
        raise DataRootError(
            f'{root}: the {kind.what} could be {listing}. Keep one, or name it with '
            f'{option or kind.key}.'
        )
    return matches[0] if matches else None


def tables(configured: Sequence[str], data_root: DataRoot) -> tuple[str, ...]:
    """The metadata tables that a configuration names; AUTO adds those of the spans.

    Raises:
      DataRootError: one is missing, or AUTO finds several in one place.
    """
    found: list[str] = []
    for name in configured:
        of_spans = present_tables(data_root) if name == AUTO else []
        needs_other = any(not file.span for file in data_root.files) and not any(
            not _SPAN_TABLE.fullmatch(table) for table in of_spans
        )
        if not of_spans or needs_other:
            found.append(str(resolve(TABLE, name, data_root)))
        found += of_spans
    return tuple(dict.fromkeys(found))


def present_tables(data_root: DataRoot, option: str = '') -> list[str]:
    """The metadata tables that are there: the one of the data root, then those of the spans.

    Args:
      data_root: where to look.
      option: see `find`.

    Raises:
      DataRootError: there are several in one place.
    """
    of_spans = _span_tables(data_root)
    others = [name for name in data_root.others if name not in of_spans]
    beside = [file.name for file in data_root.files]
    main = find(TABLE, data_root.path, others, beside, option)
    return [*([main] if main else []), *of_spans]


def _span_tables(data_root: DataRoot) -> list[str]:
    """The tables in `span-N/metadata/` and `span-N/`, one for each span.

    Raises:
      DataRootError: a span has several.
    """
    by_span: dict[str, list[str]] = {}
    for name in data_root.others:
        match = _SPAN_TABLE.fullmatch(name)
        if match and _is(TABLE, name):
            by_span.setdefault(match[1], []).append(name)
    for names in by_span.values():
        if len(names) > 1:
            raise DataRootError(
                f'{data_root.path}: the {TABLE.what} could be {" or ".join(sorted(names))}. Keep '
                f'one, or name it with {TABLE.key}.'
            )
    return sorted(name for names in by_span.values() for name in names)


def resolve(kind: Kind, configured: str | None, data_root: DataRoot) -> str | None:
    """The file that a configuration names.

    Args:
      kind: what to find.
      configured: AUTO to find it, a path relative to the data root or absolute, or None.
      data_root: where to look.

    Raises:
      DataRootError: it is missing, or AUTO finds several.
    """
    if configured is None:
        return None
    beside = [file.name for file in data_root.files]
    if configured != AUTO or not kind.names:
        if storage.is_file(storage.resolve(data_root.path, configured)):
            return configured
        other = find(kind, data_root.path, data_root.others, beside)
        hint = f'. There is {other}: set {kind.key} to it, or to {AUTO}' if other else ''
        path = storage.resolve(data_root.path, configured)
        raise DataRootError(f'{kind.key} is {configured!r}: {path}: no such file{hint}')
    name = find(kind, data_root.path, data_root.others, beside)
    if name is None:
        places = ', '.join(
            f'{place}/' if place else 'the data root itself'
            for place in list(_places(beside))[:_SHOWN]
        )
        without = f' Set {kind.key} to null to run without one.' if kind is TABLE else ''
        raise DataRootError(
            f'{data_root.path}: no {kind.what} ({kind.key}). Expected {", ".join(kind.names)} in '
            f'{places}. Put it there, or name it with {kind.key}.{without}'
        )
    return name


def _is(kind: Kind, name: str) -> bool:
    base = os.path.basename(name).lower()
    return any(fnmatch.fnmatchcase(base, pattern.lower()) for pattern in kind.names)


def _places(beside: Iterable[str]) -> dict[str, None]:
    places = dict.fromkeys(('metadata', ''))
    for folder in dict.fromkeys(os.path.dirname(name) for name in beside):
        places |= dict.fromkeys((f'{folder}/metadata' if folder else 'metadata', folder))
    return places
